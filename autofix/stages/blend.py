"""blend: a Patch -> the Picture with the patch pasted through its soft mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autofix.recipe import Blend
from autofix.values import Patch, Picture
from autofix.window import IntBox

RING_LIMIT = 24.0
"""Greatest shift of one channel, in levels of 255: more than that is no drift but a wrong patch."""


def blend(picture: Picture, patch: Patch, settings: Blend) -> Picture:
    """The picture with the patch in it; pixels where the soft mask is 0 are bit-identical.

    The patch must be finite. With `match_colour` the patch is first shifted so that the mean
    colour of its ring (the crop outside the mask, which shows the same content) is the picture's.
    """
    values = np.clip(patch.pixels, 0, 1) * np.float32(255)
    if settings.match_colour:
        values = values + _ring_shift(values, patch)
    pasted = patch.crop.window.uncut(np.clip(values, 0, 255))
    pixels = picture.pixels.copy()
    _paste(pixels, pasted, patch)
    return picture.with_pixels(pixels)


def _paste(pixels: NDArray[np.uint8], pasted: NDArray[np.float32], patch: Patch) -> None:
    """Composite in place, within the soft mask's own box, which lies inside the picture."""
    mask = patch.crop.region.mask
    x0, y0, x1, y1 = mask.box_xyxy
    old = pixels[y0:y1, x0:x1].astype(np.float32)
    new = _part(pasted, mask.box_xyxy, patch.crop.window.box_xyxy)
    alpha = mask.values[..., None].astype(np.float32) / 255
    mixed = np.rint(old + (new - old) * alpha).clip(0, 255).astype(np.uint8)
    covered = mask.values > 0
    pixels[y0:y1, x0:x1][covered] = mixed[covered]


def _part(pasted: NDArray[np.float32], inner: IntBox, outer: IntBox) -> NDArray[np.float32]:
    """What lies inside `inner` of values that cover `outer`."""
    left, top = inner[0] - outer[0], inner[1] - outer[1]
    return pasted[top : top + inner[3] - inner[1], left : left + inner[2] - inner[0]]


def _ring_shift(values: NDArray[np.float32], patch: Patch) -> NDArray[np.float32]:
    """How far to shift each channel, from the ring outside the mask; zero where there is none."""
    ring = patch.crop.mask == 0
    if ring.sum() < 64:
        return np.zeros(3, np.float32)
    drift = patch.crop.pixels[ring].mean(axis=0) - values[ring].mean(axis=0)
    shift: NDArray[np.float32] = np.clip(drift, -RING_LIMIT, RING_LIMIT).astype(np.float32)
    return shift
