"""Windows over a picture, so that a model with a small input finds small things too.

A window is a rectangle of whole px in picture coordinates. It may reach out of the picture, where
its pixels are padding: `cut_view` cuts one out, `Window.to_picture` maps what was found in it back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        scaled = found.scale_by(width / seen_at_wh[0], height / seen_at_wh[1])
        return scaled.move_by(self.x0, self.y0)


def pyramid_windows(
    size_wh: SizeWh,
    *,
    smallest: int = 160,
    shrink: float = 1.6,
    overlap: float = 0.5,
    even: bool = False,
) -> tuple[Window, ...]:
    """Square windows of falling size over a picture of that size (both sides at least 1 px).

    The first holds the whole picture. Each further level's side is `shrink` times smaller (above
    1), down to no less than `smallest` px (at least 1); `even`: so much less than `shrink` times
    smaller that the last level's side is `smallest`. Neighbours on a level share at least the
    part `overlap` (0 to below 1) of their side, and each level covers every pixel. Along an axis
    shorter than the side there is one window, with the picture in its middle.
    """
    _check_sizes(size_wh, overlap=overlap, least=smallest)
    if not shrink > 1:
        raise ValueError(f"shrink must be above 1, but got {shrink!r}")
    side = float(max(size_wh))
    windows = list(_window_grid(size_wh, (max(size_wh), max(size_wh)), overlap=overlap))
    if even and side > smallest:
        shrink = (side / smallest) ** (1 / math.ceil(math.log(side / smallest, shrink)))
    while round(side := side / shrink, 6) >= smallest:
        windows += _window_grid(size_wh, (round(side), round(side)), overlap=overlap)
    return tuple(windows)


def tile_windows(size_wh: SizeWh, *, tile: int, overlap: float = 0.25) -> tuple[Window, ...]:
    """Windows of equal size, at most tile x tile px, inside the picture, that cover every pixel.

    Neighbours share at least the part `overlap` (0 to below 1) of their side. A picture no larger
    than one tile gets one window: itself.
    """
    _check_sizes(size_wh, overlap=overlap, least=tile)
    return _window_grid(size_wh, (min(tile, size_wh[0]), min(tile, size_wh[1])), overlap=overlap)


def window_around(box_xyxy: Box, side: int, *, size_wh: SizeWh) -> Window:
    """The square window with a box's middle in its own, moved into the picture as far as it fits.

    Along an axis of the picture shorter than `side` the picture is in the window's middle.
    """

    def start_of(low: float, high: float, length: int) -> int:
        spare = length - side
        return spare // 2 if spare <= 0 else min(max(round((low + high - side) / 2), 0), spare)

    x = start_of(box_xyxy[0], box_xyxy[2], size_wh[0])
    y = start_of(box_xyxy[1], box_xyxy[3], size_wh[1])
    return Window(x, y, x + side, y + side)


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


def halve_repeatedly(pixels: Pixels) -> tuple[Pixels, ...]:
    """A picture, the same at half its size, at a quarter and so on, for `cut_view`.

    A last odd row or column is left out of the next.
    """
    import cv2

    halved = [pixels]
    while max(halved[-1].shape[:2]) > 1:
        height, width = (max(side // 2, 1) for side in halved[-1].shape[:2])
        even = halved[-1][: 2 * height, : 2 * width]
        halved.append(np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)))
    return tuple(halved)


def cut_view(halved: Sequence[Pixels], window: Window, *, seen_at_wh: SizeWh) -> Pixels:
    """Cut a window out of a picture and resize it to seen_at_wh; padding is black.

    halved: from `halve_repeatedly`. Returns a new contiguous array. The window must share at least
    one pixel with the picture.
    """
    import cv2

    height, width = halved[0].shape[:2]
    x0, y0 = max(window.x0, 0), max(window.y0, 0)
    x1, y1 = min(window.x1, width), min(window.y1, height)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"{window} lies outside a picture of {width} x {height} px")
    step_x, step_y = window.size_wh[0] / seen_at_wh[0], window.size_wh[1] / seen_at_wh[1]
    # Of a copy that is shrunk by less than 2, linear interpolation reads every pixel.
    level = min(int(math.log2(max(step_x, step_y, 1))), len(halved) - 1)
    part = 0.5**level
    # Only the window and the pixels at its edges: OpenCV warps no picture of 32,767 px.
    left, top = (max(int(edge * part) - 1, 0) for edge in (x0, y0))
    right, bottom = (int(edge * part) + 2 for edge in (x1, y1))
    to_source = np.array(
        [
            [step_x * part, 0, (window.x0 + step_x / 2) * part - 0.5 - left],
            [0, step_y * part, (window.y0 + step_y / 2) * part - 0.5 - top],
        ]
    )
    warped = cv2.warpAffine(
        halved[level][top:bottom, left:right],
        to_source,
        seen_at_wh,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    view: Pixels = np.asarray(warped, np.uint8)
    left = min(round((x0 - window.x0) / step_x), seen_at_wh[0] - 1)
    top = min(round((y0 - window.y0) / step_y), seen_at_wh[1] - 1)
    view[:top] = view[max(round((y1 - window.y0) / step_y), top + 1) :] = 0
    view[:, :left] = view[:, max(round((x1 - window.x0) / step_x), left + 1) :] = 0
    return view


def _check_sizes(size_wh: SizeWh, *, overlap: float, least: int) -> None:
    if min(size_wh) < 1:
        raise ValueError(f"size_wh must be at least 1 x 1 px, but got {size_wh}")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and below 1, but got {overlap!r}")
    if least < 1:
        raise ValueError(f"a window's side must be at least 1 px, but got {least!r}")


def _window_grid(size_wh: SizeWh, window_wh: SizeWh, *, overlap: float) -> tuple[Window, ...]:
    (width, height), (across, down) = size_wh, window_wh
    return tuple(
        Window(x, y, x + across, y + down)
        for y in _window_starts(height, down, overlap=overlap)
        for x in _window_starts(width, across, overlap=overlap)
    )


def _window_starts(length: int, side: int, *, overlap: float) -> tuple[int, ...]:
    spare = length - side
    if spare <= 0:
        return (spare // 2,)
    # A step of whole px, or rounding could leave neighbours sharing less than `overlap`.
    step = max(int(side * (1 - overlap)), 1)
    count = math.ceil(spare / step) + 1
    return tuple(spare * i // (count - 1) for i in range(count))
