"""Builders of small values for tests."""

from __future__ import annotations

import numpy as np

from autofix.geometry import Window
from autofix.values import Crop, Patch, Picture, Region, SoftMask
from detectors.detection import Detection


def detection(box, *, label="face", score=0.9, detector="test", **more) -> Detection:
    return Detection(box_xyxy=box, label=label, score=score, detector=detector, **more)


def picture(width=64, height=48, *, seed=0, name="p.png") -> Picture:
    """Noise, so that any pixel that moves is noticed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture(pixels, name)


def smooth(width=64, height=48, name="p.png") -> Picture:
    """Two gradients, so that resizing there and back changes next to nothing."""
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([40 + 150 * x / width, 60 + 120 * y / height, 90 + 0 * x], -1)
    return Picture(values.astype(np.uint8), name)


def region(box, *, index=0, values=None, **more) -> Region:
    """A region whose mask is its box, or `values` in its box."""
    x0, y0, x1, y1 = box
    mask = np.full((y1 - y0, x1 - x0), 255, np.uint8) if values is None else values
    return Region(detection(box), index, SoftMask(box, mask), **more)


def crop(picture: Picture, region: Region, box, size_wh, *, degrees=0.0) -> Crop:
    window = Window(box, size_wh, degrees)
    mask = window.cut_mask(region.mask.within(window.bounds_xyxy))
    return Crop(region, window, window.cut(picture.pixels), mask)


def patch(crop: Crop, pixels=None) -> Patch:
    """The crop repainted with `pixels` (0..1), or as it was."""
    if pixels is None:
        pixels = crop.pixels.astype(np.float32) / np.float32(255)
    values = np.broadcast_to(np.asarray(pixels, np.float32), crop.pixels.shape).copy()
    return Patch(crop, values, seed=0, strength=0.4)
