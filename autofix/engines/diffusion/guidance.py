"""CFG: how a pipeline takes its scale, and steps without the negative prompt, at half the cost."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

from autofix.engines.diffusion.pipeline_adapter import Pipeline
from autofix.errors import RecipeError
from autofix.settings.model_sections import Sampling


def call_arguments(
    pipe: Pipeline, prompts: Sequence[str], negatives: Sequence[str] | None, cfg: float
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


def skips_guidance(sampling: Sampling) -> bool:
    """Whether the settings leave the negative prompt out of any step."""
    whole = (sampling.guidance_start, sampling.guidance_end) == (0, 1)
    return sampling.min_guidance_sigma > 0 or not whole


def check_guidance(sampling: Sampling, name: str, *, has_unet: bool) -> None:
    """Raises RecipeError where a model's CFG cannot be left out of single steps."""
    if skips_guidance(sampling) and not has_unet:
        raise RecipeError(
            f"{name} cannot leave out the negative prompt: that is for SD 1.x, 2.x and SDXL",
            "set sampling.min_guidance_sigma to 0, guidance_start to 0 and guidance_end to 1",
        )


@contextlib.contextmanager
def skip_negative_prompt(pipe: Pipeline, sampling: Sampling) -> Iterator[None]:
    """While this lasts the pipeline's UNet is shown the prompts alone at some steps.

    With CFG a pipeline gives the UNet 2B rows, negative prompts first. Where guidance is left out
    the UNet works on the other B rows, and its answer stands for both, so that CFG of any scale
    gives that very answer: with 4 and with 9 channels, and with SDXL's conditions. Hooks of the
    UNet that are registered while this lasts, as ControlNets are, meet the B rows too.

    `min_guidance_sigma` is A1111's rule: below this noise level, every second evaluation of the
    UNet, counted from the first one done. (A1111 compares it with the timestep, not with sigma, for
    DDIM, PLMS and UniPC, where it therefore never acts.) `guidance_start` and `guidance_end` are
    shares of the evaluations done, by the rule that diffusers has for ControlNets.
    """
    unet = getattr(pipe, "unet", None)
    if unet is None or not skips_guidance(sampling):
        yield
        return
    done, alone = 0, False

    def left_out(timestep: Any) -> bool:
        first, last = done / pipe.num_timesteps, (done + 1) / pipe.num_timesteps
        if first < sampling.guidance_start or last > sampling.guidance_end:
            return True
        # In this order, since to read a timestep is to wait for the GPU.
        alternate = bool(done % 2) and sampling.min_guidance_sigma > 0
        return alternate and noise_level(pipe.scheduler, timestep) < sampling.min_guidance_sigma

    def halve_batch(unet: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        nonlocal done, alone
        sample, timestep, *_ = args
        alone = pipe.do_classifier_free_guidance and left_out(timestep)
        done += 1
        return _second_half((args, given), len(sample)) if alone else None

    def double_answer(unet: Any, args: tuple[Any, ...], answer: Any) -> Any:
        return tuple(tensor.repeat(2, 1, 1, 1) for tensor in answer) if alone else None

    with (
        unet.register_forward_pre_hook(halve_batch, with_kwargs=True),
        unet.register_forward_hook(double_answer),
    ):
        yield


def noise_level(scheduler: Any, timestep: Any) -> float:
    """Sigma at a timestep, whole or not: the logarithm is linear between whole ones."""
    number = float(timestep)
    low = min(int(number), len(scheduler.alphas_cumprod) - 2)
    a = scheduler.alphas_cumprod[low : low + 2].cpu().double()
    below, above = ((1 - a) / a).log().tolist()
    return math.exp((below + (number - low) * (above - below)) / 2)


def _second_half(value: Any, rows: int) -> Any:
    """The value with each tensor of so many rows replaced by its second half."""
    if isinstance(value, dict):
        return {key: _second_half(inner, rows) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_second_half(inner, rows) for inner in value)
    is_batch = getattr(value, "ndim", 0) > 0 and len(value) == rows
    return value[rows // 2 :] if is_batch else value
