"""The fastest batch, found by trying."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from autofix.engines.base import Engine
from autofix.engines.memory import free
from autofix.errors import EngineError
from autofix.geometry import Window
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Region, SoftMask
from detectors.detection import Detection

SIZES = (1, 2, 4, 8, 16, 32, 64)

WORTH = 0.95
"""A larger batch must bring the time a crop below this share, or it is not worth its memory."""

STEPS = 4


def fastest_batch(
    engine: Engine,
    size_wh: tuple[int, int],
    recipe: Recipe,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> int:
    """How many crops of a working size to inpaint at once: it inpaints grey ones, ever more.

    Ends where a larger batch is no longer worth it, or where memory ends; where not even one fits,
    gives 1. Takes a few seconds on a GPU, and the weights are loaded for it.
    """
    few = recipe.with_values("sampling", steps=STEPS, step_count="exact")
    best, seconds = 1, float("inf")
    try:
        engine.inpaint(_grey_crops(1, size_wh), few)  # what is slow the first time only
        for count in SIZES:
            started = now()
            engine.inpaint(_grey_crops(count, size_wh), few)
            each = (now() - started) / count
            if each > WORTH * seconds:
                break
            best, seconds = count, each
    except (EngineError, MemoryError, RuntimeError):
        pass  # no room for more; and whatever else it is, the run itself will say
    finally:
        free()
    return best


def _grey_crops(count: int, size_wh: tuple[int, int]) -> list[Crop]:
    wide, high = size_wh
    box = (0, 0, wide, high)
    mask = np.full((high, wide), 255, np.uint8)
    detection = Detection((0.0, 0.0, float(wide), float(high)), "face", 1.0, "trial")
    window = Window(box, size_wh)
    grey = np.full((high, wide, 3), 128, np.uint8)
    return [
        Crop(Region(detection, n, SoftMask(box, mask), strength=0.5), window, grey, mask)
        for n in range(count)
    ]
