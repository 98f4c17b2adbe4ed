"""Measures the fastest batch size."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from autofix.engines.base import Engine
from autofix.engines.memory import free_memory
from autofix.errors import EngineError
from autofix.geometry import Window
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Region, SoftMask
from detectors.detection import Detection

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes to measure, in crops."""

WORTH = 0.95
"""A larger batch must bring the time a crop below this share of the last one's."""

STEPS = 4
"""Sampling steps of a measurement."""


def fastest_batch(
    engine: Engine,
    size_wh: tuple[int, int],
    recipe: Recipe,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> int:
    """How many crops of a working size to inpaint at once, measured with grey crops.

    Batches grow until one is no faster by the crop, or memory ends; 1 where not even one crop fits.
    Loads the weights; takes a few seconds on a GPU.
    """
    few = recipe.with_values("sampling", steps=STEPS, step_count="exact")
    best, seconds = 1, float("inf")
    try:
        engine.inpaint(_grey_crops(1, size_wh), few)  # the first call alone loads and compiles
        for count in SIZES:
            started = now()
            engine.inpaint(_grey_crops(count, size_wh), few)
            seconds_a_crop = (now() - started) / count
            if seconds_a_crop > WORTH * seconds:
                break
            best, seconds = count, seconds_a_crop
    except (EngineError, MemoryError, RuntimeError):
        pass  # no memory for more; any other failure will show in the run itself
    finally:
        free_memory()
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
