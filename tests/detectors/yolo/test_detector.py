from __future__ import annotations

import pickle
import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.overlap import iou
from detectors.settings import DetectorSettings
from detectors.yolo.build import BuiltModel
from detectors.yolo.detector import YoloDetector, mask_outline
from detectors.yolo.onnx_export import onnx_errors
from tests.detectors.shapes import LABELS, draw

CPU = DetectorSettings(device="cpu")
PORTRAIT, LANDSCAPE = (832, 1216), (1280, 720)
MODELS = ("detect.pt", "segment.pt", "detect-pairs.onnx", "segment-dynamic.onnx")


def pictures(*sizes, parts=(0.026, 0.036), tries=4):
    """Pictures whose shapes have radii of such parts of the longer side: at 640 px, as trained."""
    rng = np.random.default_rng(5)
    return [
        draw(rng, size, radii=(parts[0] * max(size), parts[1] * max(size)), tries=tries)
        for size in sizes
    ]


@pytest.fixture(scope="module", params=MODELS)
def detector(request, shape_models):
    with YoloDetector(shape_models / request.param, CPU) as opened:
        yield opened


@pytest.fixture(scope="module")
def segmenter(shape_models):
    with YoloDetector(shape_models / "segment.pt", CPU) as opened:
        yield opened


def check_found(found, shapes):
    """One detection for each shape, of its label, at its place."""
    assert Counter(d.label for d in found) == Counter(shape.label for shape in shapes)
    for label, corners in shapes:
        box = (*corners.min(axis=0), *corners.max(axis=0))
        best = max(found, key=lambda d: iou(d.box_xyxy, box))
        assert iou(best.box_xyxy, box) > 0.8
        assert best.label == label


def test_no_pictures_nothing_found(detector):
    assert detector.detect([]) == []
    assert detector.detect([np.zeros((1, 1, 3), np.uint8)]) == [()]


def test_detector_has_its_name_and_labels(detector):
    assert detector.name.startswith("yolo:")
    assert detector.labels == LABELS


def test_shapes_are_found_once_with_class_and_place(detector):
    drawn = pictures(PORTRAIT, LANDSCAPE, PORTRAIT, PORTRAIT)
    for found, (pixels, shapes) in zip(
        detector.detect([pixels for pixels, _ in drawn]), drawn, strict=True
    ):
        check_found(found, shapes)
        assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
        assert all(d.detector == detector.name and d.score >= 0.3 for d in found)
        height, width = pixels.shape[:2]
        assert all(d == d.clip_to((width, height)) for d in found)


def test_detections_do_not_depend_on_the_rest_of_the_batch(detector):
    mixed = [pixels for pixels, _ in pictures(PORTRAIT, LANDSCAPE, PORTRAIT, (300, 301), PORTRAIT)]
    together = detector.detect(mixed)
    for pixels, found in zip(mixed, together, strict=True):
        (alone,) = detector.detect([pixels])
        assert [d.label for d in found] == [d.label for d in alone]
        for one, other in zip(found, alone, strict=True):
            assert one.box_xyxy == pytest.approx(other.box_xyxy, abs=0.05)
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_pictures_are_only_read(detector):
    ((pixels, _),) = pictures((640, 640))
    before = pixels.copy()
    pixels.setflags(write=False)
    detector.detect([pixels])
    assert (pixels == before).all()


def test_segmentation_models_alone_give_outlines(detector):
    ((pixels, _),) = pictures(PORTRAIT)
    found = detector.detect([pixels])[0]
    assert {d.polygon is not None for d in found} == {"segment" in detector.name}


@pytest.mark.parametrize("size", [PORTRAIT, LANDSCAPE, (500, 1500), (640, 640)])
def test_outlines_lie_on_the_drawn_ones_whatever_the_pictures_shape(segmenter, size):
    """A letterboxed mask stretched over the picture is 9.5 px off on 832 x 1216, 34 on 16:9."""
    errors = []
    for pixels, shapes in pictures(size, size, size):
        found = segmenter.detect([pixels])[0]
        for shape in shapes:
            best = max(found, key=lambda d: iou(d.box_xyxy, shape.box_xyxy))
            points = np.array(best.polygon)
            spans = (*points.min(axis=0), *points.max(axis=0))
            errors.append(np.subtract(spans, shape.box_xyxy))
            drawn, outlined = np.zeros((2, *pixels.shape[:2]), np.uint8)
            cv2.fillPoly(drawn, [np.round(shape.outline - 0.5).astype(int)], 1)
            cv2.fillPoly(outlined, [np.round(points - 0.5).astype(int)], 1)
            assert (drawn & outlined).sum() / (drawn | outlined).sum() > 0.8
    left, top, right, bottom = np.mean(errors, axis=0)
    assert abs(left + right) / 2 < 1.5, "shifted sideways"
    assert abs(top + bottom) / 2 < 1.5, "shifted up or down"
    assert np.abs(errors).mean() < 2


