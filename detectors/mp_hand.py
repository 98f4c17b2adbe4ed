"""Hands by MediaPipe's HandLandmarker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detectors.detection import Detection, Point
from detectors.mp_windows import WindowedTask
from detectors.settings import DEFAULTS, DetectorSettings

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_JOINTS = {"thumb": ("cmc", "mcp", "ip", "tip")}
LANDMARKS = (
    "wrist",
    *(f"{f}_{joint}" for f in _FINGERS for joint in _JOINTS.get(f, ("mcp", "pip", "dip", "tip"))),
)

FLESH = 0.2
"""How far the outline lies outside the landmarks, which are joints, in parts of the hand's size."""


class MediapipeHands(WindowedTask):
    """Finds hands, label "hand", with 21 named `LANDMARKS` and their outline as polygon.

    path: a HandLandmarker bundle (.task). The polygon is convex, and the box is the polygon's. The
    score is how sure the model is whether it is a right or a left hand. Hands down to about a
    sixth of the smallest window are found (`DetectorSettings.smallest_window`).
    Raises DetectorError where path is not such a bundle.
    """

    single_view_margin = 0.9  # a white tie once scored 0.92 as a hand

    def __init__(self, path: Path, settings: DetectorSettings = DEFAULTS) -> None:
        super().__init__(
            path, settings, name="mediapipe-hand", label="hand", side=224, smallest=200
        )

    def _open_task(self, vision: Any, options: Any) -> Any:
        return vision.HandLandmarker.create_from_options(
            vision.HandLandmarkerOptions(base_options=options, num_hands=4)
        )

    def _read_detections(self, result: Any) -> Iterator[Detection]:
        for marks, sides in zip(result.hand_landmarks, result.handedness, strict=True):
            points = [(mark.x * self._side, mark.y * self._side) for mark in marks]
            (x0, y0), (x1, y1) = np.min(points, axis=0), np.max(points, axis=0)
            if x0 < x1 and y0 < y1:
                yield Detection(
                    (x0, y0, x1, y1),
                    self.labels[0],
                    min(sides[0].score, 1.0),
                    self.name,
                    landmarks=tuple(zip(LANDMARKS, points, strict=True)),
                )

    def _merge_sightings(self, sightings: tuple[Detection, ...]) -> Detection:
        best = sightings[0]  # no mean: sightings may disagree on which finger is which
        polygon = hand_outline(best)
        (x0, y0), (x1, y1) = np.min(polygon, axis=0), np.max(polygon, axis=0)
        return replace(best, polygon=polygon, box_xyxy=(x0, y0, x1, y1))


def hand_outline(found: Detection) -> tuple[Point, ...]:
    """Return the convex outline of a hand: around its landmarks, grown by the flesh on them."""
    import cv2

    points = dict(found.landmarks)
    palm = math.dist(points["wrist"], points["middle_mcp"])
    reach = FLESH * max(palm, found.width / 2, found.height / 2)
    turns = np.linspace(0.0, 2 * math.pi, 16, endpoint=False)
    ring = reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    around = (np.array(list(points.values()))[:, None] + ring).reshape(-1, 2).astype(np.float32)
    return tuple((float(x), float(y)) for x, y in cv2.convexHull(around)[:, 0])
