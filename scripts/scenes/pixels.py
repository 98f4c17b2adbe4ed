"""Pictures as arrays: scaling, blurring, noise and soft spots."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
"""Height x width x 3 (RGB) or x 4 (with alpha), float, 0 to 255."""
Point = tuple[float, float]
Colour = tuple[int, int, int]


def as_array(picture: Any) -> Array:
    """Turn anything that is a picture into RGB floats."""
    return np.asarray(Image.fromarray(np.asarray(picture)).convert("RGB"), dtype=np.float64)


def resized(pixels: Array, scale: float) -> Array:
    """Scale a picture, averaging where it shrinks."""
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4
    scaled: Array = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=how)
    return np.clip(scaled, 0, 255)


def blurred(pixels: Array, sigma: float) -> Array:
    """Blur by a Gaussian of that many pixels."""
    soft: Array = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return soft


def sharpened(pixels: Array, sigma: float, amount: float) -> Array:
    """Sharpen by an unsharp mask."""
    return np.clip(pixels + amount * (pixels - blurred(pixels, sigma)), 0, 255)


def cloud(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Array:
    """Smooth noise of mean 0 and deviation 1, whose spots are about sigma pixels wide."""
    noise = blurred(rng.standard_normal(shape), sigma)
    even: Array = (noise - noise.mean()) / noise.std()
    return even


def bump(shape: tuple[int, int], centre: Point, radius: Point) -> Array:
    """Make a soft spot: 1 in the middle, 0 from `radius` (x, y) on."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    distance = np.hypot((x - centre[0]) / radius[0], (y - centre[1]) / radius[1])
    spot: Array = np.cos(np.clip(distance, 0, 1) * np.pi / 2) ** 2
    return spot


def grey(pixels: Array) -> Array:
    """Make it black and white, a little warm."""
    light = pixels @ np.array([0.30, 0.59, 0.11])
    warm: Array = np.clip(np.dstack([light * 1.02, light, light * 0.96]), 0, 255)
    return warm


def faded(pixels: Array) -> Array:
    """Make it an old colour print."""
    return np.clip(pixels * (0.86, 0.80, 0.70) + (26, 22, 20), 0, 255)


def cool(pixels: Array) -> Array:
    """Make it a little blue."""
    return np.clip(pixels * (0.90, 0.97, 1.05), 0, 255)
