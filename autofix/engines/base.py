"""What every engine promises, and what it may say of the program that it works in."""

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
"""Held while weights are loaded: meanwhile torch makes empty parameters, in any thread."""


@dataclass(frozen=True)
class SizeRule:
    """The working sizes an engine takes: `native` is its best side, in px; sides are multiples."""

    native: int
    multiple: int = 8


@dataclass(frozen=True)
class ModelInfo:
    """What can be told of an engine before its weights are loaded.

    `faithful`: it is shown the crop itself and keeps to it; a common checkpoint paints freely.
    `labels`: what it can paint, empty for anything. `tuned`, `steps`, `sampler` and `cfg` are what
    a recipe's "auto" means with it; `tuned` holds pairs of a face's shorter side in the picture,
    px, and its denoising strength, sizes rising. `identity` changes when the model does. `family`
    is the kind of model in words, `scale` the pixels of a latent's side, `encoders` what reads its
    prompts, `prediction` what it predicts: epsilon, v_prediction, sample or flow. `step_count` is
    how its strengths are counted in steps: a1111, diffusers or exact. `padding` is the context
    around the mask that suits it.
    """

    name: str
    identity: str
    size: SizeRule
    labels: frozenset[str] = frozenset()
    reads_prompt: bool = True
    faithful: bool = False
    tuned: tuple[tuple[float, float], ...] = ((0.0, 0.4),)
    steps: int = 28
    sampler: str = "DPM++ 2M Karras"
    cfg: float = 7.0
    family: str = ""
    scale: int = 8
    encoders: tuple[str, ...] = ()
    prediction: str = "epsilon"
    step_count: str = "a1111"
    padding: Share = PADDING

    def paints(self, label: str) -> bool:
        """Whether it was made for things of this label ("face" also for "anime_face")."""
        return not self.labels or any(known in label.lower() for known in self.labels)


class Engine(Protocol):
    """Inpaints Crops, in an inpaint worker's thread. Cheap to make: `inpaint` loads the weights.

    An engine that works inside another program may say three things more, each by an attribute:
    `context()`, a context manager under which it is called, as torch's inference mode, which holds
    for one thread alone; `cancellations`, a tuple of exceptions that end everything, as the host's
    own interrupt, where any other costs one face; and `owns_memory`, true where the host decides
    what stays in a card's memory, so that autofix neither empties caches nor tries large batches.
    """

    @property
    def info(self) -> ModelInfo: ...

    def check(self, recipe: Recipe) -> None:
        """Raises UsageError for settings that it cannot obey. Loads no weights."""
        ...

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """One Patch a Crop, in order, as one batch of equal size and strength.

        A Patch depends on its own Crop and seed; batch mates move it by rounding at most. Values
        may be out of range or not finite: Resilient and the check look. Raises EngineError.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        ...


def context_of(engine: Engine) -> AbstractContextManager[object]:
    """What an engine wants to be called under; see `Engine`."""
    context: AbstractContextManager[object] = getattr(engine, "context", nullcontext)()
    return context


def cancellations_of(engine: Engine) -> tuple[type[BaseException], ...]:
    """The exceptions that an engine wants to end everything; see `Engine`."""
    return tuple(getattr(engine, "cancellations", ()))


def owns_memory(engine: Engine) -> bool:
    """Whether an engine's host decides what stays in memory; see `Engine`."""
    return bool(getattr(engine, "owns_memory", False))
