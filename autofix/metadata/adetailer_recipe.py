"""One of ADetailer's tabs as one pass of a recipe, and back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from autofix.errors import RecipeError
from autofix.metadata.adetailer_infotext import DEFAULTS, NAMES, Args
from autofix.settings.control_modules import MODULES, module_of
from autofix.settings.model_sections import Control
from autofix.settings.recipe import Recipe
from autofix.settings.region_sections import PADDING, Detect
from autofix.settings.sampler_names import check_sampler
from autofix.settings.units import Share
from autofix.values import Region, RegionResult

Settings = dict[str, dict[str, Any]]
"""Sections of a recipe, as plain data."""

YOLO_NAMES = {"face_yolov8n", "face_yolov8s", "hand_yolov8n", "person_yolov8n-seg"}
"""Detectors that both know, here without the .pt."""

_MEDIAPIPE = {
    "mediapipe_face_short": "blazeface",
    "mediapipe_face_full": "blazeface-full",
    "mediapipe_face_mesh": "blazeface",
    "mediapipe_face_mesh_eyes_only": "blazeface",
}
_BLAZEFACE = {"blazeface": "mediapipe_face_short", "blazeface-full": "mediapipe_face_full"}
_CONFIDENCE = {"blazeface": 0.75, "blazeface-full": 0.75, "hands": 0.75}
"""Our detectors whose scores run higher -> ADetailer's confidence where ours is auto."""

_MERGES = {"None": "none", "Merge": "merge", "Merge and Invert": "merge-invert"}

_MAIN_VAE = (None, "", "None", "Automatic", "Use same VAE")
"""Values of `ad_vae` that stand for the VAE of the whole picture."""

_MAIN_SCHEDULER = ("Use same scheduler", "Automatic", "")
"""Values of `ad_scheduler` that stand for the scheduler of the whole picture."""

_DEFAULT_SIDE_PX = 100.0
"""Side of the box where nothing was inpainted: our shares of it are ADetailer's pixels."""

_NEAREST_MODULE = {
    "inpaint_only+lama": "inpaint_only",
    "tile_colorfix": "tile_resample",
    "tile_colorfix+sharp": "tile_resample",
    "dw_openpose_full": "openpose_full",
    "depth_hand_refiner": "depth_midas",
}
"""ADetailer's ControlNet modules that are none of ours -> ours that comes nearest."""

_CONTROL_ARGS = {
    "weight": "ad_controlnet_weight",
    "start": "ad_controlnet_guidance_start",
    "end": "ad_controlnet_guidance_end",
}
"""Settings of `inpaint.control` -> arguments with the same values."""

_NO_COUNTERPART = {
    "ad_checkpoint": "name the file, or a diffusers folder, in model.name",
    "ad_restore_face": "add a pass whose model.name is a face-restoration file",
}
"""Argument -> what to do instead."""


def args_of(recipe: Recipe, results: Sequence[RegionResult]) -> dict[str, Any]:
    """The arguments with which ADetailer would come nearest to a recipe without passes.

    A share becomes pixels by the first inpainted region's box; a padding of "auto" is that of a
    common checkpoint, whatever our model asks for. ADetailer knows no rules in prompts: a prompt
    with rules becomes the parts that the regions got, in order.
    """
    detect, choose, mask, crop = recipe.detect, recipe.choose, recipe.mask, recipe.crop
    prompt, sampling, inpaint = recipe.prompt, recipe.sampling, recipe.inpaint
    inpainted = [result.region for result in results if result.status == "fixed"]
    boxes = [region.detection for region in inpainted]
    side = max(boxes[0].width, boxes[0].height) if boxes else _DEFAULT_SIDE_PX
    padding = PADDING if crop.padding == "auto" else crop.padding

    def to_px(length: Share) -> int:
        return round(length.px(side))

    args: dict[str, Any] = {
        "ad_model": ", ".join(map(_model_name, detect.detectors)),
        "ad_model_classes": ", ".join(detect.classes),
        "ad_prompt": _prompt_text(prompt.positive, [r.region.prompt for r in results]),
        "ad_negative_prompt": _prompt_text(
            prompt.negative, [r.region.negative_prompt for r in results]
        ),
        "ad_confidence": _confidence_of(detect),
        "ad_mask_filter_method": choose.limit_by.capitalize(),
        "ad_mask_k": choose.limit,
        "ad_mask_min_ratio": choose.min_ratio,
        "ad_mask_max_ratio": choose.max_ratio,
        "ad_x_offset": to_px(mask.offset_x),
        "ad_y_offset": to_px(mask.offset_y),
        "ad_dilate_erode": to_px(mask.dilate),
        "ad_mask_merge_invert": {ours: theirs for theirs, ours in _MERGES.items()}[mask.merge],
        "ad_mask_blur": to_px(mask.blur),
        "ad_denoising_strength": _strength_of(inpaint.strength, inpainted),
        "ad_inpaint_only_masked": crop.area == "only-masked",
        "ad_inpaint_only_masked_padding": to_px(padding),
    }
    if crop.size != "auto":
        args["ad_use_inpaint_width_height"] = True
        args["ad_inpaint_width"], args["ad_inpaint_height"] = crop.size
    own = (("steps", sampling.steps), ("sampler", sampling.sampler), ("cfg_scale", sampling.cfg))
    for name, value in own:
        if value != "auto":
            args |= {f"ad_use_{name}": True, f"ad_{name}": value}
    if recipe.model.vae:
        args |= {"ad_use_vae": True, "ad_vae": _file_name(recipe.model.vae)}
    if recipe.model.clip_skip != DEFAULTS["ad_clip_skip"]:
        args |= {"ad_use_clip_skip": True, "ad_clip_skip": recipe.model.clip_skip}
    if sampling.noise_multiplier != DEFAULTS["ad_noise_multiplier"]:
        args |= {"ad_use_noise_multiplier": True, "ad_noise_multiplier": sampling.noise_multiplier}
    return args | _control_args(inpaint.control)


