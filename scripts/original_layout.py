"""A diffusers pipeline of SD 1.x, SD 2.x or SDXL -> a checkpoint file in the original layout.

The way back of what `autofix.engines.checkpoints.load` does: the names under which A1111, ComfyUI
and the first authors keep their tensors. For tests and measurements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]
Rules = tuple[tuple[str, str], ...]

_RESNET: Rules = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
_UNET: Rules = (
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
)
_VAE: Rules = (
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
)
_OPEN_CLIP: Rules = (
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
)


def original(pipe: Any) -> Tensors:
    """The pipeline's tensors by their original names."""
    is_xl = hasattr(pipe, "text_encoder_2")
    tensors = {f"model.diffusion_model.{key}": each for key, each in unet(pipe.unet)}
    tensors |= {f"first_stage_model.{key}": each for key, each in vae(pipe.vae)}
    if is_xl:
        first = "conditioner.embedders.0.transformer.text_model."
        tensors |= {f"{first}{key}": each for key, each in _clip(pipe.text_encoder).items()}
        tensors |= _open_clip(pipe.text_encoder_2, "conditioner.embedders.1.model.")
    elif pipe.text_encoder.config.hidden_act == "gelu":
        tensors |= _open_clip(pipe.text_encoder, "cond_stage_model.model.")
    else:
        first = "cond_stage_model.transformer.text_model."
        tensors |= {f"{first}{key}": each for key, each in _clip(pipe.text_encoder).items()}
    return tensors


def save(pipe: Any, path: Path, metadata: Mapping[str, str] | None = None, **more: Any) -> Path:
    """Write a pipeline as one safetensors file; `more` are tensors besides."""
    from safetensors.torch import save_file

    tensors = {key: each.contiguous() for key, each in original(pipe).items()} | more
    save_file(tensors, path, metadata=dict(metadata or {}))
    return path


def unet(model: Any) -> Iterator[tuple[str, Any]]:
    """A UNet's tensors by their original names, without "model.diffusion_model."."""
    layers = model.config.layers_per_block + 1
    for key, tensor in model.state_dict().items():
        if place := re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", key):
            side, block, kind, number, rest = place.groups()
            first = int(block) * layers
            if side == "down" and kind == "downsamplers":
                name = f"input_blocks.{first + layers}.0.op.{rest.removeprefix('conv.')}"
            elif kind == "upsamplers":
                deep = "CrossAttn" in model.config.up_block_types[int(block)]
                name = f"output_blocks.{first + layers - 1}.{2 if deep else 1}.{rest}"
            else:
                at = first + int(number) + (side == "down")
                where = "input_blocks" if side == "down" else "output_blocks"
                name = f"{where}.{at}.{1 if kind == 'attentions' else 0}.{rest}"
        else:
            name = _renamed(key, _UNET)
        within = "attentions" in key
        yield (name if within else _renamed(name, _RESNET)), tensor


def vae(model: Any) -> Iterator[tuple[str, Any]]:
    """A VAE's tensors by their original names, without "first_stage_model."."""
    last = len(model.config.block_out_channels) - 1
    for key, tensor in model.state_dict().items():
        name = _renamed(key, _VAE)
        if up := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers\.0)\.(.+)", name):
            inner = "block" if up[2] == "resnets" else "upsample"
            name = f"decoder.up.{last - int(up[1])}.{inner}.{up[3]}"
        if re.search(r"\.attn_1\.(q|k|v|proj_out)\.weight", name):
            tensor = tensor[:, :, None, None]  # a convolution there
        yield name, tensor


def _clip(model: Any) -> Tensors:
    """A text encoder's tensors as transformers names them, without "text_model."."""
    return {key.removeprefix("text_model."): each for key, each in model.state_dict().items()}


def _open_clip(model: Any, prefix: str) -> Tensors:
    import torch

    tensors: Tensors = {}
    packed: dict[str, dict[str, Any]] = {}
    for key, tensor in _clip(model).items():
        if part := re.fullmatch(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)", key):
            name = _renamed(f"{part[1]}.attn.in_proj_{part[3]}", _OPEN_CLIP)
            packed.setdefault(name, {})[part[2]] = tensor
        elif key == "text_projection.weight":
            tensors["text_projection"] = tensor.T
        else:
            tensors[_renamed(key, _OPEN_CLIP)] = tensor
    tensors |= {name: torch.cat([each[part] for part in "qkv"]) for name, each in packed.items()}
    return {f"{prefix}{key}": each for key, each in tensors.items()}


def _renamed(key: str, rules: Rules) -> str:
    for pattern, name in rules:
        key = re.sub(pattern, name, key)
    return key
