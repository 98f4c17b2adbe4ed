"""The face mesh on real faces, upright and turned, and on what is no face."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detectors import face_mesh as rows
from detectors.errors import DetectorError
from detectors.face_mesh import FaceMesh, Mesh
from detectors.mp_face import LANDMARKS
from tests.detectors.photos import FACES, photo

SAMPLES = Path(__file__).parents[2] / "samples"
FLAT = np.full((90, 120, 3), 128, np.uint8)


def eyes_of(face):
    return face.landmark("right_eye"), face.landmark("left_eye")


def error(mesh: Mesh, points, eye_distance):
    """Mean distance of all points, in eye distances."""
    return float(np.linalg.norm(mesh.points - points, axis=1).mean() / eye_distance)


def rotate_picture(picture, degrees):
    """The picture turned about its middle, and the map of its points."""
    size_wh = picture.shape[1], picture.shape[0]
    matrix = cv2.getRotationMatrix2D((size_wh[0] / 2, size_wh[1] / 2), degrees, 0.7)
    return cv2.warpAffine(picture, matrix, size_wh), matrix


@pytest.fixture(scope="module")
def hopper(mesh):
    found = mesh.find_mesh(photo("hopper"), FACES["hopper"][0])
    assert found is not None
    return found


def test_points_of_a_known_face(mesh):
    found = mesh.find_mesh(photo("astronaut"), FACES["astronaut"][0])
    named = dict(found.landmarks)
    assert tuple(named) == LANDMARKS
    marked_by_eye = {"right_eye": (204, 102), "left_eye": (247, 103), "mouth_center": (224, 148)}
    for name, spot in marked_by_eye.items():
        assert math.dist(named[name], spot) < 5, name
    assert found.eye_distance == pytest.approx(43, abs=3)
    assert found.presence > 0.99
    assert not found.points.flags.writeable


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_mesh_agrees_with_the_face_detector(mesh, faces, name):
    (face,) = faces.detect([photo(name)])[0]
    found = mesh.find_mesh(photo(name), face.box_xyxy, eyes_of(face))
    for spot, point in found.landmarks:
        assert math.dist(face.landmark(spot), point) < 0.15 * found.eye_distance, spot


@pytest.mark.parametrize(
    ("name", "count"),
    [("exhibition.png", 5), ("launch.png", 1), ("noticeboard.png", 4), ("table.jpg", 2)],
)
def test_sample_faces_are_seen_with_their_parts_in_order(mesh, faces, name, count):
    with Image.open(SAMPLES / name) as image:
        picture = np.asarray(image.convert("RGB"))
    found = faces.detect([picture])[0]
    assert len(found) == count
    for face in found:
        seen = mesh.find_mesh(picture, face.box_xyxy)
        assert seen.presence > 0.9
        brows, eyes, nose, lips = (
            seen.points[list(part), 1].mean()
            for part in (
                rows.RIGHT_BROW + rows.LEFT_BROW,
                rows.RIGHT_EYE + rows.LEFT_EYE,
                rows.NOSE,
                rows.OUTER_LIPS,
            )
        )
        assert brows < eyes < nose < lips
        oval = seen.points[list(rows.FACE_OVAL)]
        inner = seen.points[list(rows.RIGHT_EYE + rows.LEFT_EYE + rows.OUTER_LIPS)]
        assert all(cv2.pointPolygonTest(oval, (float(x), float(y)), False) > 0 for x, y in inner)


@pytest.mark.parametrize("degrees", [-30, 30])
def test_leaning_face_is_followed(mesh, hopper, degrees):
    picture, matrix = rotate_picture(photo("hopper"), degrees)
    expected = hopper.points @ matrix[:, :2].T + matrix[:, 2]
    (x0, y0), (x1, y1) = expected.min(axis=0), expected.max(axis=0)
    seen = mesh.find_mesh(picture, (x0, y0, x1, y1))
    assert error(seen, expected, 0.7 * hopper.eye_distance) < 0.1


@pytest.mark.parametrize("degrees", [90, 180, -120])
def test_face_with_known_eyes_may_stand_on_its_head(mesh, hopper, degrees):
    picture, matrix = rotate_picture(photo("hopper"), degrees)
    expected = hopper.points @ matrix[:, :2].T + matrix[:, 2]
    (x0, y0), (x1, y1) = expected.min(axis=0), expected.max(axis=0)
    eyes = tuple(tuple(matrix @ (*eye, 1)) for eye in hopper.eyes)
    seen = mesh.find_mesh(picture, (x0, y0, x1, y1), eyes)
    assert error(seen, expected, 0.7 * hopper.eye_distance) < 0.05


def test_box_need_not_be_exact(mesh, hopper):
    x0, y0, x1, y1 = FACES["hopper"][0]
    wide, high = x1 - x0, y1 - y0
    for shift, grow in ((0, -0.1), (0.1, 0), (-0.1, 0.1), (0, 0.25)):
        box = (
            x0 + (shift - grow) * wide,
            y0 + (shift - grow) * high,
            x1 + (shift + grow) * wide,
            y1 + (shift + grow) * high,
        )
        found = mesh.find_mesh(photo("hopper"), box)
        assert error(found, hopper.points, hopper.eye_distance) < 0.05, (shift, grow)


def test_points_scale_and_move_with_the_picture(mesh, hopper):
    large = np.pad(photo("hopper"), ((30, 0), (50, 0), (0, 0))).repeat(3, 0).repeat(3, 1)
    x0, y0, x1, y1 = FACES["hopper"][0]
    found = mesh.find_mesh(large, (3 * (x0 + 50), 3 * (y0 + 30), 3 * (x1 + 50), 3 * (y1 + 30)))
    expected = 3 * (hopper.points + np.array((50, 30)))
    assert error(found, expected, 3 * hopper.eye_distance) < 0.02


@pytest.mark.parametrize("name", ["rocket", "coffee", "chelsea"])
def test_no_mesh_where_there_is_no_face(mesh, name):
    picture = photo(name)
    high, wide = picture.shape[:2]
    assert mesh.find_mesh(picture, (0, 0, wide, high)) is None
    assert mesh.find_mesh(picture, (wide // 4, high // 4, wide // 2, high // 2)) is None
    assert mesh.find_mesh(FLAT, (10, 10, 60, 60)) is None
    assert mesh.find_mesh(FLAT[:1, :1], (-5, -5, 6, 6)) is None


def test_picture_is_only_read_and_its_layout_does_not_matter(mesh, hopper):
    picture = photo("hopper").copy()
    before = picture.copy()
    picture.setflags(write=False)
    mirrored = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]
    assert (mesh.find_mesh(mirrored, FACES["hopper"][0]).points == hopper.points).all()
    assert (picture == before).all()


def test_named_rows_are_mediapipes_own():
    from mediapipe.tasks.python.vision import FaceLandmarksConnections as Known

    def ends(connections):
        return {end for each in connections for end in (each.start, each.end)}

    assert set(rows.FACE_OVAL) == ends(Known.FACE_LANDMARKS_FACE_OVAL)
    assert set(rows.RIGHT_EYE) == ends(Known.FACE_LANDMARKS_RIGHT_EYE)
    assert set(rows.LEFT_EYE) == ends(Known.FACE_LANDMARKS_LEFT_EYE)
    assert set(rows.RIGHT_BROW) == ends(Known.FACE_LANDMARKS_RIGHT_EYEBROW)
    assert set(rows.LEFT_BROW) == ends(Known.FACE_LANDMARKS_LEFT_EYEBROW)
    assert set(rows.OUTER_LIPS + rows.INNER_LIPS) == ends(Known.FACE_LANDMARKS_LIPS)
    assert set(rows.NOSE) == ends(Known.FACE_LANDMARKS_NOSE)
    ring = rows.FACE_OVAL
    steps = {frozenset(pair) for pair in zip(ring, (*ring[1:], ring[0]), strict=True)}
    assert steps == {frozenset((e.start, e.end)) for e in Known.FACE_LANDMARKS_FACE_OVAL}


def test_file_that_is_not_there_or_no_mesh_is_named(tmp_path, face_model):
    with pytest.raises(DetectorError, match=r"no model file at .*nothing\.tflite"):
        FaceMesh(tmp_path / "nothing.tflite")
    (tmp_path / "junk.tflite").write_bytes(b"junk" * 100)
    with pytest.raises(DetectorError, match=r"junk\.tflite is not a face mesh"):
        FaceMesh(tmp_path / "junk.tflite")
    with pytest.raises(DetectorError, match="is not a face mesh"):
        FaceMesh(face_model)


def test_mesh_of_another_make_is_refused(mesh_model, monkeypatch):
    monkeypatch.setattr(rows, "POINTS", 478)
    with pytest.raises(DetectorError, match=r"gives \[1404, 1\] numbers, a face mesh \[1434, 1\]"):
        FaceMesh(mesh_model)


def test_bad_pictures_and_boxes_are_refused(mesh_model):
    with FaceMesh(mesh_model) as mesh:
        with pytest.raises(DetectorError, match="float64"):
            mesh.find_mesh(FLAT / 255, (0, 0, 9, 9))
        with pytest.raises(DetectorError, match=r"left < right.*\(9, 0, 9, 9\)"):
            mesh.find_mesh(FLAT, (9, 0, 9, 9))
        with pytest.raises(DetectorError, match="left < right"):
            mesh.find_mesh(FLAT, (0, 0, math.nan, 9))
    mesh.close()
    with pytest.raises(DetectorError, match="was closed"):
        mesh.find_mesh(FLAT, (0, 0, 9, 9))


def test_mesh_checks_itself():
    with pytest.raises(ValueError, match=r"468 finite points, but got shape \(3, 2\)"):
        Mesh(np.zeros((3, 2), np.float32), 1.0)
    with pytest.raises(ValueError, match="finite"):
        Mesh(np.full((468, 2), np.nan, np.float32), 1.0)
