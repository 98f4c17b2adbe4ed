"""Shapes of a checkpoint's tensors -> the configs of its models.

Settings that no shape tells (activations, heads, noise schedule) are the family's, in `configs`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autofix.engines.checkpoints.weight_file import Header
from autofix.errors import ModelError

HEAD = 64
"""Channels of an attention head in SD 2.x, SDXL and every CLIP; SD 1.x has 8 heads of any width."""


def unet_config(unet: Header, family: str) -> dict[str, Any]:
    """Settings of UNet2DConditionModel by a denoiser's shapes. Raises ModelError."""
    blocks: list[list[tuple[int, int]]] = [[]]
    for number in range(1, _count_blocks(unet, r"input_blocks\.(\d+)\.")):
        at = f"input_blocks.{number}"
        if f"{at}.0.op.weight" in unet:
            blocks.append([])
            continue
        channels = _shape_of(unet, f"{at}.0.out_layers.3.weight")[0]
        blocks[-1].append((channels, _transformer_depth(unet, f"{at}.1")))
    layers = {len(block) for block in blocks}
    if len(layers) != 1 or any(len(set(block)) != 1 for block in blocks):
        raise _unlike_error()
    widths = [block[0][0] for block in blocks]
    depths = [block[0][1] for block in blocks]
    # The middle is as deep as the last block, unless that block has no attention.
    middle = depths[-1] or _transformer_depth(unet, "middle_block.1") or 1
    each_up = [deep for deep in depths[::-1] for _ in range(len(blocks[0]) + 1)]
    ups = [_transformer_depth(unet, f"output_blocks.{number}.1") for number in range(len(each_up))]
    if ups != each_up or _transformer_depth(unet, "middle_block.1") != middle:
        raise _unlike_error()
    projection = _first_shape(unet, r"transformer_blocks\.0\.attn2\.to_k\.weight")
    config: dict[str, Any] = {
        "in_channels": _shape_of(unet, "input_blocks.0.0.weight")[1],
        "out_channels": _shape_of(unet, "out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": layers.pop(),
        "down_block_types": [("CrossAttn" if deep else "") + "DownBlock2D" for deep in depths],
        "up_block_types": [("CrossAttn" if deep else "") + "UpBlock2D" for deep in depths[::-1]],
        "transformer_layers_per_block": [*(deep or 1 for deep in depths[:-1]), middle],
        "cross_attention_dim": projection[1],
        "use_linear_projection": len(_first_shape(unet, r"\.1\.proj_in\.weight")) == 2,
    }
    if family != "sd1":
        config["attention_head_dim"] = [max(1, width // HEAD) for width in widths]
    if "label_emb.0.0.weight" in unet:
        config["projection_class_embeddings_input_dim"] = _shape_of(unet, "label_emb.0.0.weight")[1]
    return config


def vae_config(vae: Header) -> dict[str, Any]:
    """Settings of AutoencoderKL by a VAE's shapes. Raises ModelError."""
    count = _count_blocks(vae, r"encoder\.down\.(\d+)\.")
    layers = _count_blocks(vae, r"encoder\.down\.0\.block\.(\d+)\.")
    last = f"block.{layers - 1}.conv2.weight"
    return {
        "block_out_channels": [_shape_of(vae, f"encoder.down.{n}.{last}")[0] for n in range(count)],
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
        "layers_per_block": layers,
        "latent_channels": _shape_of(vae, "decoder.conv_in.weight")[1],
    }


def clip_config(clip: Header, projection: Sequence[int] = ()) -> dict[str, Any]:
    """Settings of CLIPTextConfig by a text encoder's shapes, their keys without "text_model.".

    `projection` is the shape of its text projection, where it has one.
    """
    vocabulary, width = _shape_of(clip, "embeddings.token_embedding.weight")
    config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape_of(clip, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _count_blocks(clip, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": _shape_of(clip, "embeddings.position_embedding.weight")[0],
    }
    return config | ({"projection_dim": projection[0]} if projection else {})


def _unlike_error() -> ModelError:
    return ModelError(
        "its denoiser is not built like those of its family: its blocks are of unlike depths",
        "take another checkpoint, or its diffusers folder",
    )


def _transformer_depth(unet: Header, at: str) -> int:
    """How many transformer blocks are at a place; 0 where there is no attention."""
    return _count_blocks(unet, re.escape(f"{at}.transformer_blocks.") + r"(\d+)\.")


def _count_blocks(header: Header, pattern: str) -> int:
    """One more than the largest number that the pattern's group matches; 0 for none."""
    found = (re.match(pattern, key) for key in header.shapes)
    return max((int(match[1]) for match in found if match), default=-1) + 1


def _shape_of(header: Header, key: str) -> tuple[int, ...]:
    try:
        return header.shapes[key]
    except KeyError:
        raise ModelError(
            f"it holds no {key!r}", "take another checkpoint, or download it again"
        ) from None


def _first_shape(header: Header, pattern: str) -> tuple[int, ...]:
    """The shape of the first key in which the pattern is found."""
    for key, shape in header.shapes.items():
        if re.search(pattern, key):
            return shape
    raise ModelError("its denoiser has no attention to prompts", "take another checkpoint")
