"""How the pipelines whose prompts go in as text are told of them, each in its own words."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any


def call_arguments(
    pipe: Any, prompts: Sequence[str], negatives: Sequence[str] | None, cfg: float
) -> dict[str, Any]:
    """Prompts and CFG scale as this pipeline takes them; what it does not take is left out.

    Flux was distilled with its guidance as an input: that is its scale, without negative prompts.
    Where a pipeline has `true_cfg_scale` beside it, as Qwen-Image has, that is the CFG scale.
    `negatives` is None where the scale asks for none.
    """
    takes = inspect.signature(type(pipe).__call__).parameters
    arguments: dict[str, Any] = {"prompt": list(prompts)}
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    embedded = bool(denoiser.config.get("guidance_embeds", False))
    if "true_cfg_scale" not in takes or embedded:
        # Z-Image alone counts from 0: there 0 means none, as 1 does elsewhere.
        from_zero = type(pipe).__name__.startswith("ZImage")
        arguments["guidance_scale"] = 0.0 if from_zero and cfg <= 1 else cfg
    else:
        arguments["true_cfg_scale"] = cfg
    if negatives is not None and "negative_prompt" in takes and not embedded:
        arguments["negative_prompt"] = list(negatives)
    return arguments
