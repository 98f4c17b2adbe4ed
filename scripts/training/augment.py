"""A portrait to a clean square crop as the engine would cut it: face, light and background vary.

Crops are RGB float32, size x size x 3, in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.data import Floats, Portrait

FACE_SHARE = (0.38, 0.72)  # width of the face as a share of the crop's


@dataclass(frozen=True)
class CleanCrop:
    """A clean crop and where its face is."""

    pixels: Floats
    points: Floats  # 6 x 2 in crop pixels
    face_px: float


def plain_crop(
    portrait: Portrait, size: int, share: float = 0.55, degrees: float = 0.0
) -> CleanCrop:
    """The crop without any chance in it: for measuring."""
    matrix = _matrix(portrait, size, share=share, degrees=degrees, shift=(0.0, 0.0), flip=False)
    return _warp(portrait, matrix, size)


def random_crop(
    portrait: Portrait, other: Portrait, size: int, rng: np.random.Generator
) -> CleanCrop:
    """A crop with random place, turn, mirror, background, light and colour."""
    share = float(rng.uniform(*FACE_SHARE))
    degrees = float(np.clip(rng.normal(0, 12), -30, 30))
    dx, dy = rng.uniform(-0.1, 0.1, 2) * size
    flip = bool(rng.random() < 0.5)
    matrix = _matrix(portrait, size, share=share, degrees=degrees, shift=(dx, dy), flip=flip)
    crop = _warp(portrait, matrix, size)
    pixels = crop.pixels
    if rng.random() < 0.4:
        pixels = _behind(crop, _background(other, size, rng), degrees, rng)
    if rng.random() < 0.2:
        pixels = _glasses(pixels, crop, rng)
    return CleanCrop(_light(pixels, rng), crop.points, crop.face_px)


def _matrix(
    portrait: Portrait,
    size: int,
    *,
    share: float,
    degrees: float,
    shift: tuple[float, float],
    flip: bool,
) -> Floats:
    """2 x 3 affine map from portrait to crop pixels."""
    scale = share * size / portrait.face_px
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if flip:
        linear = linear @ np.diag([-1.0, 1.0])
    offset = np.array([size / 2 + shift[0], size / 2 + shift[1]]) - linear @ portrait.centre
    return np.hstack([linear, offset[:, None]]).astype(np.float32)


def _warp(portrait: Portrait, matrix: Floats, size: int) -> CleanCrop:
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = portrait.pixels
    if scale < 0.8:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 / scale)
    warped = cv2.warpAffine(
        source, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    points = portrait.points @ matrix[:, :2].T + matrix[:, 2]
    pixels = warped.astype(np.float32) / 255
    return CleanCrop(pixels, points.astype(np.float32), portrait.face_px * scale)


def _background(other: Portrait, size: int, rng: np.random.Generator) -> Floats:
    """A picture to put behind the head: gradient, soft noise, or part of another portrait."""
    kind = rng.integers(3)
    if kind == 0:
        corners = rng.random((2, 2, 3)).astype(np.float32)
        return cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    if kind == 1:
        cells = int(rng.integers(4, 48))
        noise = rng.random((cells, cells, 3)).astype(np.float32)
        grey = noise.mean(2, keepdims=True)
        mixed = grey + rng.random() * (noise - grey)
        grown = cv2.resize(mixed, (size, size), interpolation=cv2.INTER_CUBIC)
        return np.clip(grown * rng.uniform(0.3, 1.0), 0, 1).astype(np.float32)
    height, width = other.pixels.shape[:2]
    side = int(rng.integers(60, 200))
    top, left = rng.integers(0, height - side), rng.integers(0, width - side)
    part = other.pixels[top : top + side, left : left + side].astype(np.float32) / 255
    part = cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(cv2.GaussianBlur(part, (0, 0), rng.uniform(0.5, 6)), 0, 1).astype(np.float32)


def _behind(
    crop: CleanCrop, background: Floats, degrees: float, rng: np.random.Generator
) -> Floats:
    """Keep a soft ellipse of head and neck; the background shows around it."""
    size = crop.pixels.shape[0]
    mask = np.zeros((size, size), np.float32)
    eyes, mouth = crop.points[:2].mean(0), crop.points[3]
    centre = 0.55 * eyes + 0.45 * mouth
    axes = (int(crop.face_px * rng.uniform(0.62, 0.8)), int(crop.face_px * rng.uniform(0.85, 1.1)))
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, degrees, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), crop.face_px * rng.uniform(0.03, 0.12))[..., None]
    return (crop.pixels * soft + background * (1 - soft)).astype(np.float32)


def _glasses(pixels: Floats, crop: CleanCrop, rng: np.random.Generator) -> Floats:
    """Spectacles before the eyes: rims, bridge, temples, and at times a glint."""
    scale = 4  # drawn larger and shrunk, for smooth thin lines
    size = pixels.shape[0]
    right, left = crop.points[0].astype(np.float64), crop.points[1].astype(np.float64)
    apart = float(np.linalg.norm(left - right))
    along = (left - right) / max(apart, 1e-6)
    degrees = float(np.degrees(np.arctan2(along[1], along[0])))
    wide, high = apart * rng.uniform(0.3, 0.46), apart * rng.uniform(0.22, 0.4)
    drop = np.array([-along[1], along[0]]) * apart * rng.uniform(-0.02, 0.12)
    line = max(1, round(scale * apart * rng.uniform(0.015, 0.09)))
    frame = np.zeros((size * scale, size * scale), np.uint8)
    glass = np.zeros_like(frame)

    def at(point: npt.NDArray[np.float64]) -> tuple[int, int]:
        return round(float(point[0]) * scale), round(float(point[1]) * scale)

    axes = (round(wide * scale), round(high * scale))
    for eye, outwards in ((right, -along), (left, along)):
        middle = eye + drop
        cv2.ellipse(frame, at(middle), axes, degrees, 0, 360, 255, line, cv2.LINE_AA)
        cv2.ellipse(glass, at(middle), axes, degrees, 0, 360, 255, -1, cv2.LINE_AA)
        hinge = middle + outwards * wide
        cv2.line(frame, at(hinge), at(hinge + outwards * apart * 0.45), 255, line, cv2.LINE_AA)
    inner = right + drop + along * wide, left + drop - along * wide
    cv2.line(frame, at(inner[0]), at(inner[1]), 255, line, cv2.LINE_AA)
    rim, pane = (
        cv2.resize(m, (size, size), interpolation=cv2.INTER_AREA)[..., None].astype(np.float32)
        / 255
        for m in (frame, glass)
    )
    glint = rng.uniform(0, 0.25) * (rng.random() < 0.5)
    pixels = pixels * (1 - glint * pane) + rng.uniform(0.5, 1.0) * glint * pane
    tone = rng.uniform(0, 0.35) if rng.random() < 0.7 else rng.uniform(0.4, 0.9)
    colour = np.clip(tone + rng.normal(0, 0.06, 3), 0, 1)
    solid = rng.uniform(0.6, 1.0)
    return (pixels * (1 - solid * rim) + colour * solid * rim).astype(np.float32)


def _light(pixels: Floats, rng: np.random.Generator) -> Floats:
    """Brightness, contrast, saturation, warmth and a slight turn of hue; sometimes grey."""
    out = np.clip(pixels, 0, 1) ** np.exp(rng.normal(0, 0.22))
    out = (out - 0.5) * rng.uniform(0.8, 1.15) + 0.5 + rng.normal(0, 0.03)
    grey = (out @ np.array([0.299, 0.587, 0.114]))[..., None]
    if rng.random() < 0.1:
        return np.clip(np.repeat(grey, 3, axis=2), 0, 1).astype(np.float32)
    out = grey + (out - grey) * rng.uniform(0.5, 1.35)
    warm = rng.normal(0, 0.05)
    gains = np.array([1 + warm, 1 + rng.normal(0, 0.02), 1 - warm])
    if rng.random() < 0.15:  # light from one side
        size = out.shape[0]
        ramp = np.linspace(1 - rng.uniform(0, 0.4), 1, size)[None, :, None]
        out = out * (ramp if rng.random() < 0.5 else ramp[:, ::-1])
    return np.clip(out * gains, 0, 1).astype(np.float32)
