from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Pixels
from detectors.detection import Detection
from detectors.errors import DetectorError
from detectors.mp_face import LANDMARKS, MediapipeFaces, whole_face
from detectors.overlap import iou
from detectors.settings import DetectorSettings
from tests.detectors.photos import FACES, photo

FLAT = np.full((48, 64, 3), 128, np.uint8)


def matched(found, truth):
    """Each true box with the detection that overlaps it most."""
    return [(box, max(found, key=lambda d: iou(d.box_xyxy, box))) for box in truth]


def shown_small(picture: Pixels, *, times: int) -> Pixels:
    """The picture shrunk that many times, in the corner of a grey picture of its own size."""
    small = picture[::times, ::times]
    canvas = np.full_like(picture, 128)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def test_no_pictures_no_faces(faces):
    assert faces.detect([]) == []
    assert faces.detect([FLAT, FLAT[:1, :1]]) == [(), ()]


@pytest.mark.parametrize("name", FACES)
def test_faces_of_a_photograph_are_found_whole_and_nothing_else(faces, name):
    found = faces.detect([photo(name)])[0]
    assert len(found) == len(FACES[name]), [d.box_xyxy for d in found]
    for box, face in matched(found, FACES[name]):
        assert iou(face.box_xyxy, box) > 0.68
        # Cutting off a chin is worse than showing some neck: at most a tenth may be missing.
        slack = 0.1 * (box[3] - box[1])
        x0, y0, x1, y1 = face.box_xyxy
        assert x0 < box[0] + slack
        assert y0 < box[1] + slack
        assert x1 > box[2] - slack
        assert y1 > box[3] - slack


@pytest.mark.parametrize("name", [name for name in FACES if FACES[name]])
def test_landmarks_are_where_a_face_has_them(faces, name):
    for face in faces.detect([photo(name)])[0]:
        assert (face.label, face.detector) == ("face", "mediapipe-face")
        assert tuple(spot for spot, _ in face.landmarks) == LANDMARKS
        x0, y0, x1, y1 = face.box_xyxy
        inner = dict(face.landmarks[:4])
        assert all(x0 < x < x1 and y0 < y < y1 for x, y in inner.values())
        eyes = (inner["right_eye"][1] + inner["left_eye"][1]) / 2
        assert y0 + 0.2 * face.height < eyes < inner["nose_tip"][1] < inner["mouth_center"][1]


def test_landmarks_of_a_known_face(faces):
    (face,) = faces.detect([photo("astronaut")])[0]
    marked_by_eye = {"right_eye": (204, 102), "left_eye": (247, 103), "mouth_center": (224, 148)}
    for name, spot in marked_by_eye.items():
        assert np.hypot(*np.subtract(face.landmark(name), spot)) < 6, name


def test_face_of_a_thirtieth_of_the_picture_is_found(faces):
    large = np.kron(shown_small(photo("hopper"), times=5), np.ones((2, 2, 1), np.uint8))
    (face,) = faces.detect([large])[0]
    expected = np.array(FACES["hopper"][0]) / 5 * 2
    assert iou(face.box_xyxy, tuple(expected)) > 0.6


def test_small_face_is_found_once_wherever_it_is(faces):
    small = photo("hopper")[40:440:6, 90:450:6]
    x0, y0, x1, y1 = ((v - o) / 6 for v, o in zip(FACES["hopper"][0], (90, 40) * 2, strict=True))
    blank = np.full((900, 1100, 3), 96, np.uint8)
    corners = [(x, y) for x in (0, 130, 178, 226, 1040) for y in (0, 190, 833)]
    for x, y in corners:
        picture = blank.copy()
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small
        (face,) = faces.detect([picture])[0]
        assert iou(face.box_xyxy, (x + x0, y + y0, x + x1, y + y1)) > 0.6, (x, y)


def test_photographs_faces_do_not_depend_on_its_neighbours_and_order_is_kept(faces):
    pictures = [photo("astronaut"), photo("rocket"), photo("hopper")]
    together = faces.detect(pictures)
    assert together == [faces.detect([picture])[0] for picture in pictures]
    assert [len(each) for each in together] == [1, 0, 1]


def test_pictures_are_only_read(faces):
    picture = photo("astronaut").copy()
    before = picture.copy()
    picture.setflags(write=False)
    found = faces.detect([picture])
    assert (picture == before).all()
    flipped = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]  # a view with negative strides
    assert faces.detect([flipped]) == found


