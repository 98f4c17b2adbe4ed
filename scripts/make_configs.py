"""Write autofix/engines/checkpoints/configs: what single-file checkpoints do not say of themselves.

    scripts/make_configs.py [open_clip_torch-*.whl]

Published architecture numbers of SD 1.x, SD 2.x and SDXL as diffusers and transformers write them,
so that a checkpoint loads without asking a hub. With open_clip's wheel (MIT; `pip download
open_clip_torch --no-deps`) CLIP's byte pair merges are written anew too, and its licence.
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from pathlib import Path

import accelerate
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig

CONFIGS = Path(__file__).parents[1] / "autofix" / "engines" / "checkpoints" / "configs"
MERGES = 49152 - 256 - 2
"""As many of the wheel's merges as CLIP's vocabulary has, behind one line of heading."""

_CROSS, _PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
_UP = {_CROSS: "CrossAttnUpBlock2D", _PLAIN: "UpBlock2D"}


def unet(*down: str, **more: object) -> UNet2DConditionModel:
    """A UNet without weights: its blocks on the way down, mirrored on the way up."""
    with accelerate.init_empty_weights():
        return UNet2DConditionModel(
            down_block_types=down, up_block_types=tuple(_UP[each] for each in down[::-1]), **more
        )


def vae(**more: object) -> AutoencoderKL:
    """The VAE of every family, without weights."""
    with accelerate.init_empty_weights():
        return AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            **more,
        )


def clip(width: int, layers: int, **more: object) -> CLIPTextConfig:
    """A text encoder: feed-forward four times as wide, heads of 64."""
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // 64,
        num_hidden_layers=layers,
        bos_token_id=49406,
        eos_token_id=49407,
        **{"hidden_act": "gelu", "projection_dim": width, "pad_token_id": 1, **more},
    )


_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_DDIM = DDIMScheduler(**_NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
_VIT_L = clip(768, 12, hidden_act="quick_gelu")

FAMILIES: dict[str, dict[str, object]] = {
    "sd1": {
        "unet": unet(_CROSS, _CROSS, _CROSS, _PLAIN, sample_size=64, cross_attention_dim=768),
        "vae": vae(sample_size=512, scaling_factor=0.18215),
        "text_encoder": _VIT_L,
        "scheduler": _DDIM,
    },
    "sd2": {
        "unet": unet(
            _CROSS,
            _CROSS,
            _CROSS,
            _PLAIN,
            sample_size=96,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
            upcast_attention=True,  # else half precision overflows
        ),
        "vae": vae(sample_size=768, scaling_factor=0.18215),
        # The last of its 24 layers is not used: what SD 2.x was trained on is the one before.
        "text_encoder": clip(1024, 23, projection_dim=512),
        "scheduler": _DDIM,
    },
    "sdxl": {
        "unet": unet(
            _PLAIN,
            _CROSS,
            _CROSS,
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        "vae": vae(sample_size=1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder": _VIT_L,
        "text_encoder_2": clip(1280, 32),
        "scheduler": EulerDiscreteScheduler(
            **_NOISE, interpolation_type="linear", steps_offset=1, timestep_spacing="leading"
        ),
    },
}


def write_merges(wheel: Path) -> None:
    """CLIP's merges, gzipped, and the licence they come under."""
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        text = gzip.decompress(packed.read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode()
        (licence,) = (name for name in names if name.endswith("licenses/LICENSE"))
        said = packed.read(licence)
    merges = "\n".join(text.split("\n")[1 : MERGES + 1])
    folder = CONFIGS / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt.gz").write_bytes(gzip.compress(merges.encode(), 9, mtime=0))
    (folder / "LICENSE").write_bytes(said)


def main() -> None:
    """Write them all."""
    for family, parts in FAMILIES.items():
        for name, part in parts.items():
            folder = CONFIGS / family / name
            folder.mkdir(parents=True, exist_ok=True)
            if isinstance(part, CLIPTextConfig):
                path, said = folder / "config.json", part.to_dict()
            else:
                path = folder / part.config_name
                said = {"_class_name": type(part).__name__, **part.config}
                said = {key: value for key, value in said.items() if key != "_use_default_values"}
            said = {key: said[key] for key in sorted(said) if "_version" not in key}
            path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    for wheel in sys.argv[1:]:
        write_merges(Path(wheel))


if __name__ == "__main__":
    main()