def test_colours_arrive_as_rgb(shape_models, monkeypatch):
    detector = YoloDetector(shape_models / "detect.pt", CPU)
    seen = []
    monkeypatch.setattr(BuiltModel, "predict", lambda _, crops, **__: seen.extend(crops))
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[:] = (250, 20, 3)
    with pytest.raises(TypeError):  # the spy answers with nothing
        detector.detect([picture])
    assert seen[0][0, 0].tolist() == [3, 20, 250]  # ultralytics takes BGR


def test_model_is_loaded_once(shape_models, monkeypatch):
    import torch
    import ultralytics

    ((pixels, shapes),) = pictures((640, 640))
    with YoloDetector(shape_models / "detect.pt", CPU) as detector:
        monkeypatch.setattr(torch, "load", None)
        monkeypatch.setattr(ultralytics, "YOLO", None, raising=False)
        check_found(detector.detect([pixels])[0], shapes)
        check_found(detector.detect([pixels])[0], shapes)


def test_classes_choose_by_name_in_any_case(shape_models):
    drawn = pictures(PORTRAIT, PORTRAIT, PORTRAIT)
    settings = DetectorSettings(device="cpu", classes=("DISC",))
    with YoloDetector(shape_models / "detect.pt", settings) as detector:
        assert detector.labels == ("disc",)
        for found, (_, shapes) in zip(detector.detect([p for p, _ in drawn]), drawn, strict=True):
            check_found(found, [shape for shape in shapes if shape.label == "disc"])


def test_unknown_class_is_answered_with_the_known_ones(shape_models):
    with pytest.raises(DetectorError, match=r"detect\.pt has no class 'face'.*disc, block"):
        YoloDetector(shape_models / "detect.pt", DetectorSettings(device="cpu", classes=("face",)))


def test_confidence_is_the_least_score(shape_models):
    drawn, _ = pictures(PORTRAIT)[0]
    scores = {}
    for confidence in (0.05, 0.3, 0.9):
        settings = DetectorSettings(device="cpu", confidence=confidence)
        with YoloDetector(shape_models / "detect.pt", settings) as detector:
            scores[confidence] = [d.score for d in detector.detect([drawn])[0]]
        assert all(score >= confidence for score in scores[confidence])
    assert len(scores[0.05]) >= len(scores[0.3]) > len([s for s in scores[0.3] if s < 0.9]) - 1


@pytest.mark.parametrize("name", ["detect.pt", "segment.pt", "detect-pairs.onnx"])
def test_tiles_find_what_is_tiny_in_a_large_picture_once(shape_models, name):
    ((pixels, shapes),) = pictures((2400, 1800), parts=(0.008, 0.01), tries=12)
    whole = DetectorSettings(device="cpu", image_size=320)
    with YoloDetector(shape_models / name, whole) as detector:
        overlooked = detector.detect([pixels])[0]
    tiled = DetectorSettings(device="cpu", image_size=640, tile=640)
    with YoloDetector(shape_models / name, tiled) as detector:
        found = detector.detect([pixels])[0]
    assert len(overlooked) < len(shapes)
    check_found(found, shapes)
    for detection in found:
        assert (detection.polygon is not None) == name.startswith("segment")
        points = np.array(detection.polygon or [detection.center_xy])
        x0, y0, x1, y1 = detection.box_xyxy
        assert (points >= (x0 - 3, y0 - 3)).all()
        assert (points <= (x1 + 3, y1 + 3)).all()


def test_thing_larger_than_a_tile_is_found_in_the_whole_picture(shape_models):
    drawn = pictures((640, 640), parts=(0.055, 0.065))
    settings = DetectorSettings(device="cpu", tile=64, image_size=320)
    with YoloDetector(shape_models / "detect.pt", settings) as detector:
        for pixels, shapes in drawn:
            found = detector.detect([pixels])[0]
            for shape in shapes:
                assert max(iou(d.box_xyxy, shape.box_xyxy) for d in found) > 0.8


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.fixture(params=["checkpoint", "plain pickle"])
def malicious(request, tmp_path):
    import torch

    marker = tmp_path / "executed"
    path = tmp_path / "evil.pt"
    if request.param == "checkpoint":
        torch.save({"model": Payload(marker), "train_args": {}}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Payload(marker)}))
    return path, marker


