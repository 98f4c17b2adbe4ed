"""Drawn pictures whose contents are known exactly: bright discs and blocks on a dark ground."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.base import Pixels
from detectors.detection import Box

LABELS = ("disc", "block")
_FINE = 4  # binary digits of a pixel in cv2's drawing


class Shape(NamedTuple):
    """A label and its outline: points x 2, in px at pixel edges."""

    label: str
    outline: np.ndarray

    @property
    def box_xyxy(self) -> Box:
        (x0, y0), (x1, y1) = self.outline.min(axis=0), self.outline.max(axis=0)
        return (float(x0), float(y0), float(x1), float(y1))


def draw(
    rng: np.random.Generator, size_wh: tuple[int, int], *, radii: tuple[float, float], tries: int
) -> tuple[Pixels, list[Shape]]:
    """A picture with at least one shape and at most `tries`, none touching another or the edge."""
    import cv2

    width, height = size_wh
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:] = rng.integers(0, 90, 3)
    shapes: list[Shape] = []
    rounds: list[tuple[float, float, float]] = []
    for _ in range(tries):
        radius = rng.uniform(*radii)
        x, y = (
            rng.uniform(radius + 3, width - radius - 3),
            rng.uniform(radius + 3, height - radius - 3),
        )
        if any(max(abs(x - a), abs(y - b)) < 1.3 * (radius + r) for a, b, r in rounds):
            continue
        label = LABELS[int(rng.integers(2))]
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False) if label == "disc" else None
        unit = (
            np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
            if turns is None
            else np.stack([np.cos(turns), np.sin(turns)], axis=1)
        )
        outline = np.array([x, y]) + unit * (radius, 0.8 * radius)
        fine = np.round((outline - 0.5) * 2**_FINE).astype(np.int32)
        cv2.fillPoly(pixels, [fine], rng.integers(150, 256, 3).tolist(), shift=_FINE)
        shapes.append(Shape(label, outline))
        rounds.append((x, y, radius))
    return pixels, shapes
