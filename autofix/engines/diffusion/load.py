"""A model's files -> a diffusers inpainting pipeline, not yet on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.load import load_checkpoint
from autofix.engines.devices import device_and_dtype
from autofix.engines.hub import variant_in
from autofix.engines.locate import Source
from autofix.engines.model_info import read_index
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe

INPAINTING = ("FluxFillPipeline",)
"""Pipelines that inpaint and nothing else, which AutoPipelineForInpainting therefore ignores."""


def load_pipeline(source: Source, recipe: Recipe) -> Any:
    """The pipeline, in memory. Raises ModelError."""
    _silence_libraries()
    if source.kind == "checkpoint":
        pipe = load_checkpoint(
            source.path,
            device_and_dtype(recipe.device)[1],
            trust_pickle=recipe.model.trust_pickle,
            own_vae=not recipe.model.vae,
        )
    else:
        pipe = load_folder(source.path, recipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_folder(folder: Path, recipe: Recipe) -> Any:
    """The pipeline of a diffusers folder. Raises ModelError.

    Pickled weights are refused, for they could run code, unless model.trust_pickle is set.
    """
    import diffusers

    index = read_index(folder)
    _, dtype = device_and_dtype(recipe.device, transformer="unet" not in index)
    absent: dict[str, object] = {key: None for key, value in index.items() if value == [None, None]}
    if "safety_checker" in index:
        # Its owner's pictures are fixed, not judged; a black square is no fix.
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    made = index.get("_class_name")
    kind = getattr(diffusers, made if made in INPAINTING else "AutoPipelineForInpainting")
    try:
        return kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=None if recipe.model.trust_pickle else True,
            variant=variant_in(folder),
            **absent,
        )
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"the model in {str(folder)!r} cannot be loaded: {error}",
            "it must be a diffusers folder with safetensors weights that inpainting supports",
        ) from error


def _silence_libraries() -> None:
    """No progress bars and no warnings of the libraries about what is meant so."""
    import transformers
    from diffusers.utils import logging

    for logs in (logging, transformers.utils.logging):
        logs.set_verbosity_error()
        logs.disable_progress_bar()
