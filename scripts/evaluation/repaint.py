"""Small faces through the real engine, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autofix.engines.base import Engine
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Region, SoftMask
from detectors.detection import Detection
from evaluation.faces import Original, window
from evaluation.measures import Pixels

BATCH = 8


def repaint(
    engine: Engine,
    settings: Recipe,
    faces: Sequence[tuple[Original, Pixels]],
    strength: float,
) -> list[Pixels]:
    """Each small picture as the engine repaints all of it, at working size, not yet blended."""
    size = engine.info.size.native
    crops = [_crop(original, small, size, strength) for original, small in faces]
    patches = [
        patch
        for start in range(0, len(crops), BATCH)
        for patch in engine.inpaint(crops[start : start + BATCH], settings)
    ]
    return [np.clip(patch.pixels * 255 + 0.5, 0, 255).astype(np.uint8) for patch in patches]


def _crop(original: Original, small: Pixels, size: int, strength: float) -> Crop:
    high, wide = small.shape[:2]
    x0, y0, x1, y1 = (edge * wide / size for edge in original.box)
    region = Region(
        Detection((x0, y0, x1, y1), "face", 1.0, "held-out"),
        original.index,
        SoftMask((0, 0, wide, high), np.full((high, wide), 255, np.uint8)),
        seed=original.index,
        strength=strength,
    )
    seen = window(small, size)
    return Crop(region, seen, seen.cut(small), np.full((size, size), 255, np.uint8))
