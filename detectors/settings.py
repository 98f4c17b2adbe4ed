"""The settings of a detector: one frozen record for all kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detectors.errors import DetectorError


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of every kind of detector; each reads its own. None means its own default.

    confidence: least score kept, 0 to 1. yolo: 0.3; mediapipe: 0.75, and a thing that only one
        window saw needs two fifths of what is missing to 1 more (0.85).
    iou: two boxes of one label overlapping more than this (shared over joint area) are one thing,
        0 to 1. yolo: 0.7; mediapipe: 0.3.
    image_size: yolo: side in px at which the model looks, a multiple of 32: 640. An export of
        fixed size keeps its own.
    classes: yolo: the class names to keep, in any case; empty keeps all.
    tile: yolo: also look at overlapping tiles of this side in px, for things tiny in a large
        picture; None looks at the whole picture only.
    smallest_window: mediapipe: side in px of the smallest window; things under about a sixth of it
        are not seen, and half of it takes four times as long. Faces: 160; hands: 200.
    device: yolo: "cpu", "cuda", "cuda:1", "mps"; None lets the library choose. mediapipe runs on
        the CPU.
    trust_pickle: yolo: load a .pt whole, where otherwise its data alone are taken. It can run any
        code: only for files that you made or whose maker you trust.

    Raises DetectorError where a value is out of range.
    """

    confidence: float | None = None
    iou: float | None = None
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    tile: int | None = None
    smallest_window: int | None = None
    device: str | None = None
    trust_pickle: bool = False

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            value: float | None = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0.0 <= value <= 1.0):
                raise DetectorError(f"{name} must be between 0 and 1, but got {value!r}")
        for name in ("image_size", "tile", "smallest_window"):
            side: int | None = getattr(self, name)
            if side is not None and side < 32:
                raise DetectorError(f"{name} must be at least 32 px, but got {side!r}")
        given: object = self.classes
        if isinstance(given, str):
            raise DetectorError(f"classes must be a tuple of names, but got the text {given!r}")
        object.__setattr__(self, "classes", tuple(self.classes))


DEFAULTS = DetectorSettings()
