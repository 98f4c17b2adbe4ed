"""mask: a Region whose mask is its box -> the same Region with its soft mask; and merging them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from autofix.geometry import IntBox, box_wh
from autofix.settings.region_sections import Mask
from autofix.values import MaskValues, Region, SoftMask
from detectors.detection import Detection

Edge = TypeVar("Edge", int, float)

MOST_REACH = 1024
"""How far a blur reaches at most, px: more makes any mask grey all over, and takes minutes."""

BAND = 256
"""Rows of a polygon drawn at once: at four times the size a whole large picture would not fit."""


def mask(region: Region, size_wh: tuple[int, int], settings: Mask) -> Region:
    """The Region with its shape moved, dilated (or eroded) and blurred, cut to the picture.

    An offset moves the whole shape, right and up, by whole pixels. A dilation of 4 px grows the
    mask by 2 px on each side. The blur is AUTOMATIC1111's: a Gaussian of sigma s over
    2 int(2.5 s + 0.5) + 1 px along each axis, so it reaches int(2.5 s + 0.5) px beyond the
    dilated mask. A mask that leaves the picture or that erosion empties is skipped.
    """
    if region.skip:
        return region
    shape = _hard_shape(region.detection, size_wh, settings)
    if shape.empty:
        return region.with_skip(
            f"its mask is empty after dilating by {settings.dilate}"
            + f" and moving by {settings.offset_x}, {settings.offset_y}" * _has_offset(settings)
        )
    sigma = settings.blur.px(_longer_side(region.detection))
    return replace(region, mask=_blur_shape(shape, sigma, size_wh))


def merge(
    regions: Sequence[Region], size_wh: tuple[int, int], settings: Mask
) -> tuple[Region, ...]:
    """All that is to be inpainted as one Region, in the place of the first; the others skipped.

    merge: through the union of the shapes; its detection is the first with the box around them
    all and their best score. merge-invert: through everything but the union, its box the whole
    picture. Blurred after merging, by the largest thing's blur. With nothing to merge, or where
    the settings ask for none, the same regions.
    """
    open_ = [region for region in regions if not region.skip]
    invert = settings.merge == "merge-invert"
    if settings.merge == "none" or len(open_) < (1 if invert else 2):
        return tuple(regions)
    first = open_[0]
    shapes = [_hard_shape(region.detection, size_wh, settings) for region in open_]
    whole = (0, 0, *size_wh)
    box = whole if invert else _box_around([shape.box_xyxy for shape in shapes])
    union: MaskValues = np.zeros(box_wh(box)[::-1], np.uint8)
    for shape in shapes:
        x0, y0, x1, y1 = shape.box_xyxy
        part = union[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        np.maximum(part, shape.values, out=part)
    sigma = max(settings.blur.px(_longer_side(region.detection)) for region in open_)
    soft = _blur_shape(SoftMask(box, 255 - union if invert else union), sigma, size_wh)
    merged = replace(
        first, detection=_join_detections([each.detection for each in open_]), mask=soft
    )
    if invert:
        merged = replace(merged, detection=replace(merged.detection, box_xyxy=whole))
    if soft.empty:
        merged = merged.with_skip("its mask is empty: the things found cover the whole picture")
    reason = f"merged into region {first.index + 1}"
    return tuple(merged if each is first else each.with_skip(reason) for each in regions)


def _has_offset(settings: Mask) -> bool:
    return bool(settings.offset_x.value or settings.offset_y.value)


def _longer_side(detection: Detection) -> float:
    return max(detection.width, detection.height)


def _join_detections(detections: Sequence[Detection]) -> Detection:
    """One detection for all: it has no landmarks, and its outline is in the mask alone."""
    return Detection(
        _box_around([each.box_xyxy for each in detections]),
        detections[0].label,
        max(each.score for each in detections),
        detections[0].detector,
    )


def _box_around(boxes: Sequence[tuple[Edge, Edge, Edge, Edge]]) -> tuple[Edge, Edge, Edge, Edge]:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _hard_shape(detection: Detection, size_wh: tuple[int, int], settings: Mask) -> SoftMask:
    """The hard shape, moved and dilated, in its smallest box; its edge pixels by their share."""
    side, limit = _longer_side(detection), max(size_wh)
    dx, dy = _whole_px(settings.offset_x.px(side)), -_whole_px(settings.offset_y.px(side))
    # Growing by more than the picture changes nothing more.
    grow = min(max(round(settings.dilate.px(side) / 2), -limit), limit)
    x0, y0, x1, y1 = detection.box_xyxy
    if settings.shape == "outline" and detection.polygon:
        (x0, y0), (x1, y1) = np.min(detection.polygon, axis=0), np.max(detection.polygon, axis=0)
    touched = (math.floor(x0) + dx, math.floor(y0) + dy, math.ceil(x1) + dx, math.ceil(y1) + dy)
    box = _grow_box(touched, max(grow, 0) + 1, size_wh)
    unmoved = (box[0] - dx, box[1] - dy, box[2] - dx, box[3] - dy)
    return SoftMask(box, _dilate(_draw_shape(detection, unmoved, settings.shape), grow)).trim()


def _whole_px(length: float) -> int:
    return math.floor(length + 0.5)


def _blur_shape(shape: SoftMask, sigma: float, size_wh: tuple[int, int]) -> SoftMask:
    reach = min(int(2.5 * sigma + 0.5), MOST_REACH)
    box = _grow_box(shape.box_xyxy, reach + 1, size_wh)
    return SoftMask(box, _blur_mask(shape.within(box), sigma, reach)).trim()


def _grow_box(box: IntBox, by: int, size_wh: tuple[int, int]) -> IntBox:
    """The box grown on every side and cut to the picture; without area where it lies outside."""
    x0, x1 = (min(max(edge, 0), size_wh[0]) for edge in (box[0] - by, box[2] + by))
    y0, y1 = (min(max(edge, 0), size_wh[1]) for edge in (box[1] - by, box[3] + by))
    return x0, y0, x1, y1


def _draw_shape(detection: Detection, box: IntBox, shape: str) -> MaskValues:
    """The detection's shape on a canvas that covers `box`: 255 inside, 0 outside."""
    canvas = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
    x0, y0, x1, y1 = (
        edge - origin for edge, origin in zip(detection.box_xyxy, box[:2] * 2, strict=True)
    )
    if shape == "outline" and detection.polygon:
        return _fill_polygon(np.array(detection.polygon) - np.array(box[:2]), canvas)
    if shape == "ellipse":
        ys, xs = np.ogrid[0 : canvas.shape[0], 0 : canvas.shape[1]]
        wide, high = max(x1 - x0, 1e-6), max(y1 - y0, 1e-6)
        across, down = (2 * xs + 1 - x0 - x1) / wide, (2 * ys + 1 - y0 - y1) / high
        canvas[across**2 + down**2 <= 1] = 255
    else:
        left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
        canvas[top : max(math.ceil(y1), 0), left : max(math.ceil(x1), 0)] = 255
    return canvas


