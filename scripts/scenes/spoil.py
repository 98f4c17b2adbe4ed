"""Spoil a face as a diffusion model does when it gets too few pixels."""

from __future__ import annotations

import cv2
import numpy as np

from scenes.photographs import Portrait
from scenes.pixels import Array, blurred, bump, cloud, sharpened


def spoil(portrait: Portrait, rng: np.random.Generator) -> Array:
    """Spoil the face as a diffusion model does one of a few latent pixels; the rest stays sharp.

    Eyes and mouth slip out of place, fine detail is lost, and blotches of colour come instead.
    """
    pixels, (height, width) = portrait.pixels, portrait.pixels.shape[:2]
    apart = float(np.hypot(*(portrait.points[1] - portrait.points[0])))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    # Slips, in parts of the distance between the eyes, and then a general unsteadiness.
    slips = ((0.03, 0.07), (-0.04, -0.05), (0.05, -0.03))
    for point, slip in zip(portrait.points, slips, strict=True):
        spot = bump((height, width), tuple(point), (0.62 * apart, 0.55 * apart))
        x -= (apart * slip[0] * spot).astype("f4")
        y -= (apart * slip[1] * spot).astype("f4")
    middle = tuple(portrait.points.mean(axis=0))
    face = bump((height, width), middle, (1.75 * apart, 2.1 * apart))
    for axis in (x, y):
        axis += (0.03 * apart * face * cloud(rng, (height, width), 0.25 * apart)).astype("f4")
    moved = cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    soft = sharpened(blurred(moved, 0.068 * apart), 0.16 * apart, 0.6)
    blotches = np.dstack([cloud(rng, (height, width), 0.12 * apart) for _ in range(3)])
    soft += 4.0 * blotches + 2.0 * cloud(rng, (height, width), 0.7)[..., None]
    amount = np.clip(face * 2.2, 0, 1)[..., None]
    spoilt: Array = np.clip(pixels + amount * (soft - pixels), 0, 255)
    return spoilt
