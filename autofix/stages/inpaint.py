"""inpaint: Crops -> Patches, by an engine, and nothing pasted yet."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.engines.base import Engine
from autofix.recipe import Inpaint
from autofix.values import Crop, Patch


def inpaint(crops: Sequence[Crop], engine: Engine, settings: Inpaint) -> list[Patch]:
    """One Patch a Crop, in order. All crops have one size and one strength: they are one batch.

    Raises EngineError where the engine cannot repaint them.
    """
    kinds = {(crop.window.size_wh, crop.region.strength) for crop in crops}
    if len(kinds) > 1:
        raise ValueError(f"a batch must have one size and one strength, but got {sorted(kinds)}")
    return engine.repaint(crops, settings)
