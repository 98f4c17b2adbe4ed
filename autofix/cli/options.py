"""The options that run and detect share: each is a recipe key, and wins over the recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from autofix.recipe import Recipe
from autofix.recipe_file import load

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS: dict[str, tuple[str, str, str]] = {
    "--model": ("inpaint.model", "NAME|DIR", "builtin, null, or a diffusers folder."),
    "--prompt": ("inpaint.prompt", "TEXT", "What to paint."),
    "--negative-prompt": ("inpaint.negative_prompt", "TEXT", "What not to paint."),
    "--strength": ("inpaint.strength", "0..1", "Denoising strength."),
    "--steps": ("inpaint.steps", "N", "Sampling steps at strength 1."),
    "--cfg": ("inpaint.cfg", "X", "CFG scale."),
    "--sampler": ("inpaint.sampler", "NAME", "Sampler by A1111's name."),
    "--size": ("crop.size", "N|WxH", "Working size; auto is the model's native one."),
    "--dilate": ("mask.dilate", "PX|%", "Grow the mask by this much, half on each side."),
    "--mask-blur": ("mask.blur", "PX|%", "Mask blur."),
    "--padding": ("crop.padding", "PX|%", "Only masked padding."),
    "--confidence": ("detect.confidence", "0..1", "Least score of a detection."),
    "--seed": ("seed", "N", "Region n is painted with seed + n."),
    "--batch-size": ("inpaint.batch_size", "auto|N", "Faces repainted at once."),
    "--device": ("inpaint.device", "NAME", "auto, cpu, cuda, cuda:1, mps."),
    "--dtype": ("inpaint.dtype", "NAME", "auto, float32, float16, bfloat16."),
}
"""Option -> (recipe key, what it takes, help). Values are checked by the recipe alone."""

NUMBERS = {"inpaint.strength", "inpaint.steps", "inpaint.cfg", "detect.confidence", "seed"} | {
    "inpaint.batch_size"
}


def recipe_options(command: Command) -> Command:
    """Give a command --recipe, --detector, --no-check and every option of OPTIONS."""
    for option, (_, takes, text) in reversed(OPTIONS.items()):
        command = click.option(option, metavar=takes, help=text)(command)
    command = click.option("--no-check", is_flag=True, help="Paste whatever comes out.")(command)
    command = click.option(
        "--trust-pickle", is_flag=True, help="Load model files that can run code."
    )(command)
    command = click.option(
        "--detector",
        "detectors",
        multiple=True,
        metavar="NAME|FILE",
        help="A name of `autofix weights list`, a .pt or .onnx file, or scripted:boxes.json.",
    )(command)
    return click.option(
        "--recipe", default="face", show_default=True, metavar="NAME|FILE", help="The settings."
    )(command)


def chosen_recipe(given: dict[str, Any]) -> Recipe:
    """The recipe that a command's parameters name, with its options applied; takes them out.

    Raises RecipeError for a recipe or a value that does not hold.
    """
    changes: dict[str, object] = {}
    for option, (key, _, _) in OPTIONS.items():
        value = given.pop(option.removeprefix("--").replace("-", "_"))
        if value is not None:
            changes[key] = _number(value) if key in NUMBERS else value
    if detectors := given.pop("detectors"):
        changes["detect.detectors"] = list(detectors)
    if given.pop("no_check"):
        changes["check.enabled"] = False
    if given.pop("trust_pickle"):
        changes["detect.trust_pickle"] = True
    recipe = load(given.pop("recipe"))
    return recipe.override(changes) if changes else recipe


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
