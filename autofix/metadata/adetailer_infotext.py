"""ADetailer's arguments as infotext keys, and back.

The keys, their order and which are left out are those of ADetailer 25.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Args = Mapping[str, Any]
"""The arguments of one of ADetailer's tabs, as its API takes them."""

Pairs = list[tuple[str, str]]

PREFIX = "ADetailer "
"""The prefix of each of its infotext keys."""

VERSION_KEY = "ADetailer version"
"""The last of its keys, once for all tabs."""

DEFAULTS: dict[str, Any] = {
    "ad_model": "None",
    "ad_model_classes": "",
    "ad_tab_enable": True,
    "ad_prompt": "",
    "ad_negative_prompt": "",
    "ad_confidence": 0.3,
    "ad_mask_filter_method": "Area",
    "ad_mask_k": 0,
    "ad_mask_min_ratio": 0.0,
    "ad_mask_max_ratio": 1.0,
    "ad_x_offset": 0,
    "ad_y_offset": 0,
    "ad_dilate_erode": 4,
    "ad_mask_merge_invert": "None",
    "ad_mask_blur": 4,
    "ad_denoising_strength": 0.4,
    "ad_inpaint_only_masked": True,
    "ad_inpaint_only_masked_padding": 32,
    "ad_use_inpaint_width_height": False,
    "ad_inpaint_width": 512,
    "ad_inpaint_height": 512,
    "ad_use_steps": False,
    "ad_steps": 28,
    "ad_use_cfg_scale": False,
    "ad_cfg_scale": 7.0,
    "ad_use_checkpoint": False,
    "ad_checkpoint": None,
    "ad_use_vae": False,
    "ad_vae": None,
    "ad_use_sampler": False,
    "ad_sampler": "DPM++ 2M Karras",
    "ad_scheduler": "Use same scheduler",
    "ad_use_noise_multiplier": False,
    "ad_noise_multiplier": 1.0,
    "ad_use_clip_skip": False,
    "ad_clip_skip": 1,
    "ad_restore_face": False,
    "ad_controlnet_model": "None",
    "ad_controlnet_module": "None",
    "ad_controlnet_weight": 1.0,
    "ad_controlnet_guidance_start": 0.0,
    "ad_controlnet_guidance_end": 1.0,
}
"""Every argument with its default, in the order of the infotext."""

_NAMES = {
    "ad_mask_filter_method": "method to decide top k masks",
    "ad_mask_k": "mask only top k",
    "ad_inpaint_only_masked_padding": "inpaint padding",
    "ad_cfg_scale": "CFG scale",
    "ad_use_cfg_scale": "use separate CFG scale",
    "ad_vae": "VAE",
    "ad_use_vae": "use separate VAE",
    "ad_clip_skip": "CLIP skip",
    "ad_use_clip_skip": "use separate CLIP skip",
    "ad_use_steps": "use separate steps",
    "ad_use_checkpoint": "use separate checkpoint",
    "ad_use_sampler": "use separate sampler",
    "ad_use_noise_multiplier": "use separate noise multiplier",
    **{arg: arg.removeprefix("ad_").replace("controlnet", "ControlNet").replace("_", " ")
       for arg in DEFAULTS if "controlnet" in arg},
}  # fmt: skip
NAMES = {
    arg: PREFIX + _NAMES.get(arg, arg.removeprefix("ad_").replace("_", " ")) for arg in DEFAULTS
}
"""Argument -> infotext key of the first tab."""

_ALWAYS = {"ad_model", "ad_confidence", "ad_dilate_erode", "ad_mask_blur"} | {
    "ad_denoising_strength",
    "ad_inpaint_only_masked",
}
_SWITCHES = {
    "ad_mask_k": ("ad_mask_filter_method", "ad_mask_k"),
    "ad_inpaint_only_masked": ("ad_inpaint_only_masked_padding",),
    "ad_use_inpaint_width_height": ("ad_inpaint_width", "ad_inpaint_height"),
    "ad_use_steps": ("ad_steps",),
    "ad_use_cfg_scale": ("ad_cfg_scale",),
    "ad_use_checkpoint": ("ad_checkpoint",),
    "ad_use_vae": ("ad_vae",),
    "ad_use_sampler": ("ad_sampler",),
    "ad_use_noise_multiplier": ("ad_noise_multiplier",),
    "ad_use_clip_skip": ("ad_clip_skip",),
}
"""Argument -> those that are written exactly where it is on, even with their defaults."""

_SUFFIX = re.compile(r"(ADetailer .+?)(?: (\d{1,2})(?:st|nd|rd|th))?")
_KEYS = {key: arg for arg, key in NAMES.items()}


def infotext_keys(args: Args, tab: int = 1) -> Pairs:
    """The infotext keys and values of one tab, without the version; tabs count from 1."""
    given = {**DEFAULTS, **args}
    governed = {arg: switch for switch, ruled in _SWITCHES.items() for arg in ruled}
    pairs = []
    for arg, default in DEFAULTS.items():
        value = given[arg]
        if arg in governed:
            written = bool(given[governed[arg]])
        elif arg.startswith("ad_controlnet"):
            written = given["ad_controlnet_model"] != "None" and value != default
        elif arg == "ad_scheduler":
            written = bool(given["ad_use_sampler"]) and value != default
        else:
            written = arg in _ALWAYS or (value != default and arg != "ad_tab_enable")
        if written:
            pairs.append((NAMES[arg] + ordinal(tab), str(value)))
    return pairs


def tabs_of(settings: Sequence[tuple[str, str]]) -> dict[int, dict[str, Any]]:
    """The arguments that an infotext's settings hold, by tab; a number stays a string."""
    tabs: dict[int, dict[str, Any]] = {}
    for key, value in settings:
        match = _SUFFIX.fullmatch(key)
        if match is None or match[1] not in _KEYS:
            continue
        arg = _KEYS[match[1]]
        if isinstance(DEFAULTS[arg], bool):
            parsed: Any = value.strip().lower() == "true"
        else:
            parsed = value
        tabs.setdefault(int(match[2] or 1), {})[arg] = parsed
    return tabs


def ordinal(tab: int) -> str:
    """The suffix of a tab's keys: "" for the first, " 2nd" and so on."""
    if tab == 1:
        return ""
    teens = tab % 100 in (11, 12, 13)
    return f" {tab}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(tab % 10, 'th')}"
