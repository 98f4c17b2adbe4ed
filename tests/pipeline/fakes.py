"""Engines and detectors that behave, or misbehave, on purpose."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from autofix.engines.base import EngineFacts, SizeRule
from autofix.errors import EngineError
from autofix.pipeline.pipeline import Pipeline
from autofix.settings.recipe_toml import load
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
        self.facts = EngineFacts("painter", "painter-1", SizeRule(native), frozenset(labels))
        self.batches = []

    def check(self, settings):
        pass

    def repaint(self, crops, settings):
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
    """Fails at every batch, or paints NaN until a seed it likes comes."""

    def __init__(self, *, until_seed=None):
        super().__init__()
        self.until_seed = until_seed

    def repaint(self, crops, settings):
        if self.until_seed is None:
            raise EngineError("the model failed: out of memory", "try a smaller --batch-size")
        return super().repaint(crops, settings)

    def patch(self, crop):
        good = crop.region.seed >= self.until_seed
        patch = super().patch(crop)
        return patch if good else Patch(crop, patch.pixels * np.float32(np.nan), 0, 0.4)


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


def toolbox(detector, engine, *, passes=1, batch_size=8, **more):
    """What a Pipeline needs of a Toolbox, with these two in every pass."""
    tools = SimpleNamespace(
        detectors=(detector,),
        detectors_by_name={detector.name: detector},
        engine=engine,
        batch_size=lambda size_wh: batch_size,
        upscaler=None,
        apart=lambda thread: tools,
        lanes=1,
    )
    return SimpleNamespace(each=(tools,) * passes, lookers=1, **more)


def pipeline(detector, engine, *, batch_size=8, **changes):
    keep = changes.pop("keep_candidates", False)
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    plain = {"blend.match_colour": False, "blend.match_grain": False, **ANYTHING_GOES}
    recipe = load("face").override({**plain, **changes})
    tools = toolbox(detector, engine, passes=len(recipe.each), batch_size=batch_size)
    return Pipeline(recipe, tools, keep_candidates=keep)
