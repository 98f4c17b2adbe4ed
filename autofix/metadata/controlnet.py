"""ADetailer's ControlNet arguments as a recipe's `inpaint.control`, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from autofix.metadata.adetailer_infotext import DEFAULTS, Args
from autofix.settings.control_modules import MODULES, module_of
from autofix.settings.model_sections import Control

_NEAREST = {
    "inpaint_only+lama": "inpaint_only",
    "tile_colorfix": "tile_resample",
    "tile_colorfix+sharp": "tile_resample",
    "dw_openpose_full": "openpose_full",
    "depth_hand_refiner": "depth_midas",
}
"""ADetailer's modules that are none of ours -> ours that comes nearest."""

_SAME = {
    "weight": "ad_controlnet_weight",
    "start": "ad_controlnet_guidance_start",
    "end": "ad_controlnet_guidance_end",
}


def controls_of(given: Args, notes: list[str]) -> list[dict[str, Any]]:
    """`inpaint.control` for all of a tab's arguments; what is missing from it is noted."""
    model = str(given["ad_controlnet_model"])
    if model in ("None", ""):
        return []
    if model == "Passthrough":
        notes.append(
            "ADetailer ControlNet model 'Passthrough' takes what the web UI's own ControlNet is "
            "set to: set inpaint.control"
        )
        return []
    module = str(given["ad_controlnet_module"] or "None")
    ours = "auto" if module == "None" else _NEAREST.get(module, module)
    if ours not in ("auto", *MODULES):
        ours = "auto"
    if ours != module and module != "None":
        notes.append(f"ADetailer ControlNet module {module!r} is none of ours: {ours} instead")
    same = {name: given[arg] for name, arg in _SAME.items() if given[arg] != DEFAULTS[arg]}
    return [{"model": model, "module": ours, **same}]


def controlnet_args(controls: Sequence[Control]) -> dict[str, Any]:
    """ADetailer's arguments for the first of the ControlNets: it has one."""
    if not controls:
        return {}
    control = controls[0]
    name = PurePath(control.model.replace("\\", "/")).name
    module = "auto" if control.module == "auto" else module_of(control)
    return {
        "ad_controlnet_model": re.sub(r"\.(safetensors|ckpt|pth?|bin)$", "", name),
        "ad_controlnet_module": "None" if module in ("auto", "none") else module,
        **{arg: getattr(control, field) for field, arg in _SAME.items()},
    }