def settings_of(args: Args, main: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """A pass that does what ADetailer does with these arguments, and what is missing from it.

    `main` holds what was set for the whole picture, as far as known: steps, cfg, sampler, size.
    ADetailer takes it wherever a tab has no setting of its own. Values are not checked here.
    """
    given = {**DEFAULTS, **args}
    notes = [f"{key} is no argument of ADetailer" for key in args if key not in DEFAULTS]
    settings = _tab_sections(given, _detector_name(str(given["ad_model"]), notes))
    own = {**main, **_own_settings(given)}
    if "size" in own:
        settings["crop"]["size"] = own.pop("size")
    if (sampler := str(own.pop("sampler", "auto"))) != "auto":
        try:
            own["sampler"] = check_sampler(sampler)
        except RecipeError as error:
            notes.append(f"sampler {sampler!r} is none of ours: {error.advice}")
    settings["sampling"] |= own
    settings["model"] = _model_settings(given)
    if controls := _control_settings(given, notes):
        settings["inpaint"]["control"] = controls
    return settings, notes + [
        f"{NAMES[arg]} {str(given[arg])!r} has no counterpart: {advice}"
        for arg, advice in _NO_COUNTERPART.items()
        if given.get(arg.replace("ad_", "ad_use_", 1), True)
        and given[arg] not in (DEFAULTS[arg], None)
    ]


def _tab_sections(given: Args, detector: str) -> Settings:
    """The settings that every tab has."""
    classes = [name.strip() for name in str(given["ad_model_classes"]).split(",")]
    detect = {"detectors": [detector], "classes": [name for name in classes if name]}
    confidence = given["ad_confidence"]
    if detector not in _CONFIDENCE or str(confidence) != str(DEFAULTS["ad_confidence"]):
        detect["confidence"] = confidence
    return {
        "detect": detect,
        "choose": {
            "sort": "none",
            "min_ratio": given["ad_mask_min_ratio"],
            "max_ratio": given["ad_mask_max_ratio"],
            "limit": given["ad_mask_k"],
            "limit_by": str(given["ad_mask_filter_method"]).lower(),
        },
        "mask": {
            "shape": "outline" if "-seg" in detector or "mesh" in given["ad_model"] else "box",
            "offset_x": given["ad_x_offset"],
            "offset_y": given["ad_y_offset"],
            "dilate": given["ad_dilate_erode"],
            "merge": _MERGES.get(given["ad_mask_merge_invert"], given["ad_mask_merge_invert"]),
            "blur": given["ad_mask_blur"],
        },
        "crop": {
            "area": "only-masked" if given["ad_inpaint_only_masked"] else "whole-picture",
            "padding": given["ad_inpaint_only_masked_padding"],
        },
        "prompt": {
            "positive": given["ad_prompt"],
            "negative": given["ad_negative_prompt"],
        },
        "sampling": {},
        "inpaint": {"strength": given["ad_denoising_strength"]},
    }


def _own_settings(given: Args) -> dict[str, Any]:
    """What a tab sets instead of what holds for the whole picture."""
    own: dict[str, Any] = {}
    if given["ad_use_inpaint_width_height"]:
        own["size"] = f"{given['ad_inpaint_width']}x{given['ad_inpaint_height']}"
    if given["ad_use_steps"]:
        own["steps"] = given["ad_steps"]
    if given["ad_use_cfg_scale"]:
        own["cfg"] = given["ad_cfg_scale"]
    if given["ad_use_sampler"]:
        own["sampler"] = sampler_name(given["ad_sampler"], given["ad_scheduler"])
    if given["ad_use_noise_multiplier"]:
        own["noise_multiplier"] = given["ad_noise_multiplier"]
    return own


def _model_settings(given: Args) -> dict[str, Any]:
    """A tab's own VAE, a name that is looked for in the models folders, and its own CLIP skip."""
    settings: dict[str, Any] = {}
    if given["ad_use_vae"] and given["ad_vae"] not in _MAIN_VAE:
        settings["vae"] = given["ad_vae"]
    if given["ad_use_clip_skip"]:
        settings["clip_skip"] = given["ad_clip_skip"]
    return settings


def _control_settings(given: Args, notes: list[str]) -> list[dict[str, Any]]:
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
    ours = "auto" if module == "None" else _NEAREST_MODULE.get(module, module)
    if ours not in ("auto", *MODULES):
        ours = "auto"
    if ours != module and module != "None":
        notes.append(f"ADetailer ControlNet module {module!r} is none of ours: {ours} instead")
    same = {name: given[arg] for name, arg in _CONTROL_ARGS.items() if given[arg] != DEFAULTS[arg]}
    return [{"model": model, "module": ours, **same}]


def _control_args(controls: Sequence[Control]) -> dict[str, Any]:
    """ADetailer's arguments for the first of the ControlNets: it has one."""
    if not controls:
        return {}
    control = controls[0]
    name = _file_name(control.model)
    module = "auto" if control.module == "auto" else module_of(control)
    return {
        "ad_controlnet_model": re.sub(r"\.(safetensors|ckpt|pth?|bin)$", "", name),
        "ad_controlnet_module": "None" if module in ("auto", "none") else module,
        **{arg: getattr(control, field) for field, arg in _CONTROL_ARGS.items()},
    }


def sampler_name(sampler: str, scheduler: str) -> str:
    """A1111's older name of a sampler with its scheduler: "DPM++ 2M Karras".

    Automatic is what A1111 chooses for the sampler.
    """
    if scheduler == "Automatic":
        with contextlib.suppress(RecipeError):
            return check_sampler(f"{sampler} {scheduler}")
    alone = scheduler in _MAIN_SCHEDULER or sampler.endswith(scheduler)
    return sampler if alone else f"{sampler} {scheduler}"


def _model_name(detector: str) -> str:
    """ADetailer's name of a detector; of a file its name alone."""
    if detector in _BLAZEFACE:
        return _BLAZEFACE[detector]
    return f"{detector}.pt" if detector in YOLO_NAMES else _file_name(detector)


def _file_name(path: str) -> str:
    """Without its folders, whichever system they are of."""
    return PurePath(path.replace("\\", "/")).name


def _detector_name(model: str, notes: list[str]) -> str:
    if model in _MEDIAPIPE:
        if "eyes_only" in model:
            notes.append(f"{model} masks the eyes alone; here the whole face is its mask")
        return _MEDIAPIPE[model]
    if model.removesuffix(".pt") in YOLO_NAMES:
        return model.removesuffix(".pt")
    notes.append(f"the detector {model!r} is no known one: put its file's path in detect.detectors")
    return model


def _confidence_of(settings: Detect) -> float:
    if settings.confidence == "auto":
        return float(_CONFIDENCE.get(settings.detectors[0], DEFAULTS["ad_confidence"]))
    return settings.confidence


def _prompt_text(written: str, got: Sequence[str]) -> str:
    return " [SEP] ".join(filter(None, got)) if "[SEP:" in written else written


def _strength_of(given: str | float | tuple[float, ...], inpainted: Sequence[Region]) -> float:
    """The strength that was set; of several that of the first cycle; of auto what was used."""
    if isinstance(given, str):
        used = inpainted[0].strength if inpainted else float(DEFAULTS["ad_denoising_strength"])
        return round(used, 4)
    return given[0] if isinstance(given, tuple) else given