def test_malicious_checkpoint_is_refused_and_nothing_in_it_runs(malicious):
    path, marker = malicious
    with pytest.raises(DetectorError, match=r"evil\.pt is not .* safely: .*trust_pickle"):
        YoloDetector(path, CPU)
    assert not marker.exists()


def test_trusted_checkpoint_runs(malicious):
    """So the payload is a real one, and the refusal is what stops it."""
    path, marker = malicious
    with pytest.raises(DetectorError, match=r"evil\.pt is not a YOLO checkpoint"):
        YoloDetector(path, DetectorSettings(device="cpu", trust_pickle=True))
    assert marker.exists()


def test_trust_for_one_file_is_no_trust_for_the_next(malicious, shape_models):
    path, marker = malicious
    YoloDetector(shape_models / "detect.pt", DetectorSettings(device="cpu", trust_pickle=True))
    with pytest.raises(DetectorError, match="safely"):
        YoloDetector(path, CPU)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"PK\x03\x04" + b"junk" * 100])
@pytest.mark.parametrize("trusted", [False, True])
def test_damaged_checkpoint_is_named(tmp_path, content, trusted):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(DetectorError, match=r"bad\.pt is not a YOLO checkpoint"):
        YoloDetector(tmp_path / "bad.pt", DetectorSettings(device="cpu", trust_pickle=trusted))


def test_file_that_is_not_there_is_not_looked_for_elsewhere(tmp_path):
    with pytest.raises(DetectorError, match=r"no model file at .*yolo11n\.pt"):
        YoloDetector(tmp_path / "yolo11n.pt", CPU)


@pytest.mark.parametrize(
    "name", ["o'brien.pt", "yolov5n.pt", "yolov3.pt", " spaced .pt", "über.pt"]
)
def test_file_may_be_called_anything(shape_models, tmp_path, name):
    ((pixels, shapes),) = pictures((640, 640))
    shutil.copy(shape_models / "detect.pt", tmp_path / name)
    with YoloDetector(tmp_path / name, CPU) as detector:
        check_found(detector.detect([pixels])[0], shapes)


def test_model_for_another_task_is_refused(shape_models):
    with pytest.raises(DetectorError, match="'classify': use one for detect or segment"):
        YoloDetector(shape_models / "classify.pt", CPU)


def test_device_that_is_not_there_is_named(shape_models):
    with pytest.raises(DetectorError, match="does not run on device 'cuda:77'"):
        YoloDetector(shape_models / "detect.pt", DetectorSettings(device="cuda:77"))


def test_missing_ultralytics_is_named_with_its_package(shape_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(DetectorError, match="pip install ultralytics"):
        YoloDetector(shape_models / "detect.pt", CPU)


def test_failing_model_is_reported_with_what_it_was_given(shape_models, monkeypatch):
    detector = YoloDetector(shape_models / "detect.pt", CPU)

    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(BuiltModel, "predict", fail)
    with pytest.raises(DetectorError, match=r"yolo:detect failed on 1 views.*8, 8.*out of memory"):
        detector.detect([np.zeros((8, 8, 3), np.uint8)])


def test_failing_export_is_reported_too(shape_models, monkeypatch):
    import ultralytics

    detector = YoloDetector(shape_models / "detect-pairs.onnx", CPU)
    refusal = onnx_errors()[0]

    def fail(*_, **__):
        raise refusal("no such operator")

    monkeypatch.setattr(ultralytics.YOLO, "predict", fail)
    assert not issubclass(refusal, RuntimeError)
    with pytest.raises(
        DetectorError, match=r"yolo:detect-pairs failed on 2 views.*no such operator"
    ):
        detector.detect([np.zeros((8, 8, 3), np.uint8)])


def test_closed_detector_says_so_and_can_be_closed_again(shape_models):
    detector = YoloDetector(shape_models / "detect.pt", CPU)
    detector.close()
    detector.close()
    with pytest.raises(DetectorError, match="yolo:detect was closed"):
        detector.detect([np.zeros((8, 8, 3), np.uint8)])


def test_outline_runs_through_the_outermost_pixels_of_the_largest_piece():
    mask = np.zeros((20, 30), np.uint8)
    mask[2:12, 3:18] = 1
    mask[5:8, 6:9] = 0  # a hole
    mask[15:18, 20:25] = 1  # a smaller piece
    points = mask_outline(mask)
    assert sorted(points) == [(3.5, 2.5), (3.5, 11.5), (17.5, 2.5), (17.5, 11.5)]


@pytest.mark.parametrize("rows", [0, 1])
def test_mask_without_a_piece_of_three_corners_has_no_outline(rows):
    mask = np.zeros((9, 9), np.uint8)
    mask[:rows, 2:6] = 1
    assert mask_outline(mask) is None
