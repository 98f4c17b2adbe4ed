"""Opens a detector of any kind, by the name of the kind."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from detectors.base import Detector
from detectors.errors import DetectorError
from detectors.mp_face import MediapipeFaces
from detectors.mp_hand import MediapipeHands
from detectors.scripted import ScriptedDetector
from detectors.settings import DEFAULTS
from detectors.settings import DetectorSettings as DetectorSettings
from detectors.yolo.detector import YoloDetector

KINDS: dict[str, Callable[[Path, DetectorSettings], Detector]] = {
    "mediapipe-face": MediapipeFaces,
    "mediapipe-hand": MediapipeHands,
    "yolo": YoloDetector,
    "scripted": ScriptedDetector,
}

_SUFFIXES = {
    ".pt": "yolo",
    ".onnx": "yolo",
    ".json": "scripted",
    ".tflite": "mediapipe-face",
    ".task": "mediapipe-hand",
}


def open_detector(kind: str, path: Path, *, settings: DetectorSettings = DEFAULTS) -> Detector:
    """Open a detector of one of the `KINDS` on its model file (scripted: its boxes file).

    The caller closes it. Raises DetectorError for an unknown kind, and as that kind's class says.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.4)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise DetectorError(
            f"there is no kind of detector called {kind!r}, only {', '.join(KINDS)}{hint}"
        )
    return KINDS[kind](path, settings)


def kind_of(path: Path) -> str:
    """Return the kind of detector that a file's suffix stands for; case does not matter.

    Raises DetectorError for any other suffix.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DetectorError(f"{path.name} is no detector's file: known are {', '.join(_SUFFIXES)}")
    return kind
