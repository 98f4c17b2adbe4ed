"""The arithmetic of the diffusion: how clean latents and noise mix, and what is predicted.

At inference the picture that noise is added to is the damaged one, so part of its damage stays in
the latents while the noise goes down. Training mixes in the same part: see `Draw`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.networks import TRAIN_STEPS, make_scheduler


@dataclass(frozen=True)
class Draw:
    """One noise level a sample: x = signal * (clean + damage_share * (damaged - clean)) + noise.

    `signal` and `level` are N x 1 x 1 x 1; signal^2 + level^2 = 1.
    """

    steps: Tensor  # N, 0..999
    signal: Tensor
    level: Tensor
    damage_share: Tensor  # N x 1 x 1 x 1 in 0..1


class Schedule:
    """The training noise schedule on one device."""

    def __init__(self, device: torch.device) -> None:
        kept = make_scheduler().alphas_cumprod.to(device)
        self.signal = kept.sqrt()
        self.level = (1 - kept).sqrt()

    def at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise level of the steps, N x 1 x 1 x 1 each."""
        return self.signal[steps].view(-1, 1, 1, 1), self.level[steps].view(-1, 1, 1, 1)

    def draw(self, count: int, top: float, bottom: float = 0.02) -> Draw:
        """Levels as a run meets them: a start up to share `top`, then a step at or below it.

        Half of the samples are at the start of their run, where most is decided. A tenth has
        no damage in the latents, as plain training would have it.
        """
        device = self.signal.device
        start = bottom + (top - bottom) * torch.rand(count, device=device) ** 0.8
        begun = torch.rand(count, device=device) < 0.5
        now = torch.where(begun, start, bottom + (start - bottom) * torch.rand_like(start))
        steps = (now * (TRAIN_STEPS - 1)).long()
        signal, level = self.at(steps)
        signal0, level0 = self.at((start * (TRAIN_STEPS - 1)).long())
        share = (level / signal) / (level0 / signal0)
        plain = torch.rand(count, device=device).view(-1, 1, 1, 1) < 0.1
        return Draw(steps, signal, level, torch.where(plain, torch.zeros_like(share), share))


def mix(draw: Draw, clean: Tensor, damaged: Tensor, noise: Tensor) -> Tensor:
    """The noisy latents of a draw."""
    base = clean + draw.damage_share * (damaged - clean)
    return draw.signal * base + draw.level * noise


def unet_input(noisy: Tensor, damaged: Tensor) -> Tensor:
    """The nine channels in diffusers' order; the mask is all white."""
    return torch.cat([noisy, torch.ones_like(noisy[:, :1]), damaged], dim=1)
