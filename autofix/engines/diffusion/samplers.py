"""diffusers schedulers by A1111's names of samplers, with A1111's timesteps."""

from __future__ import annotations

import inspect
from typing import Any

from autofix.engines.diffusion.pipeline_adapter import (
    allow_many_lcm_steps,
    count_lms_derivatives,
    space_dpm_timesteps,
)
from autofix.settings.sampler_names import (
    DDIM_SCHEDULER,
    LCM_SCHEDULER,
    LMS_SCHEDULER,
    MULTI_SCHEDULER,
    NAMES,
    PLMS_SCHEDULER,
    SAMPLERS,
    SCHEDULES,
    SINGLE_SCHEDULER,
    UNIPC_SCHEDULER,
    check_sampler,
)

_CHECKPOINT_KEYS = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr"),
)
"""Keys of a scheduler config that describe the checkpoint; the others describe its sampler."""


def make_scheduler(name: str, config: Any) -> Any:
    """A fresh diffusers scheduler of that name, for a checkpoint with this scheduler config.

    From the config come the betas and the prediction type (of a flow-matching one: everything),
    not what was set for another sampler.
    """
    import diffusers

    flow = "beta_schedule" not in config
    prediction = "flow" if flow else config.get("prediction_type", "epsilon")
    sampler, schedule = NAMES[check_sampler(name, prediction=prediction)]
    kind, settings = SAMPLERS[sampler]
    shape = SCHEDULES[schedule] if schedule else {}
    if flow:
        sigmas = {
            key: False for options in SCHEDULES.values() for key in options if "sigmas" in key
        }
        sigmas |= {key: value for key, value in shape.items() if key in sigmas}
        return diffusers.FlowMatchEulerDiscreteScheduler.from_config(config, **sigmas)
    diffusers_class = getattr(diffusers, kind)
    takes = inspect.signature(diffusers_class).parameters
    own = {key: config[key] for key in _CHECKPOINT_KEYS if key in config and key in takes}
    own_spacing = (DDIM_SCHEDULER, PLMS_SCHEDULER, LCM_SCHEDULER, UNIPC_SCHEDULER, SINGLE_SCHEDULER)
    if kind not in own_spacing:
        own["timestep_spacing"] = "linspace"
    shape = {key: value for key, value in shape.items() if key in takes}
    made = diffusers_class(**{**own, **settings, **shape})
    if kind in (MULTI_SCHEDULER, SINGLE_SCHEDULER):
        spacing = SCHEDULES[schedule or "Uniform"].get("timestep_spacing", "")
        space_dpm_timesteps(made, spacing, two_evaluations=kind == SINGLE_SCHEDULER)
    elif kind == LMS_SCHEDULER:
        count_lms_derivatives(made)
    elif kind == LCM_SCHEDULER:
        allow_many_lcm_steps(made)
    return made
