"""How many steps a denoising strength means, and how a diffusers pipeline is made to do them.

A1111 does the last `int(strength * steps) + 1` steps of the schedule, a diffusers pipeline the last
`int(strength * steps)` (SD, SDXL) or so many rounded up (SD3, Flux, ...). Both start at the noise
level of the first step done, sigmas[steps - done] of the whole schedule. 28 steps at strength 0.4:
A1111 does 12, with Karras' schedule from sigma 0.726; diffusers 11, from 0.572.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from autofix.engines.base import ModelInfo
from autofix.engines.diffusion.pipeline_adapter import Pipeline, replace_methods
from autofix.settings.model_sections import Sampling

MOST_STEPS = 1000
"""A schedule has no more: models are trained on so many noise levels."""


class Plan(NamedTuple):
    """The last `done` of a schedule's `steps` steps. Crops of equal plans can share a batch.

    `pure`: the start is nothing but noise; else it is the crop under the noise of the first step.
    """

    steps: int
    done: int
    pure: bool = False

    def count_evaluations(self, order: int = 1) -> int:
        """How often the denoiser runs; of `order` 2 twice a step, but once at the last one."""
        return order * self.done - (order - 1)


def make_plan(steps: int, strength: float, count: str) -> Plan:
    """The steps for a strength, 0..1, by the recipe's `step_count`, but for auto.

    a1111: int(min(strength, 0.999) * steps) + 1 of them. diffusers: int(strength * steps), and at
    least one, however low the strength. exact: `steps` in all, of a schedule as much longer, which
    is A1111's "do exactly the amount of steps the slider specifies".
    """
    if count == "diffusers":
        steps = max(steps, min(math.ceil(1 / max(strength, 1e-9)), MOST_STEPS))
        return Plan(steps, max(int(steps * strength), 1), strength == 1)
    below = min(strength, 0.999)
    if count == "exact":
        longer = min(int(steps / max(below, 1e-9)), MOST_STEPS)
        return Plan(longer, min(steps, longer))
    return Plan(steps, int(below * steps) + 1)


def plan_of(strength: float, sampling: Sampling, info: ModelInfo) -> Plan:
    """The plan for a region's strength with these settings and this model."""
    steps = info.steps if sampling.steps == "auto" else sampling.steps
    count = info.step_count if sampling.step_count == "auto" else sampling.step_count
    return make_plan(steps, strength, count)


@contextlib.contextmanager
def apply_step_plan(
    pipe: Pipeline, plan: Plan, noise_multiplier: float = 1.0
) -> Iterator[dict[str, Any]]:
    """While this lasts the inpainting pipeline does the plan; yields the arguments to call it with.

    `noise_multiplier` scales the noise of the start only, as A1111's does: what is put back outside
    the mask at each step keeps the noise of that step.
    """
    starts: list[Any] = []

    def get_timesteps(*_: Any, **__: Any) -> tuple[Any, int]:
        scheduler = pipe.scheduler
        timesteps, begin = scheduler.timesteps, (plan.steps - plan.done) * scheduler.order
        if type(scheduler).__name__ == "PNDMScheduler" and scheduler.config.skip_prk_steps:
            # It runs the denoiser twice at its second timestep: the second of those done.
            timesteps = timesteps.unique_consecutive()[begin:]
            timesteps = timesteps[[0, 1, *range(1, len(timesteps))]] if plan.done > 1 else timesteps
        else:
            timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        starts.append(timesteps[:1])
        return timesteps, plan.done

    replaced: dict[str, Any] = {"get_timesteps": get_timesteps}
    if noise_multiplier != 1:
        own_prepare_latents = pipe.prepare_latents

        def prepare_latents(*args: Any, **more: Any) -> Any:
            latents, noise, *rest = own_prepare_latents(*args, **more)
            added = _start_noise(pipe.scheduler, noise, starts[-1], pure=plan.pure)
            return latents + (noise_multiplier - 1) * added, noise, *rest

        replaced["prepare_latents"] = prepare_latents

    with replace_methods(pipe, **replaced):
        # Any strength below 1 means that the start is not pure noise.
        yield {"num_inference_steps": plan.steps, "strength": 1.0 if plan.pure else 0.999}


def _start_noise(scheduler: Any, noise: Any, start: Any, *, pure: bool) -> Any:
    """The noise in the latents that a pipeline starts from."""
    nothing = noise.new_zeros(noise.shape)
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(nothing, start, noise)
    if pure:
        return noise * scheduler.init_noise_sigma
    return scheduler.add_noise(nothing, noise, start.repeat(len(noise)))
