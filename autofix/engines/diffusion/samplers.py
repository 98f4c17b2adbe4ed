"""A1111's names of samplers and schedule types -> diffusers schedulers, in one table."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import re
from typing import Any

from autofix.engines.diffusion.pipeline_adapter import (
    allow_many_lcm_steps,
    count_lms_derivatives,
    space_dpm_timesteps,
)
from autofix.errors import RecipeError

_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_EULER_A, _LMS, _UNIPC = (
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
)
_DDIM, _PLMS, _LCM = "DDIMScheduler", "PNDMScheduler", "LCMScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_SINGLE_SDE = {**_SDE, "lower_order_final": True}
_LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
_OF_DDIM = {**_LEADING, "set_alpha_to_one": False}

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": (_MULTI, {}),
    "DPM++ SDE": (_SINGLE, _SINGLE_SDE),
    "DPM++ 2M SDE": (_MULTI, _SDE),
    "DPM++ 2M SDE Heun": (_MULTI, {**_SDE, "solver_type": "heun"}),
    "DPM++ 3M SDE": (_MULTI, {**_SDE, "solver_order": 3}),
    "DPM++ 2S a": (_SINGLE, _SINGLE_SDE),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": (_EULER_A, {}),
    "LMS": (_LMS, {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DDIM": (_DDIM, {**_OF_DDIM, "clip_sample": False}),
    "PLMS": (_PLMS, {**_OF_DDIM, "skip_prk_steps": True}),
    "UniPC": (_UNIPC, {}),
    "LCM": (_LCM, {}),
}
"""Sampler -> (class in diffusers, its settings). DPMSolverSDEScheduler, which diffusers has too,
is not used: its noise is one for the whole batch, so that a face would depend on its batch."""

SCHEDULES: dict[str, dict[str, Any]] = {
    "Uniform": {"timestep_spacing": "linspace"},
    "Normal": {"timestep_spacing": "linspace"},
    "Simple": {"timestep_spacing": "trailing"},
    "SGM Uniform": {"timestep_spacing": "trailing"},
    "DDIM": _LEADING,
    "Karras": {"use_karras_sigmas": True},
    "Exponential": {"use_exponential_sigmas": True},
    "Polyexponential": {"use_exponential_sigmas": True},  # A1111's rho is 1: the same
    "Beta": {"use_beta_sigmas": True},
}
"""Schedule type -> settings of the scheduler. A sampler alone means Uniform, where it takes one."""

_AUTOMATIC = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "Exponential"),
}
"""What A1111's schedule type Automatic is; with any other sampler it is the sampler alone."""

_ABSENT = {
    "DPM fast": ("DPM++ 2M Karras", "UniPC"),
    "DPM adaptive": ("DPM++ 2M Karras", "DPM2 Karras"),
    "Restart": ("Heun Karras", "DPM++ SDE Karras"),
    "DDIM CFG++": ("DDIM", "Euler"),
    "HeunPP2": ("Heun", "Heun Karras"),
}
"""Samplers of A1111 and ComfyUI that diffusers has no counterpart of, and the nearest."""

_OF_CHECKPOINT = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr"),
)
"""What a checkpoint's scheduler config says of the checkpoint; the rest is its own sampler's."""

_NEEDS_NOISE = ("Euler", "Euler a", "Heun", "DPM2", "DPM2 a", "PLMS")
"""Those that do not work with a model that predicts the clean picture itself."""


def _takes(sampler: str, schedule: str) -> bool:
    kind = SAMPLERS[sampler][0]
    if "timestep_spacing" in SCHEDULES[schedule]:
        return kind not in (_DDIM, _PLMS, _LCM, _UNIPC)
    return kind not in (_DDIM, _PLMS, _LCM, _EULER_A)


def _key(name: str) -> str:
    """One spelling of all: "DPM++ 2M Karras", dpmpp_2m_karras and k_dpmpp_2m_ka are the same."""
    key = re.sub(r"^k_|_gpu", "", name.strip().lower()).replace("ancestral", "_a_")
    return re.sub(r"[^a-z0-9]", "", re.sub(r"_ka$", "karras", key).replace("+", "p"))


