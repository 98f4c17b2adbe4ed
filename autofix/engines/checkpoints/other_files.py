"""Recognises files that are no checkpoints, for the error message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autofix.engines.checkpoints.weight_file import VAES, Header
from autofix.errors import ModelError

_Test = Callable[[Header], bool]

_OTHERS: tuple[tuple[str, _Test, str], ...] = (
    (
        "a LoRA",
        lambda h: (
            h.starts("lora_unet_", "lora_te")
            or h.holds(
                ".lora_down.", ".lora_A.", ".lora.down.", ".hada_w1_", ".lokr_w", "_lora.down."
            )
        ),
        "keep your checkpoint as --model and write <lora:NAME:1> in the prompt",
    ),
    (
        "a ControlNet",
        lambda h: h.starts("control_model.", "controlnet_", "lllite_", "control_"),
        "keep your checkpoint as --model and name this file in inpaint.control",
    ),
    (
        "an IP-Adapter",
        lambda h: h.starts("image_proj.", "ip_adapter."),
        "--model takes a checkpoint",
    ),
    ("an AnimateDiff motion module", lambda h: h.holds("motion_modules."), "take a checkpoint"),
    (
        "a textual inversion embedding",
        lambda h: (
            "emb_params" in h
            or h.starts("string_to_param")
            or set(h.shapes) == {"clip_l", "clip_g"}
        ),
        "put it in the embeddings folder and write its name in the prompt",
    ),
    (
        "a face restoration model",
        lambda h: (
            h.holds("stylegan_decoder", "fuse_convs_dict.")
            or (h.starts("quantize.", "vqvae.") and h.starts("encoder.", "vqvae."))
        ),
        "give it as --model; if that is what you did, it is none that can be used",
    ),
    (
        "an upscaler (ESRGAN)",
        lambda h: h.starts("conv_first.", "model.0.weight", "model.1.sub.", "params_ema"),
        "use it as --upscaler and keep a checkpoint as --model",
    ),
    (
        "Stable Diffusion 3",
        lambda h: h.holds("joint_blocks.0."),
        "as a single file it cannot be used; give its diffusers folder or hub id, for example "
        "stabilityai/stable-diffusion-3.5-medium",
    ),
    (
        "Flux",
        lambda h: h.holds("double_blocks.0."),
        "as a single file it cannot be used: it holds no text encoders; give a diffusers folder or "
        "hub id, for example black-forest-labs/FLUX.1-dev",
    ),
    (
        "Z-Image",
        lambda h: h.holds("noise_refiner.0.") and h.holds("cap_embedder."),
        "as a single file it cannot be used; give its diffusers folder or hub id, for example "
        "Tongyi-MAI/Z-Image-Turbo",
    ),
    (
        "Qwen-Image",
        lambda h: h.holds("transformer_blocks.0.img_mod."),
        "as a single file it cannot be used; give its diffusers folder or hub id, for example "
        "Qwen/Qwen-Image",
    ),
    (
        "one part of a diffusers model",
        lambda h: h.starts("down_blocks.", "transformer_blocks.", "time_embedding."),
        "give the folder that holds its model_index.json",
    ),
    (
        "a VAE",
        lambda h: h.starts("encoder.", "decoder.", *VAES) and h.holds("conv_in.", "decoder.layers"),
        "keep your checkpoint as --model and give this file as --vae",
    ),
    (
        "a text encoder",
        lambda h: h.starts("text_model.", "transformer.resblocks.", "encoder.block.", "shared."),
        "--model takes a whole checkpoint or a diffusers folder",
    ),
    (
        "a denoiser (UNet) without VAE and text encoder",
        lambda h: h.starts("input_blocks."),
        "take the whole checkpoint",
    ),
)
"""Kinds of files in models folders: name, how to recognise it, and what to do with it."""


def not_a_checkpoint(path: Path, header: Header) -> ModelError:
    """The error for a file that is no checkpoint: names its kind, and what to do with it."""
    for what, is_one, advice in _OTHERS:
        if is_one(header):
            return ModelError(f"{path.name!r} is {what}", advice)
    some = ", ".join(sorted(header.shapes)[:3]) or "nothing"
    return ModelError(
        f"{path.name!r} is no checkpoint that autofix knows (it holds {some}, ...)",
        "take an SD 1.x, SD 2.x or SDXL checkpoint, or a diffusers folder",
    )
