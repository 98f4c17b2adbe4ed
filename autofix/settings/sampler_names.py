"""A1111's names of samplers and schedule types, and what diffusers has for each."""

from __future__ import annotations

import difflib
import importlib.util
import re
from typing import Any

from autofix.errors import RecipeError

MULTI_SCHEDULER = "DPMSolverMultistepScheduler"
SINGLE_SCHEDULER = "DPMSolverSinglestepScheduler"
EULER_A_SCHEDULER = "EulerAncestralDiscreteScheduler"
LMS_SCHEDULER = "LMSDiscreteScheduler"
UNIPC_SCHEDULER = "UniPCMultistepScheduler"
DDIM_SCHEDULER = "DDIMScheduler"
PLMS_SCHEDULER = "PNDMScheduler"
LCM_SCHEDULER = "LCMScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_SINGLE_SDE = {**_SDE, "lower_order_final": True}
_LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
_OF_DDIM = {**_LEADING, "set_alpha_to_one": False}

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": (MULTI_SCHEDULER, {}),
    "DPM++ SDE": (SINGLE_SCHEDULER, _SINGLE_SDE),
    "DPM++ 2M SDE": (MULTI_SCHEDULER, _SDE),
    "DPM++ 2M SDE Heun": (MULTI_SCHEDULER, {**_SDE, "solver_type": "heun"}),
    "DPM++ 3M SDE": (MULTI_SCHEDULER, {**_SDE, "solver_order": 3}),
    "DPM++ 2S a": (SINGLE_SCHEDULER, _SINGLE_SDE),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": (EULER_A_SCHEDULER, {}),
    "LMS": (LMS_SCHEDULER, {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DDIM": (DDIM_SCHEDULER, {**_OF_DDIM, "clip_sample": False}),
    "PLMS": (PLMS_SCHEDULER, {**_OF_DDIM, "skip_prk_steps": True}),
    "UniPC": (UNIPC_SCHEDULER, {}),
    "LCM": (LCM_SCHEDULER, {}),
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

_NEEDS_NOISE = ("Euler", "Euler a", "Heun", "DPM2", "DPM2 a", "PLMS")
"""Those that do not work with a model that predicts the clean picture itself."""


def _takes_schedule(sampler: str, schedule: str) -> bool:
    kind = SAMPLERS[sampler][0]
    if "timestep_spacing" in SCHEDULES[schedule]:
        return kind not in (DDIM_SCHEDULER, PLMS_SCHEDULER, LCM_SCHEDULER, UNIPC_SCHEDULER)
    return kind not in (DDIM_SCHEDULER, PLMS_SCHEDULER, LCM_SCHEDULER, EULER_A_SCHEDULER)


def _key_of(name: str) -> str:
    """One spelling of all: "DPM++ 2M Karras", dpmpp_2m_karras and k_dpmpp_2m_ka are the same."""
    key = re.sub(r"^k_|_gpu", "", name.strip().lower()).replace("ancestral", "_a_")
    return re.sub(r"[^a-z0-9]", "", re.sub(r"_ka$", "karras", key).replace("+", "p"))


NAMES = {name: (name, "") for name in SAMPLERS} | {
    f"{sampler} {schedule}": (sampler, schedule)
    for sampler in SAMPLERS
    for schedule in SCHEDULES
    if _takes_schedule(sampler, schedule)
}
"""Every full name -> its sampler and its schedule type."""

_KNOWN = {
    # A1111 pays no heed to the schedule type of these two.
    **{_key_of(f"{name} {schedule}"): name for name in ("DDIM", "PLMS") for schedule in SCHEDULES},
    **{_key_of(kind): name for name, (kind, _) in reversed(SAMPLERS.items())},
    **{
        _key_of(f"{name} Automatic"): f"{name} {_AUTOMATIC.get(name, '')}".strip()
        for name in SAMPLERS
    },
    **{_key_of(f"{sampler} ddim_uniform"): f"{sampler} DDIM" for sampler in SAMPLERS},
    **{_key_of(name): name for name in NAMES},
    "unipcbh2": "UniPC",
}


def check_sampler(name: str, *, prediction: str = "epsilon") -> str:
    """The sampler's full name, as A1111 writes it; case, spaces and underscores do not matter.

    ComfyUI's names and those of the diffusers classes are known too. Raises RecipeError, with the
    nearest names that would do, for a sampler that does not work. `prediction` is what the
    checkpoint predicts: epsilon, v_prediction, sample or flow.
    """
    found = _KNOWN.get(_key_of(name), "")
    good = [full for full in NAMES if _suits_prediction(full, prediction)]
    if found not in good:
        absent = {_key_of(each): near for each, near in _ABSENT.items()}.get(_key_of(name), ())
        reason = "has no counterpart in diffusers" if absent else "does not exist"
        reason = "does not work with this model" if found else reason
        near = [each for each in absent if each in good] or _nearest_names(name, good)
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


def _nearest_names(name: str, good: list[str]) -> list[str]:
    """The likeliest that were meant: with the same sampler, where that is known."""
    begun = [each for each in SAMPLERS if _key_of(name).startswith(_key_of(each))]
    same = [each for each in good if NAMES[each][0] == max(begun, key=len, default="")]
    near = difflib.get_close_matches(name, same or good, n=3, cutoff=0 if same else 0.3)
    return near or [each for each in good if each in SAMPLERS]


def _suits_prediction(full: str, prediction: str) -> bool:
    sampler, schedule = NAMES[full]
    if prediction == "flow":
        return sampler == "Euler" and schedule != "DDIM"
    return prediction != "sample" or sampler not in _NEEDS_NOISE
