"""Crops of one smooth picture, for engines to inpaint."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from autofix.values import Crop
from tests.build import crop, region, smooth

SMOOTH = smooth(80, 80)


def face_crop(*, shift=0, size=(64, 64), index=0, **of_region) -> Crop:
    """A crop with a face in its middle, `shift` px further right; see `Region` for the rest."""
    box = (20 + shift, 20, 44 + shift, 44)
    around = (10 + shift, 10, 54 + shift, 54)
    return crop(SMOOTH, region(box, index=index, **of_region), around, size)


def crops(count=3, *, strength=0.5, size=(64, 64)) -> list[Crop]:
    """Crops that differ in place, seed (100 and up) and prompt ("f 0" and up)."""
    return [
        face_crop(shift=n, size=size, index=n, seed=100 + n, strength=strength, prompt=f"f {n}")
        for n in range(count)
    ]


def feathered(count=2, **more) -> list[Crop]:
    """Crops whose masks are soft, each its own."""
    batch = []
    for n, plain in enumerate(crops(count, **more)):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:44, 16 + 6 * n : 40 + 6 * n] = 255
        batch.append(replace(plain, mask=cv2.GaussianBlur(mask, (0, 0), 4)))
    return batch
