"""What an engine makes of a prompt or a few, for tests that compare pictures."""

from __future__ import annotations

import numpy as np

from autofix.engines.diffusion.engine import DiffusionEngine
from tests.engines.face_crops import face_crop
from tests.recipes import recipe_of


def engine_of(folder, **settings):
    """An engine of three steps."""
    return DiffusionEngine(folder, recipe_of(**{"steps": 3, **settings}))


def prompted(*prompts):
    """Crops that differ in their prompt alone."""
    return [
        face_crop(index=n, seed=7, strength=0.6, prompt=prompt, negative_prompt="bad")
        for n, prompt in enumerate(prompts)
    ]


def inpaint_prompts(engine, *prompts, **settings):
    """The pixels of one batch."""
    settings = recipe_of(**{"steps": 3, **settings})
    return [patch.pixels for patch in engine.inpaint(prompted(*prompts), settings)]


def far(pixels, others):
    """Whether any level differs by more than one."""
    return np.abs(pixels - others).max() * 255 > 1


def inpaint_once(folder, batch, **settings):
    """The patches of a batch by an engine of three steps, closed afterwards, and its pipeline."""
    engine = engine_of(folder, **settings)
    try:
        return engine.inpaint(batch, recipe_of(**{"steps": 3, **settings})), engine.load().pipe
    finally:
        engine.close()
