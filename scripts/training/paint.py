"""Training: the denoiser learns to repaint damaged faces, right and crisp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from training.batches import Batch, batches, face_windows
from training.data import Portrait
from training.looks import Critic, Looks, critic_loss, looks_distance, painter_loss
from training.losses import coarse_l1, crispness_l1, feature_weight, gradient_l1, weighted_l1
from training.networks import (
    EMBED_DIM,
    LATENT_SCALE,
    NATIVE_PX,
    WINDOW_PX,
    make_unet,
    with_coarse_of,
)
from training.noise import Schedule, mix, unet_input
from training.setting import Setting
from training.state import (
    Average,
    Clock,
    Losses,
    load_state,
    log,
    rate,
    save_state,
    set_rate,
)

_PEAK, _CRITIC_RATE = 8e-4, 5e-4
_PEAK_AGAIN = 3e-4  # from a trained denoiser
_TOP_LEVEL = 0.75  # highest start, as a share of the schedule
_GRADIENTS, _CRISPNESS, _COARSE, _EMPTY = 2.0, 0.4, 0.3, 0.05
_LOOKS, _CRITIC = 0.04, 0.006
_CRITIC_FROM, _CRITIC_WHOLE = 0.35, 0.5  # shares of the time between which its weight grows
_CRITIC_FROM_AGAIN, _CRITIC_WHOLE_AGAIN = 0.05, 0.2
_WHOLE_FROM = 0.8  # from this share of the time on whole crops: group norms see background too
_MILESTONES = 8


def train(
    portraits: list[Portrait],
    setting: Setting,
    minutes: float,
    on_milestone: Callable[[UNet2DConditionModel, int], None],
) -> UNet2DConditionModel:
    """Train, or go on where a checkpoint stopped; gives the averaged weights.

    `on_milestone` gets the averaged denoiser and the step, eight times in all.
    """
    path = setting.state / "paint.pt"
    nets, clock, losses = Networks(setting), Clock(minutes), Losses()
    if saved := load_state(path):
        nets.load_state_dict(saved)
        clock.used_s, clock.steps = saved["used_s"], saved["steps"]
        nets.average.updates = clock.steps
    source = batches(portraits, setting.batch, (setting.seed,), clock.steps, setting.workers)
    reached = int(_MILESTONES * clock.progress)
    clock.forgive()
    while clock.progress < 1:
        side = WINDOW_PX if clock.progress < _WHOLE_FROM else NATIVE_PX
        nets.step(face_windows(next(source), side), clock.progress, losses)
        clock.tick()
        if clock.steps % 50 == 0:
            log.info("%d %.0f%% %s", clock.steps, 100 * clock.progress, losses.line())
        if clock.steps % 200 == 0 or clock.progress >= 1:
            save_state(path, {**nets.state_dict(), "used_s": clock.used_s, "steps": clock.steps})
            clock.forgive()
        if int(_MILESTONES * clock.progress) > reached:
            reached = int(_MILESTONES * clock.progress)
            on_milestone(nets.average.net, clock.steps)
            clock.forgive()
    return nets.average.net


class Networks:
    """The denoiser, its running mean, the critic, and what trains them."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.unet = _first(setting.start).to(setting.device, memory_format=torch.channels_last)
        self.unet.train()
        self.average = Average(self.unet, 0.998)
        self.looks, self.critic = Looks().to(setting.device), Critic().to(setting.device)
        self.schedule = Schedule(setting.device)
        self.painter = torch.optim.AdamW(
            self.unet.parameters(), lr=_PEAK, betas=(0.9, 0.99), weight_decay=1e-3
        )
        heads = self.critic.heads.parameters()
        self.judge = torch.optim.Adam(heads, lr=_CRITIC_RATE, betas=(0.0, 0.99))

    def _parts(self) -> dict[str, Any]:
        return {
            "unet": self.unet,
            "average": self.average.net,
            "critic": self.critic,
            "painter": self.painter,
            "judge": self.judge,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from there."""
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])

    def step(self, batch: Batch, progress: float, losses: Losses) -> None:
        """One step of the denoiser, and one of the critic once it has its say."""
        again = self.setting.start is not None
        first, whole = (
            (_CRITIC_FROM_AGAIN, _CRITIC_WHOLE_AGAIN) if again else (_CRITIC_FROM, _CRITIC_WHOLE)
        )
        say = min(1.0, max(0.0, (progress - first) / (whole - first)))
        set_rate(self.painter, rate(progress, _PEAK_AGAIN if again else _PEAK))
        clean, given = batch.clean.to(self.setting.device), batch.damaged.to(self.setting.device)
        weight = feature_weight(batch.points.to(self.setting.device), clean.shape[-1])
        pasted, plain = self._paint(clean, given)
        near, edges = weighted_l1(pasted, clean, weight), gradient_l1(pasted, clean, weight)
        crisp = crispness_l1(pasted, clean)
        with self.setting.autocast():
            painted_maps = self.looks(pasted)
            with torch.no_grad():
                clean_maps = self.looks(clean)
        looks = looks_distance(painted_maps, clean_maps, weight)
        loss = near + _GRADIENTS * edges + _CRISPNESS * crisp + _LOOKS * looks + plain
        losses.add(near=near, edges=edges, crisp=crisp, looks=looks)
        losses.add(near_given=weighted_l1(given, clean, weight))
        losses.add(crisp_given=crispness_l1(given, clean))
        if say > 0:
            told = painter_loss(self.critic(painted_maps))
            loss = loss + say * _CRITIC * told
            losses.add(told=told)
        self.painter.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.painter.step()
        self.average.update(self.unet)
        if progress > first - 0.05:
            judged = critic_loss(
                self.critic(clean_maps), self.critic([one.detach() for one in painted_maps])
            )
            self.judge.zero_grad(set_to_none=True)
            judged.backward()
            self.judge.step()
            losses.add(judged=judged)

    def _paint(self, clean: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """What would be pasted, from a random noise level; and what keeps colours in place."""
        latents, damaged = _latents(clean), _latents(given)
        draw = self.schedule.draw(len(clean), _TOP_LEVEL)
        noisy = mix(draw, latents, damaged, torch.randn_like(latents))
        embeds = torch.zeros(len(clean), 1, EMBED_DIM, device=clean.device)
        with self.setting.autocast():
            out = self.unet(unet_input(noisy, damaged), draw.steps, embeds).sample
        out = out.float()
        painted = out[:, :3] / LATENT_SCALE
        plain = _COARSE * coarse_l1(painted, clean) + _EMPTY * out[:, 3].abs().mean()
        return with_coarse_of(painted, given), plain


def _first(start: Path | None) -> UNet2DConditionModel:
    """A new denoiser, or that of an exported folder to go on from."""
    if start is None:
        return make_unet()
    return UNet2DConditionModel.from_pretrained(start, subfolder="unet", dtype=torch.float32)


def _latents(pictures: Tensor) -> Tensor:
    """Pictures in -1..1 as the autoencoder gives them: scaled, and a fourth channel of zeros."""
    return torch.cat([pictures * LATENT_SCALE, torch.zeros_like(pictures[:, :1])], dim=1)
