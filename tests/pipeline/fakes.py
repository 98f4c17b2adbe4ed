"""Engines and detectors that behave, or misbehave, on purpose."""

from __future__ import annotations

import numpy as np

from autofix.engines.base import ModelInfo, SizeRule
from autofix.errors import EngineError
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from autofix.values import Patch
from detectors.detection import in_order
from tests.build import detection


class Boxes:
    """Finds the same boxes in every picture that is large enough to be no crop."""

    name, labels = "test", ("face",)

    def __init__(self, *boxes, label="face"):
        self.found = [detection(box, label=label) for box in boxes]

    def detect(self, pictures, *, names=()):
        return [in_order(self.found) if p.shape[1] > 96 else () for p in pictures]

    def close(self):
        pass


class Painter:
    """Paints every crop in one colour with a little noise of its seed; remembers its batches."""

    def __init__(self, colour=0.5, *, labels=(), native=64):
        self.colour = colour
        self.info = ModelInfo("painter", "painter-1", SizeRule(native), frozenset(labels))
        self.batches = []

    def check(self, settings):
        pass

    def inpaint(self, crops, settings):
        self.batches.append(list(crops))
        return [self.patch(crop) for crop in crops]

    def patch(self, crop):
        noise = np.random.default_rng(crop.region.seed).random(crop.pixels.shape, np.float32)
        values = self.colour + 0.1 * (noise - 0.5)
        region = crop.region
        return Patch(crop, values.astype(np.float32), region.seed, region.strength)

    def close(self):
        pass


class Broken(Painter):
    """Fails at every batch, or paints one flat grey until a seed it likes comes."""

    def __init__(self, *, until_seed=None):
        super().__init__()
        self.until_seed = until_seed

    def inpaint(self, crops, settings):
        if self.until_seed is None:
            raise EngineError("the model failed: no such layer", "take another --model")
        return super().inpaint(crops, settings)

    def patch(self, crop):
        good = crop.region.seed >= self.until_seed
        patch = super().patch(crop)
        return patch if good else Patch(crop, np.full_like(patch.pixels, 0.5), 0, 0.4)


ANYTHING_GOES = {
    "check.max_clipped": 1,
    "check.max_drift": 100,
    "check.max_ring": 100,
    "check.max_seam": 100,
    "check.max_colour": 100,
    "check.min_structure": -1,
    "check.max_peak": 100,
    "check.max_eyes": 100,
}
"""A check that refuses only what is not finite or flat: fakes paint no faces."""


def pipeline(detector, engine, *, batch_size=8, bulk=False, keep_candidates=False, **changes):
    """A pipeline with these two in every pass, whose check lets nearly everything pass."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    plain = {"blend.match_colour": False, "blend.match_grain": False, **ANYTHING_GOES}
    recipe = load_recipe("face").override({**plain, "device.batch_size": batch_size, **changes})
    tools = Toolbox(recipe, engine=engine, detectors=(detector,))
    return Pipeline(recipe, tools, bulk=bulk, keep_candidates=keep_candidates)
