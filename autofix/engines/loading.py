"""Model files -> a diffusers inpainting pipeline on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autofix.engines.devices import device_and_dtype
from autofix.engines.facts import read_index
from autofix.errors import ModelError
from autofix.recipe import Inpaint


def load_folder(folder: Path, settings: Inpaint) -> Any:
    """The pipeline on its device. Pickled weights are refused: they could run code."""
    device, dtype = device_and_dtype(settings)
    import transformers
    from diffusers import AutoPipelineForInpainting
    from diffusers.utils import logging

    for logs in (logging, transformers.utils.logging):
        logs.set_verbosity_error()
        logs.disable_progress_bar()
    index = read_index(folder)
    absent: dict[str, object] = {key: None for key, value in index.items() if value == [None, None]}
    if "safety_checker" in index:
        # Its owner's pictures are fixed, not judged; a black square is no fix.
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipe = AutoPipelineForInpainting.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            **absent,
        )
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"the model in {str(folder)!r} cannot be loaded: {error}",
            "it must be a diffusers folder with safetensors weights that inpainting supports",
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
