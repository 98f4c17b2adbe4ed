"""ControlNet files and folders -> a ControlNet for a UNet. No network."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.families import FAMILY_OF_WIDTH
from autofix.engines.checkpoints.weight_file import tensor_reader
from autofix.engines.diffusion.pipeline_adapter import convert_controlnet
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe

_IMAGE_LAYERS = {
    "controlnet_cond_embedding.conv_in.weight",
    "input_hint_block.0.weight",
    "control_model.input_hint_block.0.weight",
}
"""The layer that reads the control image, in the three layouts that files have."""


def load_controlnet(path: Path, unet: Any, recipe: Recipe) -> Any:
    """A ControlNet of the UNet's family, on the CPU in the file's precision. Raises ModelError."""
    try:
        net = (_load_folder if path.is_dir() else _load_file)(path, unet, recipe)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"the ControlNet {path.name!r} cannot be loaded: {str(error).splitlines()[0]}",
            "it must be a ControlNet of the model's own family, complete: download it again",
        ) from error
    return net.eval()


def _load_folder(path: Path, unet: Any, recipe: Recipe) -> Any:
    import diffusers

    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name = config.get("_class_name")
    if name not in ("ControlNetModel", "ControlNetUnionModel"):
        raise _no_controlnet(path, f"a {name}")
    _check_width(path, config.get("cross_attention_dim"), unet)
    stem = "diffusion_pytorch_model"
    half = (path / f"{stem}.fp16.safetensors").is_file()
    return getattr(diffusers, name).from_pretrained(
        path,
        dtype=unet.dtype,
        local_files_only=True,
        use_safetensors=None if recipe.model.trust_pickle else True,
        variant="fp16" if half and not (path / f"{stem}.safetensors").is_file() else None,
    )


def _load_file(path: Path, unet: Any, recipe: Recipe) -> Any:
    import diffusers
    import torch

    read = tensor_reader(path, trust_pickle=recipe.model.trust_pickle)
    state = read("control_model.") or read("")  # a file may hold a whole model too
    if not _IMAGE_LAYERS & state.keys():
        raise _no_controlnet(path, "something else (perhaps a Control-LoRA or a T2I adapter)")
    state = convert_controlnet(state, unet.config.layers_per_block)
    keys = [key for key in state if key.endswith("attn2.to_k.weight")]
    _check_width(path, state[keys[0]].shape[1] if keys else None, unet)
    union = "task_embedding" in state
    kind = diffusers.ControlNetUnionModel if union else diffusers.ControlNetModel
    config = {**unet.config, **_config_from_shapes(state)}
    known = inspect.signature(kind.__init__).parameters
    with torch.device("meta"):
        net = kind(**{key: value for key, value in config.items() if key in known})
    net.load_state_dict(state, assign=True)
    return net


def _config_from_shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the config that the weights' shapes tell; the rest is that of the UNet."""
    blocks = [
        f"down_blocks.{n}." for n in range(9) if f"down_blocks.{n}.resnets.0.conv1.weight" in state
    ]
    attending = [any(key.startswith(f"{b}attentions") for key in state) for b in blocks]
    middle = any(key.startswith("mid_block.attentions") for key in state)
    depths = [_count_blocks(state, f"{b}attentions.0.transformer_blocks.") for b in blocks]
    if not attending[-1]:  # then the last number is that of the middle
        depths[-1] = _count_blocks(state, "mid_block.attentions.0.transformer_blocks.")
    embedding = "controlnet_cond_embedding."
    reading = [f"{embedding}conv_in.weight"]
    reading += [f"{embedding}blocks.{n}.weight" for n in range(1, 20, 2)]
    shaped = {
        "in_channels": state["conv_in.weight"].shape[1],
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attending
        ),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": tuple(depths),
        "conditioning_embedding_out_channels": tuple(
            state[key].shape[0] for key in reading if key in state
        ),
        # Only a UNet has these, where an IP-Adapter set them.
        "encoder_hid_dim": None,
        "encoder_hid_dim_type": None,
    }
    if "task_embedding" in state:
        kinds, width = state["task_embedding"].shape
        shaped |= {
            "num_control_type": kinds,
            "num_trans_channel": width,
            "num_trans_layer": _count_blocks(
                state, "transformer_layes."
            ),  # diffusers' own spelling
            "num_proj_channel": width,
        }
    return shaped


def _count_blocks(state: Mapping[str, Any], start: str) -> int:
    """How many different numbers follow this start of a key."""
    return len({key[len(start) :].split(".")[0] for key in state if key.startswith(start)})


def _check_width(path: Path, width: int | None, unet: Any) -> None:
    """Raises ModelError where the UNet reads text embeddings of another width."""
    wanted = unet.config.cross_attention_dim
    if width is not None and width != wanted:
        of, model = (
            FAMILY_OF_WIDTH.get(wide, f"text embeddings {wide} wide") for wide in (width, wanted)
        )
        raise ModelError(
            f"the ControlNet {path.name!r} is for {of}, but the model is for {model}",
            "take one of the model's own family, or another --model",
        )


def _no_controlnet(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path.name!r} is no ControlNet for SD 1.x, 2.x or SDXL, but {what}",
        "name one in inpaint.control",
    )
