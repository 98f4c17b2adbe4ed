"""Small drawn scenes with a head in each, and a patch for it as models make them: nearly alike.

A patch suffers from a colour cast, more or less contrast, a slight blur (which takes grain along)
and the blotches of a decoder, and has another face inside.
"""

from __future__ import annotations

import cv2
import numpy as np

from autofix.imaging.colour import ciede2000, lab_to_rgb, rgb_to_lab
from autofix.stages.blend import COLOUR_LIMIT
from autofix.values import Patch, Picture, SoftMask
from tests.build import crop, region
from tests.build import patch as patch_of

WIDE, HIGH = 136, 120
WORKING = 96
BACKGROUNDS = ("flat", "gradient", "textured", "grainy")


def scene(background: str, number: int) -> tuple[Picture, Patch]:
    """A picture, and the patch for its head before anything was matched."""
    random = np.random.default_rng([BACKGROUNDS.index(background), number])
    radius = random.uniform(13, 22)
    centre = random.uniform((radius, radius), (WIDE - radius, HIGH - radius))
    before, after = _faces(_background(background, random), centre, radius, random)
    if background == "grainy":
        grain = _grain(random)  # a repaint keeps it or smooths it away
        before, after = before + grain, after + grain * random.choice([0, 1])
    seen, soft = Picture(_rounded(before)), _mask(centre, radius, random)
    (x, y), reach = centre.astype(int), round(radius * 2)
    window = (x - reach, y - reach, x + reach, y + reach)
    found = region(soft.box_xyxy, values=soft.values)
    cut = crop(seen, found, window, (WORKING, WORKING), degrees=random.choice([0.0, 0.0, 25.0]))
    repainted = cut.window.cut(_rounded(after)).astype(np.float32) / 255
    return seen, patch_of(cut, _spoilt(repainted, random))


def ring_delta_e(before: Picture, after: Picture, soft: SoftMask) -> float:
    """The mean CIEDE2000, pixel by pixel, over the whole soft rim: where 0 < mask < 255."""
    rim = (soft.values > 0) & (soft.values < 255)
    return float(ciede2000(*(_lab(each, soft)[rim] for each in (before, after))).mean())


def across(picture: Picture, soft: SoftMask, percentile: float) -> float:
    """How steep lightness is across the rim, L* a pixel: a percentile over the rim's pixels."""
    lightness = cv2.GaussianBlur(_lab(picture, soft)[..., 0], (0, 0), 1)
    down, right = np.gradient(cv2.GaussianBlur(soft.values.astype(np.float32), (0, 0), 1))
    steep_down, steep_right = np.gradient(lightness)
    steep = np.abs(steep_down * down + steep_right * right) / (np.hypot(down, right) + 1e-6)
    return float(np.percentile(steep[(soft.values > 0) & (soft.values < 255)], percentile))


def _lab(picture, soft):
    x0, y0, x1, y1 = soft.box_xyxy
    return rgb_to_lab(picture.pixels[y0:y1, x0:x1].astype(np.float32) / 255)


def _background(kind, random):
    """L*a*b* of the whole picture."""
    lab = np.ones((HIGH, WIDE, 1)) * random.uniform((15, -20, -25), (85, 20, 35))
    y, x = np.mgrid[0:HIGH, 0:WIDE] / HIGH - 0.5
    if kind != "flat":
        turn = random.uniform(0, 2 * np.pi)
        slope = x * np.cos(turn) + y * np.sin(turn)
        lab += slope[..., None] * random.uniform(-30, 30, 3) * (1, 0.5, 0.5)
    if kind == "textured":
        weave = np.sin(x * random.uniform(20, 120)) * np.sin(y * random.uniform(20, 120))
        cloth = cv2.GaussianBlur(random.normal(0, 1, x.shape), (0, 0), random.uniform(1, 4))
        lab += (cloth / cloth.std() + 0.7 * weave)[..., None] * random.uniform(2, 8) * (1, 0.4, 0.4)
    return lab


def _faces(lab, centre, radius, random):
    """The picture with a head, in levels, twice: two faces, everything else alike."""
    y, x = np.mgrid[0:HIGH, 0:WIDE] + 0.5
    across, down = (x - centre[0]) / radius, (y - centre[1]) / radius
    size = random.uniform(0.8, 1.4)
    head = np.clip((size - np.hypot(across, down / 1.2)) * radius / 2, 0, 1)[..., None]
    skin = random.uniform((35, 8, 8), (80, 18, 25)) + np.stack([across * 6, -down, down], -1)
    lab = lab * (1 - head) + skin * head
    for _ in range(2):
        spots = 0
        for side, height in ((-0.35, -0.15), (0.35, -0.15), (0, 0.4)):
            apart = np.hypot(across - side, down - height + random.normal(0, 0.04))
            spots = spots + np.exp(-((apart / 0.13) ** 2))
        yield 255 * lab_to_rgb((lab - spots[..., None] * (30, -6, 0)).astype(np.float32))


def _mask(centre, radius, random):
    """A soft mask of the head: an ellipse or a box."""
    y, x = np.abs(np.mgrid[0:HIGH, 0:WIDE] + 0.5 - centre[::-1, None, None]) / radius
    inside = np.hypot(x, y) <= 1 if random.random() < 0.5 else np.maximum(x, y) <= 0.9
    soft = cv2.GaussianBlur(np.uint8(inside) * 255, (0, 0), radius * random.uniform(0.06, 0.12))
    return SoftMask((0, 0, WIDE, HIGH), soft).trim()


def _grain(random):
    """Film grain in levels, fine or coarse, with little colour."""
    noise = random.normal(0, 1, (HIGH, WIDE, 3)) * 0.3 + random.normal(0, 1, (HIGH, WIDE, 1))
    noise = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.3, 0.9))
    return noise / noise.std() * random.uniform(1.5, 5)


def _spoilt(rgb, random):
    """0 to 1, with everything that a model does to the colours of what it repaints."""
    lab = rgb_to_lab(cv2.GaussianBlur(rgb, (0, 0), random.uniform(0.4, 1.2)))
    cast = random.normal(0, 1, 3)
    cast *= random.uniform(0, COLOUR_LIMIT) / np.linalg.norm(cast)
    blotches = cv2.resize(
        random.normal(0, 1, (7, 7, 3)), (WORKING, WORKING), interpolation=cv2.INTER_CUBIC
    )
    contrast, mean = random.uniform(0.9, 1.1), lab.mean(axis=(0, 1))
    return lab_to_rgb(((lab - mean) * contrast + mean + cast + 2 * blotches).astype(np.float32))


def _rounded(levels):
    return np.rint(levels).clip(0, 255).astype(np.uint8)
