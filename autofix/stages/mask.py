"""mask: a Region whose mask is its box -> the same Region with its soft mask."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from autofix.recipe import Mask
from autofix.values import MaskValues, Region, SoftMask
from autofix.window import IntBox
from detectors.detection import Detection


def mask(region: Region, size_wh: tuple[int, int], settings: Mask) -> Region:
    """The Region with its shape drawn, dilated (or eroded) and blurred, cut to the picture.

    A dilation of 4 px grows the mask by 2 px on each side. The blur is AUTOMATIC1111's: a
    Gaussian of sigma s over 2 int(2.5 s + 0.5) + 1 px along each axis, so it reaches
    int(2.5 s + 0.5) px beyond the dilated mask. A mask that erosion empties is skipped.
    """
    if region.skip:
        return region
    detection = region.detection
    side = max(detection.width, detection.height)
    grow = round(settings.dilate.px(side) / 2)
    sigma = settings.blur.px(side)
    reach = int(2.5 * sigma + 0.5)
    box = _grown(region.mask.box_xyxy, max(grow, 0) + reach + 1, size_wh)
    values = _dilated(_drawn(detection, box, settings.shape), grow)
    soft = SoftMask(box, _blurred(values, sigma, reach)).trimmed()
    if soft.empty:
        return region.skipped(f"its mask is empty after dilating by {settings.dilate}")
    return replace(region, mask=soft)


def _grown(box: IntBox, by: int, size_wh: tuple[int, int]) -> IntBox:
    x0, y0, x1, y1 = box
    return max(x0 - by, 0), max(y0 - by, 0), min(x1 + by, size_wh[0]), min(y1 + by, size_wh[1])


def _drawn(detection: Detection, box: IntBox, shape: str) -> MaskValues:
    """The detection's shape on a canvas that covers `box`: 255 inside, 0 outside."""
    canvas = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
    x0, y0, x1, y1 = (
        edge - origin for edge, origin in zip(detection.box_xyxy, box[:2] * 2, strict=True)
    )
    if shape == "outline" and detection.polygon:
        return _filled(np.array(detection.polygon) - np.array(box[:2]), canvas)
    if shape == "ellipse":
        ys, xs = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]] + 0.5
        inside = ((2 * xs - x0 - x1) / (x1 - x0)) ** 2 + ((2 * ys - y0 - y1) / (y1 - y0)) ** 2 <= 1
        canvas[inside] = 255
    else:
        left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
        canvas[top : max(math.ceil(y1), 0), left : max(math.ceil(x1), 0)] = 255
    return canvas


def _filled(points: NDArray[np.float64], canvas: MaskValues) -> MaskValues:
    """A polygon drawn on the canvas, its edge pixels by the share they lie inside.

    cv2 draws the outline too, half a pixel too far out: drawn at four times the size, an eighth.
    """
    large = np.repeat(np.repeat(canvas, 4, axis=0), 4, axis=1)
    fixed_point = np.round((points * 4 - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(large, [fixed_point], 255, shift=4)
    size_wh = (canvas.shape[1], canvas.shape[0])
    return np.asarray(cv2.resize(large, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _dilated(values: MaskValues, by: int) -> MaskValues:
    """Grown by `by` px on every side, or shrunk where `by` is negative. Symmetric."""
    if by == 0:
        return values
    kernel: NDArray[np.uint8] = np.ones((2 * abs(by) + 1, 2 * abs(by) + 1), np.uint8)
    operation = cv2.dilate if by > 0 else cv2.erode
    # Outside the picture there is nothing: a mask at the edge is not eroded from there.
    return np.asarray(operation(values, kernel), np.uint8)


def _blurred(values: MaskValues, sigma: float, reach: int) -> MaskValues:
    if reach == 0:
        return values
    size = 2 * reach + 1
    across = cv2.GaussianBlur(values, (size, 1), sigmaX=sigma)
    return np.asarray(cv2.GaussianBlur(across, (1, size), sigmaX=sigma, sigmaY=sigma), np.uint8)
