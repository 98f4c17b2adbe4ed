"""The denoising strength of a region: fixed, tuned to the face's size, dynamic, or by cycle."""

from __future__ import annotations

from bisect import bisect_left

from autofix.engines.base import ModelInfo
from autofix.settings.model_sections import Inpaint
from detectors.detection import Detection

GRID = 0.05
"""Tuned strengths are rounded to this, so that faces of like size share batches."""


def strength_of(
    detection: Detection,
    picture_wh: tuple[int, int],
    settings: Inpaint,
    info: ModelInfo,
    *,
    cycle: int = 0,
) -> float:
    """The strength, 0..1, at which a thing is inpainted in a cycle (from 0).

    "auto" is what the model info says of a thing of this size. With `dynamic_power` p it is
    multiplied by (1 - box area / picture area)^p, ADetailer's dynamic denoising, whose result is
    not bounded there.
    """
    given = settings.strength
    if isinstance(given, tuple):
        strength = given[min(cycle, len(given) - 1)]
    elif given == "auto":
        side = min(detection.width, detection.height)
        strength = round(round(tuned_strength(info.tuned, side) / GRID) * GRID, 2)
    else:
        strength = float(given)
    if settings.dynamic_power:
        rest = max(1 - detection.area / (picture_wh[0] * picture_wh[1]), 1e-6)
        strength = min(strength * rest**settings.dynamic_power, 1.0)
    return strength


def tuned_strength(table: tuple[tuple[float, float], ...], side: float) -> float:
    """The strength for a face whose shorter side is `side` px, between a table's entries.

    `table` holds (px, strength), px rising; beyond its ends the end's strength holds.
    """
    sizes = [px for px, _ in table]
    after = bisect_left(sizes, side)
    if after in (0, len(table)):
        return table[max(after - 1, 0)][1] if after else table[0][1]
    (low, a), (high, b) = table[after - 1], table[after]
    return a + (b - a) * (side - low) / (high - low)
