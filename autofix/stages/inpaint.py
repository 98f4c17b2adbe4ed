"""inpaint: Crops -> Patches, by an engine, and nothing pasted yet."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.engines.base import Engine
from autofix.engines.diffusion.steps import plan_of
from autofix.engines.resilient import Answer, Resilient
from autofix.errors import EngineError
from autofix.settings.recipe import Inpaint
from autofix.values import Crop


def inpaint(crops: Sequence[Crop], engine: Engine, settings: Inpaint) -> list[Answer]:
    """A Patch a Crop, or why it has none, in order.

    All crops have one size and one plan of steps: they are one batch. A Resilient engine answers
    for each; any other's failure is that of the whole batch. Raises UsageError for settings or a
    model that cannot work.
    """
    kinds = {
        (crop.window.size_wh, plan_of(crop.region.strength, settings, engine.facts))
        for crop in crops
    }
    if len(kinds) > 1:
        raise ValueError(
            f"a batch must have one size and one plan, but got {sorted(kinds, key=str)}"
        )
    if isinstance(engine, Resilient):
        return engine.repaint_each(crops, settings)
    try:
        return list(engine.repaint(crops, settings))
    except EngineError as error:
        return [error] * len(crops)
