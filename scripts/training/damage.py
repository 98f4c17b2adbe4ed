"""What small faces of generated pictures look like: a clean crop made small, soft and wrong.

Crops are RGB float32, size x size x 3, in 0..1, and keep their size.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.augment import CleanCrop
from training.data import Floats

SOURCE_FACE_PX = (18.0, 90.0)
_SHRINK = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_GROW = (cv2.INTER_LANCZOS4, cv2.INTER_LANCZOS4, cv2.INTER_LANCZOS4, cv2.INTER_CUBIC,
         cv2.INTER_LINEAR)  # fmt: skip


def fixed_damage(crop: CleanCrop, source_face_px: float, seed: int = 0) -> Floats:
    """For measuring: down to a face of that many pixels, a little noise and JPEG, Lanczos back."""
    small = fixed_small(crop, source_face_px, seed)
    return _grow(small, crop.pixels.shape[0], cv2.INTER_LANCZOS4)


def fixed_small(
    crop: CleanCrop, source_face_px: float, seed: int = 0, *, rough: bool = True
) -> Floats:
    """The same before it is made large again; not `rough`: only made small, no noise, no JPEG."""
    small = _shrink(crop.pixels, _small_side(crop, source_face_px), cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, 0.015, small.shape).astype(np.float32)
    return _jpeg(small + noise, 88) if rough else small


def random_damage(crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """Random damage, of random strength; half of the time hair and background stay as they are.

    One crop in sixteen stays as it is altogether.
    """
    if rng.random() < 0.06:
        return crop.pixels
    damaged = _damage_all(crop, rng)
    if rng.random() < 0.5:
        return damaged
    middle = (0.55 * crop.points[:2].mean(0) + 0.45 * crop.points[3]).astype(np.float32)
    spot = _soft_spot(crop, middle, crop.face_px * rng.uniform(0.45, 0.75))
    return (crop.pixels * (1 - spot) + damaged * spot).astype(np.float32)


def _damage_all(crop: CleanCrop, rng: np.random.Generator) -> Floats:
    size = crop.pixels.shape[0]
    pixels = crop.pixels
    if rng.random() < 0.35:
        pixels = _bend(pixels, crop, rng)
    if rng.random() < 0.35:
        pixels = _unsteady(pixels, crop, rng)
    if rng.random() < 0.12:
        pixels = _swap(pixels, crop, rng)
    if rng.random() < 0.25:
        pixels = _tint(pixels, crop, rng)
    low, high = np.log(SOURCE_FACE_PX)
    side = _small_side(crop, float(np.exp(rng.uniform(low, high))))
    if rng.random() < 0.6:
        pixels = cv2.GaussianBlur(pixels, (0, 0), _blur_px(side, rng) * size / side)
    small = _shrink(pixels, side, int(rng.choice(_SHRINK)))
    if rng.random() < 0.25:
        small = _latent_trip(small, rng)
    if rng.random() < 0.45:
        small = small + _noise(small.shape, rng)
    if rng.random() < 0.25:
        small = _jpeg(small, int(rng.integers(70, 97)))
    out = _grow(small, size, int(rng.choice(_GROW)))
    if rng.random() < 0.4:
        out = np.clip(out + rng.normal(0, rng.uniform(0.003, 0.02), out.shape), 0, 1)
    if rng.random() < 0.15:
        out = _jpeg(out.astype(np.float32), int(rng.integers(55, 96)))
    return out.astype(np.float32)


def _blur_px(side: int, rng: np.random.Generator) -> float:
    """Sigma in pixels of the small crop: generated faces are often softer than their size."""
    most = np.clip(side / 24, 0.9, 2.2)  # the smallest faces would have nothing left
    return float(np.exp(rng.uniform(np.log(0.25), np.log(most))))


def _small_side(crop: CleanCrop, source_face_px: float) -> int:
    size = crop.pixels.shape[0]
    return int(np.clip(round(size * source_face_px / crop.face_px), 16, size))


def _shrink(pixels: Floats, side: int, how: int) -> Floats:
    if side >= pixels.shape[0]:
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=how).astype(np.float32)


def _grow(small: Floats, size: int, how: int) -> Floats:
    grown = cv2.resize(np.clip(small, 0, 1), (size, size), interpolation=how)
    return np.clip(grown, 0, 1).astype(np.float32)


def _jpeg(pixels: Floats, quality: int) -> Floats:
    bgr = np.clip(pixels[..., ::-1] * 255 + 0.5, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Grain, in colour or grey, fine or two pixels wide."""
    level = rng.uniform(0.003, 0.03)
    depth = 3 if rng.random() < 0.6 else 1
    if rng.random() < 0.3:
        cells = rng.normal(0, level, ((shape[0] + 1) // 2, (shape[1] + 1) // 2, depth))
        noise = np.repeat(np.repeat(cells, 2, 0), 2, 1)[: shape[0], : shape[1]]
    else:
        noise = rng.normal(0, level, (shape[0], shape[1], depth))
    return np.broadcast_to(noise, shape).astype(np.float32)


def _latent_trip(small: Floats, rng: np.random.Generator) -> Floats:
    """Like a trip through a latent space: colour coarser than light, a little blotchy."""
    side = small.shape[0]
    ycc = cv2.cvtColor(np.clip(small, 0, 1), cv2.COLOR_RGB2YCrCb)
    coarse = max(4, int(side / rng.uniform(2, 6)))
    colour = cv2.resize(ycc[..., 1:], (coarse, coarse), interpolation=cv2.INTER_AREA)
    ycc[..., 1:] = cv2.resize(colour, (side, side), interpolation=cv2.INTER_CUBIC)
    ycc += _cloud(rng, side, max(4, side // 4), 3) * rng.uniform(0, 0.03, 3).astype(np.float32)
    return np.clip(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB), 0, 1).astype(np.float32)


def _bend(pixels: Floats, crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """Shift eyes, nose and mouth a little, each its own way."""
    size = pixels.shape[0]
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    map_x, map_y = xs.copy(), ys.copy()
    for point in crop.points[:4]:
        reach = crop.face_px * rng.uniform(0.08, 0.2)
        bump = np.exp(-((xs - point[0]) ** 2 + (ys - point[1]) ** 2) / (2 * reach**2))
        dx, dy = rng.normal(0, 0.022 * crop.face_px, 2)
        map_x += bump * dx
        map_y += bump * dy
    return cv2.remap(
        pixels, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.float32)


def _unsteady(pixels: Floats, crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """Outlines, rims and lashes wander, as no hand and no lens would have them."""
    size = pixels.shape[0]
    cells = max(4, round(size / (crop.face_px * rng.uniform(0.06, 0.2))))
    reach = crop.face_px * rng.uniform(0.004, 0.016)
    moved = _cloud(rng, size, cells, 2) * reach
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    return cv2.remap(
        pixels,
        xs + moved[..., 0],
        ys + moved[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    ).astype(np.float32)


def _cloud(rng: np.random.Generator, side: int, cells: int, depth: int) -> Floats:
    """Soft noise of spread 1 in each of so many channels."""
    noise = rng.normal(0, 1, (cells, cells, depth)).astype(np.float32)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _soft_spot(crop: CleanCrop, centre: Floats, reach: float) -> Floats:
    size = crop.pixels.shape[0]
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    far = ((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (reach**2)
    return np.clip(1.5 - far, 0, 1).astype(np.float32)[..., None]


def _swap(pixels: Floats, crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """A small patch of the face comes from a little further off, or stands on its head."""
    point = crop.points[int(rng.integers(4))]
    spot = _soft_spot(crop, point, crop.face_px * rng.uniform(0.06, 0.13))
    if rng.random() < 0.5:
        dx, dy = rng.uniform(-0.12, 0.12, 2) * crop.face_px
        other = np.roll(pixels, (int(dy), int(dx)), (0, 1))
    else:
        turned = cv2.getRotationMatrix2D(
            (float(point[0]), float(point[1])), float(rng.uniform(-60, 60)), 1.0
        )
        other = cv2.warpAffine(pixels, turned, pixels.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return (pixels * (1 - spot) + other * spot).astype(np.float32)


def _tint(pixels: Floats, crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """Wrong colour or too little contrast in part of the face; around it all is right."""
    spot = _soft_spot(
        crop, crop.points[int(rng.integers(6))], crop.face_px * rng.uniform(0.15, 0.6)
    )
    mean = pixels.mean((0, 1), keepdims=True)
    wrong = mean + (pixels - mean) * rng.uniform(0.75, 1.0) + rng.normal(0, 0.025, 3)
    soft = cv2.GaussianBlur(spot, (0, 0), crop.face_px * 0.08)[..., None]
    return np.clip(pixels * (1 - soft) + wrong * soft, 0, 1).astype(np.float32)
