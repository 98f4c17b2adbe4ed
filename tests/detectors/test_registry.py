from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.mp_face import MediapipeFaces
from detectors.mp_hand import MediapipeHands
from detectors.registry import KINDS, DetectorSettings, kind_of, open_detector
from detectors.scripted import ScriptedDetector


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/face_yolov8n.pt", "yolo"),
        ("b.ONNX", "yolo"),
        ("boxes.json", "scripted"),
        ("blaze.tflite", "mediapipe-face"),
        ("hand.task", "mediapipe-hand"),
    ],
)
def test_suffix_tells_the_kind(name, kind):
    assert kind_of(Path(name)) == kind
    assert kind in KINDS


@pytest.mark.parametrize("name", ["model.safetensors", "noext", "x.pt.zip"])
def test_other_suffixes_are_refused_with_the_known_ones(name):
    with pytest.raises(DetectorError, match=rf"{name} is no detector's file.*\.pt, \.onnx"):
        kind_of(Path(name))


@pytest.mark.parametrize(
    ("kind", "near"), [("mediapipe_face", "mediapipe-face"), ("yolov8", "yolo"), ("SCRIPTED", None)]
)
def test_unknown_kind_is_answered_with_the_known_ones(kind, near):
    with pytest.raises(DetectorError, match=f"'{kind}', only {', '.join(KINDS)}") as caught:
        open_detector(kind, Path("x"))
    assert str(caught.value).endswith(f"did you mean '{near}'?") == (near is not None)


def test_kinds_open_with_their_settings(tmp_path, face_model, hand_model):
    (tmp_path / "boxes.json").write_text('{"a": [{"box": [0, 0, 5, 5], "score": 0.5}]}')
    settings = DetectorSettings(confidence=0.9)
    scripted = open_detector("scripted", tmp_path / "boxes.json", settings=settings)
    assert isinstance(scripted, ScriptedDetector)
    assert scripted.detect([np.zeros((9, 9, 3), np.uint8)], names=["a"]) == [()]
    for kind, path, made in (
        ("mediapipe-face", face_model, MediapipeFaces),
        ("mediapipe-hand", hand_model, MediapipeHands),
    ):
        detector = open_detector(kind, path, settings=settings)
        assert isinstance(detector, made)
        assert detector.name == kind
        detector.close()
