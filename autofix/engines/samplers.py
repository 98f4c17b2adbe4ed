"""A1111's sampler names -> diffusers schedulers, in one table."""

from __future__ import annotations

import difflib
from typing import Any

from autofix.errors import RecipeError

_MULTISTEP = "DPMSolverMultistepScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_KARRAS = {"use_karras_sigmas": True}

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": (_MULTISTEP, {}),
    "DPM++ 2M Karras": (_MULTISTEP, _KARRAS),
    "DPM++ 2M SDE": (_MULTISTEP, _SDE),
    "DPM++ 2M SDE Karras": (_MULTISTEP, {**_SDE, **_KARRAS}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
"""Name -> (class name in diffusers, the settings that differ from the checkpoint's own)."""


_NEEDS_NOISE = {
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
}
"""Those that do not work with a model that predicts the clean picture itself."""


def check_sampler(name: str, *, prediction: str = "epsilon") -> None:
    """Raises RecipeError, with the nearest names that would do, for a sampler that does not.

    `prediction` is what the checkpoint predicts: epsilon, v_prediction or sample.
    """
    good = [n for n, (kind, _) in SAMPLERS.items() if _suits(kind, prediction)]
    if name not in good:
        near = difflib.get_close_matches(name, good, n=3, cutoff=0.3) or good
        reason = "does not work with this model" if name in SAMPLERS else "does not exist"
        raise RecipeError(
            f"sampler {name!r} {reason}", f"--sampler takes, for example: {', '.join(near)}"
        )


def _suits(kind: str, prediction: str) -> bool:
    return prediction != "sample" or kind not in _NEEDS_NOISE


def scheduler(name: str, config: Any) -> Any:
    """A fresh diffusers scheduler of that name, with the checkpoint's betas and prediction type."""
    check_sampler(name, prediction=config.get("prediction_type", "epsilon"))
    import diffusers

    kind, settings = SAMPLERS[name]
    return getattr(diffusers, kind).from_config(config, **settings)
