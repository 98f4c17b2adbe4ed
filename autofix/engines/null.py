"""The engine that changes nothing: every Patch is its Crop. For trying out everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autofix.engines.base import ModelInfo, SizeRule
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Patch


class NullEngine:
    """Returns every crop as it is. Takes any size that is a multiple of 8."""

    info = ModelInfo(name="null", identity="null", size=SizeRule(512), reads_prompt=False)

    def check(self, recipe: Recipe) -> None:
        """Nothing can be wrong."""

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """The crops' own pixels."""
        return [
            Patch(
                crop,
                crop.pixels.astype(np.float32) / np.float32(255),
                seed=crop.region.seed,
                strength=crop.region.strength,
            )
            for crop in crops
        ]

    def close(self) -> None:
        """Nothing is held."""
