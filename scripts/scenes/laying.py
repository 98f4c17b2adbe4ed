"""Lay one picture on another: turned, with its shadow, under the same light and grain."""

from __future__ import annotations

import cv2
import numpy as np

from scenes.pixels import Array, Point, blurred, bump, cloud


def paste(scene: Array, layer: Array, centre: Point, angle: float = 0.0) -> None:
    """Lay a picture with alpha on the scene, turned by `angle` degrees about its own centre."""
    height, width = layer.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turn[:, 2] += np.array(centre) - ((width - 1) / 2, (height - 1) / 2)
    alpha = layer[..., 3:] / 255
    flat = np.dstack([layer[..., :3] * alpha, layer[..., 3]])
    size = (scene.shape[1], scene.shape[0])
    moved = cv2.warpAffine(flat, turn, size, flags=cv2.INTER_CUBIC)
    cover = np.clip(moved[..., 3:] / 255, 0, 1)
    scene[:] = np.clip(scene * (1 - cover) + moved[..., :3], 0, 255)


def shade(
    scene: Array,
    size_wh: tuple[int, int],
    centre: Point,
    *,
    sigma: float,
    strength: float,
    angle: float = 0.0,
) -> None:
    """Darken the scene where a sheet of that size throws its shadow, `sigma` pixels soft."""
    shadow = np.zeros((size_wh[1] + 4, size_wh[0] + 4, 4))
    shadow[2:-2, 2:-2, 3] = 255
    mask = np.zeros_like(scene)
    paste(mask, np.dstack([shadow[..., 3]] * 4), centre, angle)
    scene *= 1 - strength * blurred(mask, sigma) / 255


def opaque(pixels: Array, border: int = 2) -> Array:
    """Add alpha, and a clear border for soft edges when it is turned."""
    solid = np.dstack([pixels, np.full(pixels.shape[:2], 255.0)])
    return np.pad(solid, ((border, border), (border, border), (0, 0)))


def lit(scene: Array, pools: list[Point], radius: Point) -> Array:
    """Light a scene by soft spots, and let it fall off between them."""
    light = np.full(scene.shape[:2], 0.74)
    for centre in pools:
        light += 0.30 * bump(scene.shape[:2], centre, radius)
    bright: Array = np.clip(scene * np.minimum(light, 1.08)[..., None], 0, 255)
    return bright


def grain(scene: Array, rng: np.random.Generator, strength: float) -> Array:
    """Add the same fine noise everywhere, so that what was put together looks taken together."""
    noise = strength * cloud(rng, scene.shape[:2], 0.6)
    return np.clip(scene + noise[..., None], 0, 255)
