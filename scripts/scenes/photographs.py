"""The photographs that the scenes are made of: those inside matplotlib and scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import skimage.data
from PIL import Image

from scenes.pixels import Array, as_array, blurred, resized

DATA = Path(matplotlib.get_data_path())

# The astronaut's outline in her picture, roughly: what GrabCut starts from.
OUTLINE = [
    *((232, 16), (255, 20), (282, 34), (295, 50), (302, 75), (300, 100), (292, 118), (278, 130)),
    *((266, 136), (262, 150), (258, 172), (285, 190), (300, 212), (305, 244), (322, 245)),
    *((335, 258), (347, 278), (354, 300), (360, 325), (364, 348), (390, 344), (415, 344)),
    *((445, 355), (470, 380), (487, 410), (495, 440), (503, 458), (503, 511), (35, 511)),
    *((30, 480), (24, 450), (22, 420), (20, 400), (25, 370), (28, 345), (33, 320), (40, 290)),
    *((48, 272), (62, 255), (80, 238), (100, 222), (113, 206), (112, 188), (122, 172), (135, 160)),
    *((155, 150), (181, 148), (183, 132), (175, 125), (165, 115), (156, 95), (153, 70), (160, 55)),
    *((180, 40), (192, 32), (210, 20)),
]


@dataclass(frozen=True)
class Portrait:
    """A photograph, and where left eye, right eye and mouth are in it: three rows of x, y."""

    pixels: Array
    points: Array

    def cropped(self, x0: int, y0: int, x1: int, y1: int) -> Portrait:
        """Return the part inside the box."""
        return Portrait(self.pixels[y0:y1, x0:x1], self.points - (x0, y0))

    def mirrored(self) -> Portrait:
        """Return it with left and right exchanged."""
        last = self.pixels.shape[1] - 1
        return Portrait(self.pixels[:, ::-1], (self.points * (-1, 1) + (last, 0))[[1, 0, 2]])

    def scaled(self, scale: float) -> Portrait:
        """Return it smaller."""
        return Portrait(resized(self.pixels, scale), self.points * scale)


def shipped(name: str) -> Array:
    """Open a picture that is inside scikit-image."""
    return as_array(getattr(skimage.data, name)())


def astronaut() -> Portrait:
    """Eileen Collins, by NASA."""
    points = np.array([(201.0, 105.0), (246.0, 107.0), (221.0, 147.0)])
    return Portrait(shipped("astronaut"), points)


def hopper() -> Portrait:
    """Grace Hopper, by the United States Navy."""
    photo = as_array(Image.open(DATA / "sample_data" / "grace_hopper.jpg"))
    return Portrait(photo, np.array([(222.0, 192.0), (304.0, 187.0), (270.0, 272.0)]))


def cut_out(portrait: Portrait) -> Array:
    """Free the astronaut from her background; returns alpha, 0 to 255."""
    band = 7
    outline = np.zeros(portrait.pixels.shape[:2], np.uint8)
    cv2.fillPoly(outline, [np.array(OUTLINE)], 255)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inner = cv2.erode(outline, disc, borderType=cv2.BORDER_REPLICATE)
    labels = np.where(outline > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[inner > 0] = cv2.GC_FGD
    labels[cv2.dilate(outline, disc) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    photo = portrait.pixels.astype(np.uint8)
    cv2.grabCut(photo, labels, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    person = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * 255.0
    person = cv2.medianBlur(person.astype(np.uint8), 5).astype(np.float64)
    return np.clip((blurred(person, 1.2) - 96) * 255 / 143, 0, 255)