def _fill_polygon(points: NDArray[np.float64], canvas: MaskValues) -> MaskValues:
    """A polygon drawn on the canvas, its edge pixels by the share they lie inside.

    cv2 draws the outline too, half a pixel too far out: drawn at four times the size, an eighth.
    """
    wide = canvas.shape[1]
    for top in range(0, canvas.shape[0], BAND):
        band = canvas[top : top + BAND]
        large: MaskValues = np.zeros((4 * len(band), 4 * wide), np.uint8)
        fixed_point = np.round(((points - (0, top)) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(large, [fixed_point], 255, shift=4)
        if wide:
            band[:] = cv2.resize(large, (wide, len(band)), interpolation=cv2.INTER_AREA)
    return canvas


def _dilate(values: MaskValues, by: int) -> MaskValues:
    """Grown by `by` px on every side, or shrunk where `by` is negative. Symmetric."""
    if by == 0 or not values.size:
        return values
    operation = cv2.dilate if by > 0 else cv2.erode
    # Outside the picture there is nothing: a mask at the edge is not eroded from there.
    down, across = (2 * min(abs(by), side) + 1 for side in values.shape)
    values = operation(values, np.ones((1, across), np.uint8))
    return np.asarray(operation(values, np.ones((down, 1), np.uint8)), np.uint8)


def _blur_mask(values: MaskValues, sigma: float, reach: int) -> MaskValues:
    if reach == 0 or not values.size:
        return values
    # A kernel beyond the picture's own side sees nothing but its reflections, slowly.
    down, across = (2 * min(reach, side - 1) + 1 for side in values.shape)
    values = cv2.GaussianBlur(values, (across, 1), sigmaX=sigma)
    return np.asarray(cv2.GaussianBlur(values, (1, down), sigmaX=sigma, sigmaY=sigma), np.uint8)