NAMES = {name: (name, "") for name in SAMPLERS} | {
    f"{sampler} {schedule}": (sampler, schedule)
    for sampler in SAMPLERS
    for schedule in SCHEDULES
    if _takes(sampler, schedule)
}
"""Every full name -> its sampler and its schedule type."""

_KNOWN = {
    # A1111 pays no heed to the schedule type of these two.
    **{_key(f"{name} {schedule}"): name for name in ("DDIM", "PLMS") for schedule in SCHEDULES},
    **{_key(kind): name for name, (kind, _) in reversed(SAMPLERS.items())},
    **{
        _key(f"{name} Automatic"): f"{name} {_AUTOMATIC.get(name, '')}".strip() for name in SAMPLERS
    },
    **{_key(f"{sampler} ddim_uniform"): f"{sampler} DDIM" for sampler in SAMPLERS},
    **{_key(name): name for name in NAMES},
    "unipcbh2": "UniPC",
}


def check_sampler(name: str, *, prediction: str = "epsilon") -> str:
    """The sampler's full name, as A1111 writes it; case, spaces and underscores do not matter.

    ComfyUI's names and those of the diffusers classes are known too. Raises RecipeError, with the
    nearest names that would do, for a sampler that does not work. `prediction` is what the
    checkpoint predicts: epsilon, v_prediction, sample or flow.
    """
    found = _KNOWN.get(_key(name), "")
    good = [full for full in NAMES if _suits(full, prediction)]
    if found not in good:
        absent = {_key(each): near for each, near in _ABSENT.items()}.get(_key(name), ())
        reason = "has no counterpart in diffusers" if absent else "does not exist"
        reason = "does not work with this model" if found else reason
        near = [each for each in absent if each in good] or _nearest(name, good)
        raise RecipeError(
            f"sampler {name!r} {reason}", f"--sampler takes, for example: {', '.join(near)}"
        )
    sampler, schedule = NAMES[found]
    if (sampler == "LMS" or schedule == "Beta") and importlib.util.find_spec("scipy") is None:
        raise RecipeError(
            f"sampler {name!r} needs scipy, which is not installed",
            "pip install scipy, or use --sampler 'DPM++ 2M Karras'",
        )
    return found


def _nearest(name: str, good: list[str]) -> list[str]:
    """The likeliest that were meant: with the same sampler, where that is known."""
    begun = [each for each in SAMPLERS if _key(name).startswith(_key(each))]
    same = [each for each in good if NAMES[each][0] == max(begun, key=len, default="")]
    near = difflib.get_close_matches(name, same or good, n=3, cutoff=0 if same else 0.3)
    return near or [each for each in good if each in SAMPLERS]


def _suits(full: str, prediction: str) -> bool:
    sampler, schedule = NAMES[full]
    if prediction == "flow":
        return sampler == "Euler" and schedule != "DDIM"
    return prediction != "sample" or sampler not in _NEEDS_NOISE


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
        sigmas = {key: False for each in SCHEDULES.values() for key in each if "sigmas" in key}
        sigmas |= {key: value for key, value in shape.items() if key in sigmas}
        return diffusers.FlowMatchEulerDiscreteScheduler.from_config(config, **sigmas)
    diffusers_class = getattr(diffusers, kind)
    takes = inspect.signature(diffusers_class).parameters
    own = {key: config[key] for key in _OF_CHECKPOINT if key in config and key in takes}
    if kind not in (_DDIM, _PLMS, _LCM, _UNIPC, _SINGLE):
        own["timestep_spacing"] = "linspace"
    shape = {key: value for key, value in shape.items() if key in takes}
    made = diffusers_class(**{**own, **settings, **shape})
    if kind in (_MULTI, _SINGLE):
        spacing = SCHEDULES[schedule or "Uniform"].get("timestep_spacing", "")
        space_dpm_timesteps(made, spacing, two_evaluations=kind == _SINGLE)
    elif kind == _LMS:
        count_lms_derivatives(made)
    elif kind == _LCM:
        allow_many_lcm_steps(made)
    return made
