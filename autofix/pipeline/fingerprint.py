"""The files that a recipe names beside its model: when one changes, its results are outdated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from autofix.engines.diffusion.lora_tags import find_lora, read_tag, split_tags
from autofix.engines.model_info import identity
from autofix.errors import ModelError
from autofix.pipeline.plugins import plugin_identity
from autofix.settings.model_folders import Kind, model_folders
from autofix.settings.recipe import Recipe


def files_identity(recipe: Recipe) -> str:
    """Changes with any of the files, in words without spaces; see `engines.info.identity`.

    What is not there is left out: opening it reports that. Weights from the manifest have one
    content for each version of autofix, and LoRAs that a picture's own prompt names are its own.
    """
    files = [identity(path) for one in recipe.each_pass for path in _named_files(one)]
    names = [name for one in recipe.each_pass for name in one.detect.detectors]
    return " ".join(filter(None, [*files, *map(_plugin_detector, names)]))


def _plugin_detector(name: str) -> str:
    return plugin_identity("autofix.detectors", name)


def _named_files(recipe: Recipe) -> Iterator[Path]:
    named: list[tuple[Kind, str]] = [
        ("detector", given.removeprefix("scripted:")) for given in recipe.detect.detectors
    ]
    named += [("controlnet", control.model) for control in recipe.inpaint.control]
    folders = model_folders()
    for kind, name in named:
        with contextlib.suppress(ModelError):
            if found := folders.path_or_model(kind, name):
                yield found
    if (upscaler := Path(recipe.crop.upscaler).expanduser()).is_file():
        yield upscaler
    for tag in split_tags(recipe.prompt.positive)[1]:
        with contextlib.suppress(ModelError):
            yield find_lora(read_tag(tag)[0], folders)
