"""Tiny LoRAs for the tiny models, in the layouts that people have."""

from __future__ import annotations

import torch

ENCODERS = {
    "sd": {"lora_te_": "text_encoder"},
    "sdxl": {"lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"},
}
"""Kind of model -> kohya's prefixes, and the text encoders they mean."""


def layers(part, kinds=("to_q", "to_k", "to_v", "q_proj", "v_proj", "fc1")):
    return {
        name: module
        for name, module in part.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(kinds)
    }


def lora(pipe, encoders, *, unet=True, seed=1):
    """A LoRA in kohya's layout; each layer has its own rank and alpha."""
    draw = torch.Generator().manual_seed(seed)
    parts = {"lora_unet_": "unet"} if unet else {}
    tensors = {}
    for prefix, part in (parts | encoders).items():
        for n, (name, module) in enumerate(layers(getattr(pipe, part)).items()):
            if part != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            key, rank = prefix + name.replace(".", "_"), 2 + n % 2
            tensors[f"{key}.lora_down.weight"] = torch.randn(
                rank, module.in_features, generator=draw
            )
            tensors[f"{key}.lora_up.weight"] = torch.randn(
                module.out_features, rank, generator=draw
            )
            tensors[f"{key}.alpha"] = torch.tensor(0.3 + 0.1 * (n % 4))
    return tensors


def as_diffusers(tensors, pipe, kind):
    """The same LoRA as diffusers writes it: alphas multiplied in."""
    parts = {"lora_unet_": ("unet_lora_layers", pipe.unet)}
    for prefix, name in ENCODERS[kind].items():
        parts[prefix] = (f"{name}_lora_layers", getattr(pipe, name))
    written = {}
    for prefix, (argument, part) in parts.items():
        written[argument] = {}
        for name in layers(part):
            full = (
                name
                if prefix == "lora_unet_" or name.startswith("text_model.")
                else f"text_model.{name}"
            )
            key = prefix + full.replace(".", "_")
            down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
            written[argument][f"{name}.lora_A.weight"] = down
            written[argument][f"{name}.lora_B.weight"] = up * tensors[f"{key}.alpha"] / len(down)
    return written
