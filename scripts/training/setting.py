"""Where and how a training run computes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """The facts all stages share."""

    device: torch.device
    state: Path  # folder of checkpoints, log and sheets
    out: Path  # the diffusers folder to write
    seed: int
    batch: int
    workers: int
    start: Path | None = None  # an exported folder to begin from, rather than from nothing

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 arithmetic: on both CPU and CUDA it measured faster than float32."""
        return torch.autocast(self.device.type, torch.bfloat16)


def choose_device(name: str) -> torch.device:
    """The named device; `auto` is CUDA where there is any."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