def test_faces_come_best_first(faces):
    scores = [face.score for face in faces.detect([photo("zidane")])[0]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0.75


def test_higher_confidence_finds_less_and_a_lower_one_more(face_model):
    with MediapipeFaces(face_model, DetectorSettings(confidence=0.96)) as strict:
        assert [len(each) for each in strict.detect([photo("astronaut"), photo("bus")])] == [1, 0]
    with MediapipeFaces(face_model, DetectorSettings(confidence=0.55)) as loose:
        assert len(loose.detect([photo("bus")])[0]) > 2


def test_larger_smallest_window_overlooks_small_faces(face_model):
    with MediapipeFaces(face_model, DetectorSettings(smallest_window=600)) as coarse:
        assert [len(each) for each in coarse.detect([photo("bus"), photo("hopper")])] == [0, 1]


def test_full_range_model_works_too(mediapipe_models):
    path = mediapipe_models / "face_detection_full_range_sparse.tflite"
    with MediapipeFaces(path, DetectorSettings(confidence=0.7)) as detector:
        found = detector.detect([photo("astronaut"), photo("hopper"), photo("chelsea")])
    assert [len(each) for each in found] == [1, 1, 0]
    for name, each in zip(("astronaut", "hopper"), found, strict=False):
        assert iou(each[0].box_xyxy, FACES[name][0]) > 0.6


def test_face_at_the_pictures_edge_is_found_and_its_box_stays_inside(faces):
    picture = photo("astronaut")[:185, 170:]
    (face,) = faces.detect([picture])[0]
    x0, y0, x1, y1 = face.box_xyxy
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= picture.shape[1]
    assert y1 <= picture.shape[0]
    assert iou(face.box_xyxy, (4, 52, 106, 185)) > 0.65


def upright(**moved):
    spots = {"right_eye": (40, 40), "left_eye": (60, 40), "mouth_center": (50, 70)} | moved
    marks = tuple((name, spots.get(name, (50, 55))) for name in LANDMARKS)
    return Detection((25, 25, 75, 75), "face", 0.9, "test", landmarks=marks)


def test_whole_face_reaches_further_up_than_down_and_leans_with_the_face():
    x0, y0, x1, y1 = whole_face(upright())
    assert x0 + x1 == pytest.approx(100)
    assert 25 - y0 > y1 - 75 > 0
    assert y1 - y0 > x1 - x0 > 50
    lying = whole_face(upright(right_eye=(40, 40), left_eye=(40, 60), mouth_center=(70, 50)))
    assert lying[2] - lying[0] == pytest.approx(y1 - y0)
    assert lying[3] - lying[1] == pytest.approx(x1 - x0)
    assert 25 - lying[0] > lying[2] - 75


def test_landmarks_all_in_one_place_count_as_upright():
    together = upright(right_eye=(50, 50), left_eye=(50, 50), mouth_center=(50, 50))
    assert whole_face(together) == pytest.approx(whole_face(upright()))


def test_file_that_is_not_there_or_no_model_is_named(tmp_path, hand_model):
    with pytest.raises(DetectorError, match=r"no model file at .*nothing\.tflite"):
        MediapipeFaces(tmp_path / "nothing.tflite")
    (tmp_path / "junk.tflite").write_bytes(b"junk" * 100)
    with pytest.raises(DetectorError, match=r"junk\.tflite is not a model that mediapipe-face"):
        MediapipeFaces(tmp_path / "junk.tflite")
    with pytest.raises(DetectorError, match="not a model that mediapipe-face can use"):
        MediapipeFaces(hand_model)


def test_missing_mediapipe_is_named_with_its_package(face_model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mediapipe.tasks.python", None)
    with pytest.raises(DetectorError, match="pip install 'mediapipe"):
        MediapipeFaces(face_model)


def test_closed_detector_says_so_and_can_be_closed_again(face_model):
    detector = MediapipeFaces(face_model)
    detector.close()
    detector.close()
    with pytest.raises(DetectorError, match="mediapipe-face was closed"):
        detector.detect([FLAT])


def test_picture_of_another_type_is_refused(faces):
    with pytest.raises(DetectorError, match="float64"):
        faces.detect([FLAT / 255])
