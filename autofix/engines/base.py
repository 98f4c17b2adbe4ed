"""The interface of every engine, and the values by which an engine describes itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from autofix.settings.recipe import Recipe
from autofix.settings.region_sections import PADDING
from autofix.settings.units import Share
from autofix.values import Crop, Patch

LOADING = threading.Lock()
"""Held while weights are loaded: diffusers meanwhile creates parameters empty, in any thread."""


@dataclass(frozen=True)
class SizeRule:
    """The working sizes that an engine takes."""

    native: int
    """The side at which it works best, in px."""

    multiple: int = 8
    """Both sides must be multiples of this many px."""


@dataclass(frozen=True)
class ModelInfo:
    """What is known of an engine's model before its weights are loaded."""

    name: str
    """What people call the model."""

    identity: str
    """Differs between any two models: part of the fingerprint of a run."""

    size: SizeRule
    """The working sizes that it takes."""

    labels: frozenset[str] = frozenset()
    """The labels of what it can inpaint, each also as a part of a label; empty for anything."""

    reads_prompt: bool = True
    """Whether a prompt makes a difference."""

    faithful: bool = False
    """Whether it is conditioned on the crop and keeps to it, as no common checkpoint does."""

    tuned: tuple[tuple[float, float], ...] = ((0.0, 0.4),)
    """The denoising strengths that "auto" means: pairs of a face's shorter side in the picture, in
    px, and the strength from there on, 0 to 1; sides rising."""

    steps: int = 28
    """The sampling steps that "auto" means."""

    sampler: str = "DPM++ 2M Karras"
    """The sampler that "auto" means, by its A1111 name; "auto" itself for the model's own."""

    cfg: float = 7.0
    """The CFG scale that "auto" means."""

    family: str = ""
    """The kind of model, for people."""

    scale: int = 8
    """The side of the square of pixels that one latent stands for."""

    encoders: tuple[str, ...] = ()
    """The text encoders that read its prompts, for people."""

    prediction: str = "epsilon"
    """What it predicts at each step: epsilon, v_prediction, sample or flow."""

    step_count: str = "a1111"
    """How its strengths are counted in steps: a1111, diffusers or exact."""

    padding: Share = PADDING
    """The context around the mask that suits it."""

    def inpaints(self, label: str) -> bool:
        """Whether it was made for this label ("face" also for "anime_face")."""
        return not self.labels or any(known in label.lower() for known in self.labels)


class Engine(Protocol):
    """Inpaints Crops, in an inpaint worker's thread. Cheap to make: `inpaint` loads the weights.

    An engine that works inside another program may have three more attributes:
    - `context()` returns a context manager under which it is called, such as torch's inference
      mode, which holds for one thread alone;
    - `cancellations` is a tuple of exceptions that end the run, such as the host's own interrupt;
      any other exception fails one region;
    - `owns_memory` is true where the host decides what stays in a card's memory: then autofix
      neither empties caches nor measures large batches.
    """

    @property
    def info(self) -> ModelInfo: ...

    def check(self, recipe: Recipe) -> None:
        """Raise UsageError for settings that it cannot obey. Loads no weights."""
        ...

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """One Patch a Crop, in order, as one batch of equal size and strength.

        A Patch depends on its own Crop and seed; batch mates change it by rounding at most. Values
        may be out of range or not finite: Resilient and the check stage see to that. Raises
        EngineError.
        """
        ...

    def close(self) -> None:
        """Release the model's memory. Closing again does nothing."""
        ...


def context_of(engine: Engine) -> AbstractContextManager[object]:
    """The context manager under which an engine is called; see `Engine`."""
    context: AbstractContextManager[object] = getattr(engine, "context", nullcontext)()
    return context


def cancellations_of(engine: Engine) -> tuple[type[BaseException], ...]:
    """The exceptions of an engine that end the run; see `Engine`."""
    return tuple(getattr(engine, "cancellations", ()))


def owns_memory(engine: Engine) -> bool:
    """Whether an engine's host decides what stays in memory; see `Engine`."""
    return bool(getattr(engine, "owns_memory", False))
