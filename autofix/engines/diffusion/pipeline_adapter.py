"""All that autofix uses of diffusers' inside: private members, and methods that it replaces.

A release of diffusers may change any of it without a word, so pyproject.toml holds diffusers below
the next minor version. Before raising that bound, compare this module with the new release.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np


class Pipeline(Protocol):
    """What is needed of a diffusers inpainting pipeline. Its parts are torch modules.

    SD 1.x, 2.x and SDXL have all of it. The flow-matching families have a `transformer` in place
    of the `unet`, and nothing that only a UNet or CLIP needs is asked of them.
    """

    components: dict[str, Any]
    config: Any
    image_processor: Any
    mask_processor: Any
    scheduler: Any
    unet: Any
    vae: Any

    do_classifier_free_guidance: Any
    """Whether the call that runs shows the UNet a negative prompt too."""
    num_timesteps: Any
    """Steps of the call that runs."""

    load_lora_weights: Callable[..., None]
    lora_state_dict: Callable[..., tuple[dict[str, Any], Any]]
    maybe_convert_prompt: Callable[[str, Any], str]
    prepare_latents: Callable[..., tuple[Any, ...]]
    register_modules: Callable[..., None]
    set_progress_bar_config: Callable[..., None]

    def __call__(self, **arguments: Any) -> Any:
        """Inpaint; the answer's `images` are B x height x width x 3, 0 to 1."""
        ...


def execution_device(pipe: Pipeline) -> Any:
    """The torch device that computes, even while the weights wait elsewhere (`--vram`)."""
    return pipe._execution_device  # type: ignore[attr-defined]


def encode_pictures(pipe: Pipeline, values: Any, generators: Sequence[Any]) -> Any:
    """Latents as the pipeline itself would encode them (SDXL's VAE in float32 where it must)."""
    encode = pipe._encode_vae_image  # type: ignore[attr-defined]
    return encode(values, list(generators)).to(pipe.unet.dtype)


def keep_soft_masks(pipe: Pipeline) -> None:
    """Let the pipeline show its UNet a soft mask as it is, not cut at one half."""
    pipe.mask_processor.register_to_config(do_binarize=False)


def adaptable_parts(pipe: Pipeline) -> Iterator[tuple[str, Any]]:
    """Each part of the pipeline that a LoRA may change, with its name."""
    for name in getattr(pipe, "_lora_loadable_modules", ()):
        if (part := getattr(pipe, name, None)) is not None:
            yield name, part


def adapters_of(part: Any) -> Mapping[str, Any]:
    """The adapters that a part has, by name."""
    return getattr(part, "peft_config", None) or {}


def activate_adapters(part: Any, scales: Mapping[str, float]) -> None:
    """Let these adapters of a part act, as strongly as this, and no other."""
    from diffusers.utils.peft_utils import set_adapter_layers, set_weights_and_activate_adapters

    set_adapter_layers(part, enabled=bool(scales))
    if scales:
        set_weights_and_activate_adapters(part, list(scales), list(scales.values()))


def delete_adapter(pipe: Pipeline, name: str) -> None:
    """Take an adapter out of the pipeline, as far as it is in."""
    from diffusers.utils.peft_utils import delete_adapter_layers

    for _, part in adaptable_parts(pipe):
        if name in adapters_of(part):
            delete_adapter_layers(part, name)


def convert_controlnet(state: dict[str, Any], layers_per_block: int) -> dict[str, Any]:
    """A ControlNet file's tensors by diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    converted: dict[str, Any] = convert_controlnet_checkpoint(
        state, {"layers_per_block": layers_per_block}
    )
    return converted


def convert_open_clip(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors of an OpenCLIP text encoder, whose keys start with `prefix`, by diffusers' names.

    Of the model that diffusers wants it reads the width alone.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    width = tensors[f"{prefix}token_embedding.weight"].shape[1]
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=width))
    converted: dict[str, Any] = convert_open_clip_checkpoint(model, tensors, prefix)
    return converted


@contextlib.contextmanager
def replace_methods(target: Any, **methods: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, one pipeline or scheduler has these methods in place of its class's.

    Used where diffusers has no argument or callback: for a plan's timesteps and the noise of the
    start (`steps`), and for the blend before each step (`soft_inpainting`).
    """
    for name, method in methods.items():
        setattr(target, name, method)
    try:
        yield
    finally:
        for name in methods:
            delattr(target, name)


def count_lms_derivatives(scheduler: Any) -> None:
    """Let LMS begin in the middle of a schedule.

    diffusers counts on the derivatives of steps that inpainting leaves out.
    """
    own_coefficient = scheduler.get_lms_coefficient

    def get_lms_coefficient(order: int, step: int, number: int) -> float:
        known = len(scheduler.derivatives)
        return float(own_coefficient(min(order, known), step, number)) if number < known else 0.0

    scheduler.get_lms_coefficient = get_lms_coefficient


def allow_many_lcm_steps(scheduler: Any) -> None:
    """Let LCM do more steps than the 50 of its distilled schedule, where diffusers refuses."""
    own_set_timesteps = scheduler.set_timesteps

    def set_timesteps(steps: int, device: Any = None, **more: Any) -> None:
        own_set_timesteps(steps, device, original_inference_steps=max(50, steps), **more)

    scheduler.set_timesteps = set_timesteps


def space_dpm_timesteps(scheduler: Any, spacing: str, *, two_evaluations: bool) -> None:
    """A1111's timesteps for DPM++, whose own leave out the last.

    `two_evaluations`: a step is two evaluations, as A1111's are, the last one alone: diffusers
    counts each as a step, and is given one timestep between every two. `spacing` is empty for a
    schedule that is made of sigmas.
    """
    own_set_timesteps = scheduler.set_timesteps
    last = scheduler.config.num_train_timesteps - 1

    def set_timesteps(steps: int, device: Any = None, **more: Any) -> None:
        numbers = np.arange(2 * steps - 1) / 2 if two_evaluations else np.arange(steps)
        if not spacing:
            own_set_timesteps(len(numbers), device, **more)
            return
        timesteps = {
            "linspace": last * (1 - numbers / max(steps - 1, 1)),
            "trailing": last - numbers * (last + 1) / steps,
            "leading": (last + 1) // steps * (steps - 1 - numbers) + 1,
        }[spacing]
        timesteps = timesteps.round().clip(0, last).astype(int)
        own_set_timesteps(device=device, timesteps=timesteps, **more)

    scheduler.set_timesteps = set_timesteps
    scheduler.order = 2 if two_evaluations else 1
