"""inpaint: Crops -> Patches, by an engine, and nothing pasted yet."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.engines.base import Engine
from autofix.engines.diffusion.steps import plan_of
from autofix.engines.resilient import PatchOrError, Resilient
from autofix.errors import EngineError
from autofix.settings.recipe import Recipe
from autofix.values import Crop


def inpaint(crops: Sequence[Crop], engine: Engine, recipe: Recipe) -> list[PatchOrError]:
    """A Patch a Crop, or why it has none, in order.

    All crops have one size and one plan of steps: they are one batch. A Resilient engine answers
    for each; any other's failure is that of the whole batch. Raises UsageError for settings or a
    model that cannot work.
    """
    kinds = {
        (crop.window.size_wh, plan_of(crop.region.strength, recipe.sampling, engine.info))
        for crop in crops
    }
    if len(kinds) > 1:
        raise ValueError(
            f"a batch must have one size and one plan, but got {sorted(kinds, key=str)}"
        )
    if isinstance(engine, Resilient):
        return engine.inpaint_each(crops, recipe)
    try:
        return list(engine.inpaint(crops, recipe))
    except EngineError as error:
        return [error] * len(crops)
