"""Crops of faces with landmarks, for the restoration of faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autofix.engines.restoration.align import SIDE
from autofix.values import Picture
from tests.build import crop, detection, region
from tests.detectors.photos import photo

HOPPER_EYES = {"right_eye": (221, 190), "left_eye": (305, 189), "mouth_center": (271, 279)}


def face(pixels, box, landmarks=HOPPER_EYES, *, window=None, size=SIDE, degrees=0.0):
    """A crop of a face, with its landmarks where the detector would have found them."""
    spots = tuple((name, spot) for name, spot in landmarks.items())
    found = detection(box, landmarks=spots)
    one = region(box, seed=7, strength=1.0)
    one = replace(one, detection=found)
    return crop(Picture(pixels), one, window or box, (size, size), degrees=degrees)


def hopper(**more):
    """A crop of the face in the photo of Grace Hopper."""
    return face(photo("hopper"), (162, 118, 368, 352), window=(115, 85, 415, 385), **more)


def as_values(crop):
    """The crop's pixels as a network's values, 0 to 1."""
    return crop.pixels.astype(np.float32) / 255
