"""Engines that go wrong on purpose, each in a way that real ones do."""

from __future__ import annotations

import numpy as np
import torch

from autofix.values import Patch
from tests.pipeline.fakes import Painter


class Sick(Painter):
    """Spoils the crops of some numbers, unless it computes as precisely as they need."""

    def __init__(self, wrong, *, cure="vae", values=np.nan):
        super().__init__()
        self.wrong, self.cure, self.values = wrong, cure, values
        self.precision, self.turns = "own", []

    def patch(self, crop):
        patch, levels = super().patch(crop), ("own", "vae", "float32", "nothing")
        healthy = levels.index(self.precision) >= levels.index(self.cure)
        if healthy or crop.region.index not in self.wrong:
            return patch
        pixels = patch.pixels.copy()
        pixels[4:9] = self.values
        if self.values == 0:
            pixels[:] = 0
        return Patch(crop, pixels, patch.seed, patch.strength)

    def with_precision(self, precision):
        self.precision = precision
        self.turns.append(precision)
        return True

    def step_down(self):
        return ""


class Small(Painter):
    """Has memory for so many crops at once, and so many pixels of one."""

    def __init__(self, room, *, error=None, rungs=0):
        super().__init__()
        self.room, self.rungs = room, rungs
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    def inpaint(self, crops, settings):
        patches = super().inpaint(crops, settings)
        if len(crops) > self.room:
            raise self.error
        return patches

    def with_precision(self, precision):
        return False

    def step_down(self):
        self.rungs -= 1
        self.room = self.room if self.rungs < 0 else 2
        return "now layer by layer" if self.rungs >= 0 else ""


class Crashing(Painter):
    """Crashes at every batch that holds one of these crops, or that is larger than one."""

    def __init__(self, wrong, error, *, batches=False):
        super().__init__()
        self.wrong, self.error, self.batches_too = wrong, error, batches

    def inpaint(self, crops, settings):
        patches = super().inpaint(crops, settings)
        if self.wrong & {crop.region.index for crop in crops}:
            raise self.error
        if self.batches_too and len(crops) > 1:
            raise self.error
        return patches
