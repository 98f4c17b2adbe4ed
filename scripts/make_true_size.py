"""Make a checkpoint file of true size with random weights, to measure with.

    scripts/make_true_size.py sd15|sdxl FOLDER [float16|bfloat16|float32]

Its pictures mean nothing; time and memory are those of a real checkpoint of its kind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from original_layout import save

Kind = Literal["sd15", "sdxl"]

CONFIGS = Path(__file__).parents[1] / "autofix" / "engines" / "checkpoints" / "configs"
FAMILIES = {"sd15": "sd1", "sdxl": "sdxl"}
SPREAD = 0.02
"""Standard deviation of the weights: small enough that nothing overflows in half precision."""


def make_true_size(kind: Kind, folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """A safetensors checkpoint in the original layout: 2.1 GB for sd15, 6.9 GB for sdxl in half."""
    parts = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    encoders = {
        name: _random(lambda said, cls=cls: cls(CLIPTextConfig(**said)), kind, name, dtype)
        for name, cls in parts.items()
        if (CONFIGS / FAMILIES[kind] / name).is_dir()
    }
    pipe = SimpleNamespace(
        unet=_random(UNet2DConditionModel.from_config, kind, "unet", dtype),
        vae=_random(AutoencoderKL.from_config, kind, "vae", dtype),
        **encoders,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return save(pipe, folder / f"true-size-{kind}.safetensors")


def _random(make: Any, kind: Kind, part: str, dtype: torch.dtype) -> Any:
    """A model of the family's config, made in its precision: norms as they begin, else noise."""
    said = json.loads((CONFIGS / FAMILIES[kind] / part / "config.json").read_text("utf-8"))
    with torch.device("meta"):
        model = make(said).to(dtype)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            for name, tensor in module.named_parameters(recurse=False):
                if name == "bias":
                    tensor.zero_()
                elif "Norm" in type(module).__name__:
                    tensor.fill_(1)
                else:
                    tensor.normal_(0, SPREAD)
    return model


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in FAMILIES:
        sys.exit(__doc__)
    print(make_true_size(sys.argv[1], Path(sys.argv[2]), getattr(torch, (*sys.argv, "float16")[3])))
