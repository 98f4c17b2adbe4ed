"""Windows over a picture, so that a model with a small input sees small things too. Pure functions.

A window is a rectangle of whole px in picture coordinates. It may reach out of the picture, where
its pixels are padding: `take` cuts one out, `Window.to_picture` maps what was found in it back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detectors.base import Pixels
from detectors.detection import Box, Detection

SizeWh = tuple[int, int]


class Window(NamedTuple):
    """Left, top, right and bottom edge in px of the picture; it may reach out of the picture."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size_wh(self) -> SizeWh:
        """Width and height in px, both at least 1."""
        return self.x1 - self.x0, self.y1 - self.y0

    def to_picture(self, found: Detection, *, seen_at_wh: SizeWh) -> Detection:
        """Map a detection from a view of this window, seen_at_wh px in size, to the picture."""
        width, height = self.size_wh
        scaled = found.scaled(width / seen_at_wh[0], height / seen_at_wh[1])
        return scaled.moved(self.x0, self.y0)


def pyramid(
    size_wh: SizeWh, *, smallest: int = 160, shrink: float = 1.6, overlap: float = 0.5
) -> tuple[Window, ...]:
    """Square windows of falling size over a picture of that size (both sides at least 1 px).

    The first holds the whole picture. Each further level's side is `shrink` times smaller (above
    1), down to no less than `smallest` px (at least 1). Neighbours on a level share at least the
    part `overlap` (0 to below 1) of their side, and each level covers every pixel. Along an axis
    shorter than the side there is one window, with the picture in its middle.
    """
    _check(size_wh, overlap=overlap, least=smallest)
    if not shrink > 1:
        raise ValueError(f"shrink must be above 1, but got {shrink!r}")
    side = float(max(size_wh))
    windows = list(_grid(size_wh, (max(size_wh), max(size_wh)), overlap=overlap))
    while (side := side / shrink) >= smallest:
        windows += _grid(size_wh, (round(side), round(side)), overlap=overlap)
    return tuple(windows)


def tiles(size_wh: SizeWh, *, tile: int, overlap: float = 0.25) -> tuple[Window, ...]:
    """Windows of equal size, at most tile x tile px, inside the picture, that cover every pixel.

    Neighbours share at least the part `overlap` (0 to below 1) of their side. A picture no larger
    than one tile gets one window: itself.
    """
    _check(size_wh, overlap=overlap, least=tile)
    return _grid(size_wh, (min(tile, size_wh[0]), min(tile, size_wh[1])), overlap=overlap)


def is_cut(box_xyxy: Box, window: Window, *, size_wh: SizeWh, margin_px: float = 1.0) -> bool:
    """Whether a box (picture coordinates) comes within margin_px of an inner edge of its window.

    Such a box is probably part of a thing that a neighbouring window sees whole. An edge of the
    window that lies on or beyond the picture's own edge cuts nothing.
    """
    return (
        (window.x0 > 0 and box_xyxy[0] < window.x0 + margin_px)
        or (window.y0 > 0 and box_xyxy[1] < window.y0 + margin_px)
        or (window.x1 < size_wh[0] and box_xyxy[2] > window.x1 - margin_px)
        or (window.y1 < size_wh[1] and box_xyxy[3] > window.y1 - margin_px)
    )


def take(pixels: Pixels, window: Window, *, seen_at_wh: SizeWh) -> Pixels:
    """Cut a window out of a picture and resize it to seen_at_wh; padding is black.

    Returns a new contiguous array. The window must share at least one pixel with the picture.
    """
    import cv2

    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = (
        max(window.x0, 0),
        max(window.y0, 0),
        min(window.x1, width),
        min(window.y1, height),
    )
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"{window} lies outside a picture of {width} x {height} px")
    sx, sy = seen_at_wh[0] / window.size_wh[0], seen_at_wh[1] / window.size_wh[1]
    left, right = round((x0 - window.x0) * sx), round((x1 - window.x0) * sx)
    top, bottom = round((y0 - window.y0) * sy), round((y1 - window.y0) * sy)
    inner_wh = max(right - left, 1), max(bottom - top, 1)
    # Averaging is right for making smaller and blocky for making larger.
    method = cv2.INTER_AREA if sx * sy < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(pixels[y0:y1, x0:x1], inner_wh, interpolation=method)
    canvas = np.zeros((seen_at_wh[1], seen_at_wh[0], 3), dtype=np.uint8)
    left, top = min(left, seen_at_wh[0] - inner_wh[0]), min(top, seen_at_wh[1] - inner_wh[1])
    canvas[top : top + inner_wh[1], left : left + inner_wh[0]] = inner
    return canvas


def _check(size_wh: SizeWh, *, overlap: float, least: int) -> None:
    if min(size_wh) < 1:
        raise ValueError(f"size_wh must be at least 1 x 1 px, but got {size_wh}")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and below 1, but got {overlap!r}")
    if least < 1:
        raise ValueError(f"a window's side must be at least 1 px, but got {least!r}")


def _grid(size_wh: SizeWh, window_wh: SizeWh, *, overlap: float) -> tuple[Window, ...]:
    (width, height), (across, down) = size_wh, window_wh
    return tuple(
        Window(x, y, x + across, y + down)
        for y in _starts(height, down, overlap=overlap)
        for x in _starts(width, across, overlap=overlap)
    )


def _starts(length: int, side: int, *, overlap: float) -> tuple[int, ...]:
    spare = length - side
    if spare <= 0:
        return (spare // 2,)
    # A step of whole px, or rounding could leave neighbours sharing less than was asked.
    step = max(int(side * (1 - overlap)), 1)
    count = math.ceil(spare / step) + 1
    return tuple(spare * i // (count - 1) for i in range(count))
