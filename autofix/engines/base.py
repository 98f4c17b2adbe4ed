"""What every engine promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autofix.recipe import Inpaint
from autofix.values import Crop, Patch


@dataclass(frozen=True)
class SizeRule:
    """The working sizes an engine takes: `native` is its best side, in px; sides are multiples."""

    native: int
    multiple: int = 8

    def size_for(self, asked: tuple[int, int] | str) -> tuple[int, int]:
        """The working size for a recipe's `crop.size`: asked for, rounded up to the multiple."""
        wide, high = (self.native, self.native) if isinstance(asked, str) else asked
        return -(-wide // self.multiple) * self.multiple, -(-high // self.multiple) * self.multiple


@dataclass(frozen=True)
class EngineFacts:
    """What can be told of an engine before its weights are loaded.

    `labels`: what it can paint, empty for anything. `strength`, `steps` and `sampler` are what a
    recipe's "auto" means with it. `identity` changes when the model does.
    """

    name: str
    identity: str
    size: SizeRule
    labels: frozenset[str] = frozenset()
    reads_prompt: bool = True
    strength: float = 0.4
    steps: int = 28
    sampler: str = "DPM++ 2M Karras"

    def paints(self, label: str) -> bool:
        """Whether it was made for things of this label ("face" also for "anime_face")."""
        return not self.labels or any(known in label.lower() for known in self.labels)


class Engine(Protocol):
    """Repaints Crops. Cheap to make: weights are loaded at the first `repaint`."""

    @property
    def facts(self) -> EngineFacts: ...

    def repaint(self, crops: Sequence[Crop], settings: Inpaint) -> list[Patch]:
        """One Patch a Crop, in order, as one batch of equal size and strength.

        A Patch depends on its own Crop and seed; batch mates move it by rounding at most. Values
        may be out of range or not finite: the check stage looks. Raises EngineError.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        ...
