"""Training: the denoiser learns to repaint damaged faces, right and crisp."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from training.batches import Batch, batches, face_windows
from training.data import Portrait
from training.losses import coarse_l1, crispness_l1, gradient_l1
from training.networks import EMBED_DIM, LATENT_SCALE, WINDOW_PX, make_unet, with_coarse_of
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

_PEAK = 1e-3
_TOP_LEVEL = 0.75  # highest start, as a share of the schedule
_GRADIENTS, _CRISPNESS, _COARSE, _EMPTY = 2.0, 2.0, 0.3, 0.05
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
    unet = make_unet().to(setting.device, memory_format=torch.channels_last).train()
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
        loss = _loss(unet, face_windows(next(source), WINDOW_PX), schedule, setting, losses)
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
    near, edges = (pasted - clean).abs().mean(), gradient_l1(pasted, clean)
    crisp = crispness_l1(pasted, clean)
    losses.add(near=near, edges=edges, crisp=crisp)
    losses.add(near_given=(given - clean).abs().mean(), edges_given=gradient_l1(given, clean))
    losses.add(crisp_given=crispness_l1(given, clean))
    plain = _COARSE * coarse_l1(painted, clean) + _EMPTY * out[:, 3].abs().mean()
    return near + _GRADIENTS * edges + _CRISPNESS * crisp + plain


def _latents(pictures: Tensor) -> Tensor:
    """Pictures in -1..1 as the autoencoder gives them: scaled, and a fourth channel of zeros."""
    return torch.cat([pictures * LATENT_SCALE, torch.zeros_like(pictures[:, :1])], dim=1)
