"""Training: the denoiser learns to repaint damaged faces, right and crisp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from training.batches import Batch, batches, face_windows
from training.data import Portrait
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

_PEAK = 8e-4
_TOP_LEVEL = 0.75  # highest start, as a share of the schedule
_GRADIENTS, _CRISPNESS, _COARSE, _EMPTY = 2.0, 0.4, 0.3, 0.05
_WHOLE_FROM = 0.7  # from this share of the time on whole crops: group norms see background too
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
    unet = _first(setting.start).to(setting.device, memory_format=torch.channels_last).train()
    average, clock = Average(unet, 0.998), Clock(minutes)
    painter = torch.optim.AdamW(unet.parameters(), lr=_PEAK, betas=(0.9, 0.99), weight_decay=1e-3)
    if saved := load_state(path):
        unet.load_state_dict(saved["unet"])
        average.net.load_state_dict(saved["average"])
        painter.load_state_dict(saved["painter"])
        clock.used_s, clock.steps = saved["used_s"], saved["steps"]
        average.updates = clock.steps
    schedule, losses = Schedule(setting.device), Losses()
    source = batches(portraits, setting.batch, (setting.seed,), clock.steps, setting.workers)
    reached = int(_MILESTONES * clock.progress)
    clock.forgive()
    while clock.progress < 1:
        set_rate(painter, rate(clock.progress, _PEAK))
        side = WINDOW_PX if clock.progress < _WHOLE_FROM else NATIVE_PX
        loss = _loss(unet, face_windows(next(source), side), schedule, setting, losses)
        painter.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        painter.step()
        average.update(unet)
        clock.tick()
        if clock.steps % 50 == 0:
            log.info("%d %.0f%% %s", clock.steps, 100 * clock.progress, losses.line())
        if clock.steps % 200 == 0 or clock.progress >= 1:
            parts = {"unet": unet, "average": average.net, "painter": painter}
            states = {name: part.state_dict() for name, part in parts.items()}
            save_state(path, {**states, "used_s": clock.used_s, "steps": clock.steps})
            clock.forgive()
        if int(_MILESTONES * clock.progress) > reached:
            reached = int(_MILESTONES * clock.progress)
            on_milestone(average.net, clock.steps)
            clock.forgive()
    return average.net


def _first(start: Path | None) -> UNet2DConditionModel:
    """A new denoiser, or that of an exported folder to go on from."""
    if start is None:
        return make_unet()
    return UNet2DConditionModel.from_pretrained(start, subfolder="unet", dtype=torch.float32)


def _loss(
    unet: UNet2DConditionModel,
    batch: Batch,
    schedule: Schedule,
    setting: Setting,
    losses: Losses,
) -> Tensor:
    """How far what would be pasted is from the clean picture, at a random noise level."""
    clean, given = batch.clean.to(setting.device), batch.damaged.to(setting.device)
    latents, damaged = _latents(clean), _latents(given)
    draw = schedule.draw(len(clean), _TOP_LEVEL)
    noisy = mix(draw, latents, damaged, torch.randn_like(latents))
    embeds = torch.zeros(len(clean), 1, EMBED_DIM, device=setting.device)
    with setting.autocast():
        out = unet(unet_input(noisy, damaged), draw.steps, embeds).sample
    out = out.float()
    painted = out[:, :3] / LATENT_SCALE
    pasted = with_coarse_of(painted, given)
    weight = feature_weight(batch.points.to(setting.device), clean.shape[-1])
    near, edges = weighted_l1(pasted, clean, weight), gradient_l1(pasted, clean, weight)
    crisp = crispness_l1(pasted, clean)
    losses.add(near=near, edges=edges, crisp=crisp)
    losses.add(near_given=weighted_l1(given, clean, weight))
    losses.add(edges_given=gradient_l1(given, clean, weight))
    losses.add(crisp_given=crispness_l1(given, clean))
    plain = _COARSE * coarse_l1(painted, clean) + _EMPTY * out[:, 3].abs().mean()
    return near + _GRADIENTS * edges + _CRISPNESS * crisp + plain


def _latents(pictures: Tensor) -> Tensor:
    """Pictures in -1..1 as the autoencoder gives them: scaled, and a fourth channel of zeros."""
    return torch.cat([pictures * LATENT_SCALE, torch.zeros_like(pictures[:, :1])], dim=1)
