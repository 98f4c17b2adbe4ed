"""LoRA files -> weights beside a pipeline's own, in kohya's layout and in diffusers'."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.families import FAMILY_OF_WIDTH
from autofix.engines.checkpoints.weight_file import Header, read_header, read_tensors
from autofix.engines.diffusion.pipeline_adapter import Pipeline, adaptable_parts
from autofix.engines.memory import out_of_memory
from autofix.errors import ModelError

_DOWN = re.compile(r"(lora_down|lora_A|lora\.down|lora_linear_layer\.down)\.weight$")
_READS_PROMPT = re.compile(r"attn2[._]to_k[._].*down|attn2[._]to_k[._].*lora_A")
_KOHYA_UNET = "lora_unet_"
_KOHYA_ENCODERS = {
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
_KOHYA = (_KOHYA_UNET, *_KOHYA_ENCODERS)
_OTHER_KINDS = {"hada_w1_a": "LoHa", "lokr_w": "LoKr", "dora_scale": "DoRA", "lora_mid": "CP-LoCon"}

_log = logging.getLogger("autofix")


def load_lora(pipe: Pipeline, path: Path, name: str) -> None:
    """Put a file's weights beside the model's, as an adapter.

    Raises ModelError where they do not fit, and torch's own error where memory is short. After
    either, `delete_adapter` removes what was loaded.
    """
    header = read_header(path)
    problem = _unsupported_reason(pipe, header)
    if not problem:
        try:
            _load_weights(pipe, path, name, kohya=header.starts(*_KOHYA))
        except (
            OSError, ValueError, RuntimeError, KeyError, AttributeError, IndexError, TypeError,
        ) as error:  # fmt: skip
            if out_of_memory(error):
                raise
            problem = (str(error) or repr(error)).splitlines()[0][:200]
    fitting = _count_layers(pipe, name)
    if problem or not fitting:
        raise ModelError(
            f"the LoRA {path.name!r} cannot be used: {problem or 'no layer of it fits the model'}",
            "take a LoRA of the model's own family",
        )
    layers = sum(1 for key in header.shapes if _DOWN.search(key))
    if fitting < layers:
        _log.warning("the LoRA %r fits in %d of its %d layers only", path.name, fitting, layers)


def _load_weights(pipe: Pipeline, path: Path, name: str, *, kohya: bool) -> None:
    import torch

    # peft cannot switch tensors outside of inference mode that were made in it.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft: that there are several
        if kohya:
            pipe.load_lora_weights(_rename_kohya_keys(pipe, read_tensors(path)), adapter_name=name)
        else:  # from the file, for the alphas that its metadata may hold
            pipe.load_lora_weights(
                str(path.parent),
                weight_name=path.name,
                adapter_name=name,
                local_files_only=True,
                use_safetensors=True,
            )


def _count_layers(pipe: Pipeline, name: str) -> int:
    """How many layers of the pipeline an adapter acts on."""
    modules = (module for _, part in adaptable_parts(pipe) for module in part.modules())
    return sum(name in getattr(module, "lora_A", ()) for module in modules)


def _unsupported_reason(pipe: Pipeline, header: Header) -> str:
    """Why a file with this header is no LoRA for the pipeline; empty where it may be one."""
    if not hasattr(pipe, "load_lora_weights"):
        return f"{type(pipe).__name__} takes none"
    for mark, kind in _OTHER_KINDS.items():
        if header.holds(mark):
            return f"it is a {kind}, and only plain LoRA and LoCon are supported"
    read = {shape[-1] for key, shape in header.shapes.items() if _READS_PROMPT.search(key)}
    width = pipe.unet.config.cross_attention_dim if hasattr(pipe, "unet") else 0
    if not read or not width or width in read:
        return ""
    theirs = " or ".join(
        FAMILY_OF_WIDTH.get(known, f"models of width {known}") for known in sorted(read)
    )
    return f"it is for {theirs}, not for {FAMILY_OF_WIDTH.get(width, f'models of width {width}')}"


def _rename_kohya_keys(pipe: Pipeline, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A kohya file's tensors by diffusers' names, and with each alpha multiplied in.

    diffusers itself renames those of the UNet. It gives alphas that differ from layer to layer to
    the wrong layers, and of a text encoder without `out_proj` it drops the whole attention.
    """
    scaled = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    for key in tensors.keys() - scaled.keys():
        layer = key.removesuffix(".alpha")
        up, down = (f"{layer}.lora_{way}.weight" for way in ("up", "down"))
        scaled[up] = scaled[up] * (float(tensors[key]) / scaled[down].shape[0])
    unet = {key: value for key, value in scaled.items() if key.startswith(_KOHYA_UNET)}
    renamed = pipe.lora_state_dict(unet, unet_config=pipe.unet.config)[0] if unet else {}
    for prefix, kind in _KOHYA_ENCODERS.items():
        if (part := getattr(pipe, kind, None)) is None:
            continue
        layers = {f"{prefix}{_kohya_layer(layer)}": layer for layer, _ in part.named_modules()}
        for key, value in scaled.items():
            flat, _, way = key.replace(f"{prefix}text_model_", prefix, 1).partition(".")
            if flat in layers:
                way = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}[way]
                renamed[f"{kind}.{layers[flat]}.{way}"] = value
    return dict(renamed)


def _kohya_layer(layer: str) -> str:
    """A layer's name as kohya writes it, whatever the version of transformers."""
    return layer.removeprefix("text_model.").replace(".", "_")
