"""What a training run remembers: its clock, its averages, its checkpoints and its log."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

log = logging.getLogger("train_builtin")


@dataclass
class Clock:
    """Working time of a stage. A paused process stands still: no step counts over `cap_s`."""

    minutes: float
    used_s: float = 0.0
    steps: int = 0
    _last: float = field(default_factory=time.monotonic)
    cap_s: float = 20.0

    def tick(self) -> None:
        """One step is done."""
        now = time.monotonic()
        self.used_s += min(now - self._last, self.cap_s)
        self._last = now
        self.steps += 1

    def forgive(self) -> None:
        """What came since the last tick (a sheet, a checkpoint) does not count."""
        self._last = time.monotonic()

    @property
    def progress(self) -> float:
        """Share of the stage's time that is used, 0..1."""
        return min(1.0, self.used_s / (60 * self.minutes)) if self.minutes > 0 else 1.0


class Average:
    """A running mean of a network's weights (EMA) that starts quickly."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move towards the network's weights by one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        theirs = dict(net.named_parameters())
        for name, mine in self.net.named_parameters():
            mine.lerp_(theirs[name].detach().to(mine.dtype), 1 - decay)


def rate(progress: float, peak: float, warm: float = 0.02, floor: float = 0.05) -> float:
    """Learning rate: a short rise, then half a cosine down to `floor` of the peak."""
    if progress < warm:
        return peak * (0.1 + 0.9 * progress / warm)
    rest = (progress - warm) / (1 - warm)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * rest)))


def set_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimiser.param_groups:
        group["lr"] = value


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load_state(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint of this script; None where there is none."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


class Losses:
    """Running means of the losses, for the log."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def add(self, **values: torch.Tensor | float) -> None:
        """Take in the losses of one step."""
        for name, value in values.items():
            number = float(value.detach()) if isinstance(value, torch.Tensor) else value
            self._means[name] = 0.95 * self._means.get(name, number) + 0.05 * number

    def line(self) -> str:
        """All means in one line."""
        return " ".join(f"{name} {mean:.4f}" for name, mean in self._means.items())
