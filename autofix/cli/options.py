"""The options of all commands with a recipe: each sets a recipe key, and wins over the recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from autofix.errors import UsageError
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS: dict[str, tuple[str, str, str]] = {
    "--faces": ("choose.faces", "N,N", "Only these numbers, as `autofix detect` draws them."),
    "--sort": ("choose.sort", "ORDER", "none, left-right, center-edge, area."),
    "--limit": ("choose.limit", "N", "Inpaint at most so many a picture, the largest."),
    "--model": (
        "model.name",
        "NAME|DIR|FILE|ID",
        "builtin, null, a diffusers folder, a checkpoint file, a hub id.",
    ),
    "--revision": ("model.revision", "NAME", "Hub id: its branch, tag or commit."),
    "--vae": ("model.vae", "DIR|FILE", "A VAE in place of the model's own."),
    "--clip-skip": ("model.clip_skip", "N", "CLIP skip, as A1111 counts."),
    "--prompt": ("prompt.positive", "TEXT", "What to paint."),
    "--negative-prompt": ("prompt.negative", "TEXT", "What not to paint."),
    "--strength": ("inpaint.strength", "0..1[,...]", "Denoising strength, or one for each cycle."),
    "--cycles": ("inpaint.cycles", "N", "Inpaint so many times over."),
    "--candidates": ("inpaint.candidates", "N", "Inpaint with N seeds, keep the best."),
    "--masked-content": (
        "inpaint.masked_content",
        "KIND",
        "original, fill, latent-noise, latent-nothing.",
    ),
    "--steps": ("sampling.steps", "N", "Sampling steps at strength 1."),
    "--cfg": ("sampling.cfg", "X", "CFG scale."),
    "--sampler": ("sampling.sampler", "NAME", "Sampler by A1111's name."),
    "--area": ("crop.area", "AREA", "only-masked or whole-picture."),
    "--upscaler": ("crop.upscaler", "FILE", "ESRGAN-type model that scales crops up."),
    "--size": ("crop.size", "N|WxH", "Working size; auto is the model's native one."),
    "--mask-shape": ("mask.shape", "SHAPE", "box, ellipse, outline."),
    "--dilate": ("mask.dilate", "PX|%", "Grow the mask by this much, half on each side."),
    "--mask-blur": ("mask.blur", "PX|%", "Mask blur."),
    "--padding": ("crop.padding", "PX|%", "Only masked padding."),
    "--confidence": ("detect.confidence", "0..1", "Least score of a detection."),
    "--seed": ("seed", "N", "Region n is inpainted with seed + n - 1."),
    "--batch-size": ("device.batch_size", "auto|N", "Faces inpainted at once."),
    "--device": ("device.name", "NAME", "auto, cpu, cuda, cuda:1, mps."),
    "--dtype": ("device.dtype", "NAME", "auto, float32, float16, bfloat16."),
    "--vram": ("device.vram", "HOW", "auto, low (offload parts), min (offload layers)."),
}
"""Option -> (recipe key, what it takes, help). Values are checked by the recipe alone."""

NUMBERS = {
    "inpaint.strength",
    "sampling.steps",
    "sampling.cfg",
    "inpaint.cycles",
    "inpaint.candidates",
    "model.clip_skip",
    "device.batch_size",
    "detect.confidence",
    "choose.limit",
    "seed",
}
"""Recipe keys that take a number."""

LISTS = {"choose.faces", "inpaint.strength"}
"""Recipe keys that take several numbers, separated by commas."""

FLAGS: dict[str, tuple[tuple[str, ...], object, str]] = {
    "--no-check": (("check.enabled",), False, "Paste whatever comes out."),
    "--soft": (("soft.enabled",), True, "Soft inpainting."),
    "--turns": (("detect.turns",), True, "Find things that lie on their side or head too."),
    "--trust-pickle": (
        ("detect.trust_pickle", "model.trust_pickle"),
        True,
        "Load model files that can run code.",
    ),
    "--compile": (("device.compile",), True, "torch.compile the model: for long runs on a GPU."),
}
"""Option -> (recipe keys, the value it sets, help)."""


def recipe_options(command: Command) -> Command:
    """Give a command --recipe, --detector, --controlnet, and every option of OPTIONS and FLAGS."""
    for option, (_, takes, text) in reversed(OPTIONS.items()):
        command = click.option(option, metavar=takes, help=text)(command)
    for option, (_, _, text) in reversed(FLAGS.items()):
        command = click.option(option, is_flag=True, help=text)(command)
    command = click.option(
        "--detector",
        "detectors",
        multiple=True,
        metavar="NAME|FILE",
        help="A name of `autofix weights list`, a .pt or .onnx file, or scripted:boxes.json.",
    )(command)
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any setting of `autofix recipe show face`, as crop.min_scale=0.",
    )(command)
    command = click.option(
        "--controlnet",
        multiple=True,
        metavar="MODEL[:MODULE][:WEIGHT]",
        help="A ControlNet that steers the engine, as control_v11f1e_sd15_tile:tile_resample:0.6.",
    )(command)
    return click.option(
        "--recipe", default="face", show_default=True, metavar="NAME|FILE", help="The settings."
    )(command)


def root_option(text: str) -> Callable[[Command], Command]:
    """The option --root, with this help."""
    folder = click.Path(path_type=Path, file_okay=False, exists=True)
    return click.option("--root", "roots", multiple=True, type=folder, metavar="DIR", help=text)


def idle_unload_option(minutes: float) -> Callable[[Command], Command]:
    """The option --idle-unload, with this default."""
    return click.option(
        "--idle-unload",
        type=click.FloatRange(min=0),
        default=minutes,
        show_default=True,
        metavar="MINUTES",
        help="Drop the models after so long without work; 0 keeps them.",
    )


def chosen_recipe(given: dict[str, Any]) -> Recipe:
    """The recipe that a command's parameters name, with its options applied; removes them.

    Raises RecipeError for a bad recipe or value.
    """
    changes = stated_changes(given)
    recipe = load_recipe(given.pop("recipe"))
    return recipe.override(changes) if changes else recipe


def stated_changes(given: dict[str, Any]) -> dict[str, object]:
    """The recipe keys and values that a command's options set.

    Removes these options from `given`.
    """
    changes: dict[str, object] = {}
    for option, (key, _, _) in OPTIONS.items():
        value = given.pop(_parameter_name(option))
        if value is not None:
            changes[key] = _parse_value(key, value)
    for option, (keys, sets, _) in FLAGS.items():
        if given.pop(_parameter_name(option)):
            changes |= dict.fromkeys(keys, sets)
    for text in given.pop("settings"):
        changes |= _parse_setting(text)
    if detectors := given.pop("detectors"):
        changes["detect.detectors"] = list(detectors)
    if controls := given.pop("controlnet"):
        changes["inpaint.control"] = list(controls)
    return changes


def _parse_setting(text: str) -> dict[str, object]:
    """KEY=VALUE as a recipe's key and value; the value is TOML, or else a text as it stands.

    Raises UsageError.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text!r} is no KEY=VALUE", "write it as --set crop.min_scale=0")
    try:
        return {key.strip(): tomllib.loads(f"value = {value}")["value"]}
    except tomllib.TOMLDecodeError:
        return {key.strip(): value.strip()}


def _parameter_name(option: str) -> str:
    """The name of the option's value among a command's parameters."""
    return option.removeprefix("--").replace("-", "_")


def _parse_value(key: str, text: str) -> object:
    if key in LISTS and ("," in text or key not in NUMBERS):
        return [_parse_number(part) for part in text.split(",")]
    return _parse_number(text) if key in NUMBERS else text


def _parse_number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
