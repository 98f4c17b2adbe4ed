"""Families of diffusion models: their defaults, and the family of a checkpoint file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.other_files import not_a_checkpoint
from autofix.engines.checkpoints.weight_file import SAFE, VAES, Header, read_header
from autofix.errors import ModelError

UNET = "model.diffusion_model."
"""Prefix of the keys of a checkpoint's denoiser."""


@dataclass(frozen=True)
class Family:
    """The common properties of a family's models."""

    title: str
    """Its name, for people."""

    native: int
    """The side of the pictures they were trained on, in px."""

    encoders: tuple[str, ...]
    """Their text encoders, for people."""

    cfg: float = 7.0
    """The usual CFG scale."""

    steps: int = 28
    """The usual number of sampling steps."""

    own_sampler: bool = True
    """Whether they were trained for their own scheduler."""


_CLIP_L, _CLIP_H, _CLIP_G = "CLIP ViT-L/14", "OpenCLIP ViT-H/14", "OpenCLIP ViT-bigG/14"
_T5 = "T5-XXL"

FAMILIES: dict[str, Family] = {
    "sd1": Family("Stable Diffusion 1.x", 512, (_CLIP_L,), own_sampler=False),
    "sd2": Family("Stable Diffusion 2.x", 512, (_CLIP_H,), own_sampler=False),
    "sdxl": Family("Stable Diffusion XL", 1024, (_CLIP_L, _CLIP_G), own_sampler=False),
    "sd3": Family("Stable Diffusion 3", 1024, (_CLIP_L, _CLIP_G, _T5)),
    "flux": Family("Flux", 1024, (_CLIP_L, _T5), cfg=3.5),
    "flux-schnell": Family("Flux schnell", 1024, (_CLIP_L, _T5), cfg=1.0, steps=4),
    "flux-fill": Family("Flux Fill", 1024, (_CLIP_L, _T5), cfg=30.0),
    "qwen-image": Family("Qwen-Image", 1024, ("Qwen2.5-VL",), cfg=4.0),
    "z-image": Family("Z-Image", 1024, ("Qwen3",), cfg=5.0),
    "z-image-turbo": Family("Z-Image Turbo", 1024, ("Qwen3",), cfg=1.0, steps=9),
}

FAMILY_OF_WIDTH = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
"""Width of the text embeddings that a UNet's cross attention reads -> the family, in short."""


def family_of(pipeline: str, denoiser: Mapping[str, Any], name: str) -> Family | None:
    """The family of a diffusers pipeline, by its class, its denoiser's config, and its name.

    None for an unknown one, which may work all the same.
    """
    if pipeline.startswith("StableDiffusionXL"):
        return FAMILIES["sdxl"]
    if pipeline.startswith("StableDiffusion3"):
        return FAMILIES["sd3"]
    if pipeline.startswith("StableDiffusion"):
        return FAMILIES["sd2" if denoiser.get("cross_attention_dim") == 1024 else "sd1"]
    if pipeline.startswith("FluxFill"):
        return FAMILIES["flux-fill"]
    if pipeline.startswith("Flux"):
        # schnell is distilled to do without guidance.
        return FAMILIES["flux" if denoiser.get("guidance_embeds", True) else "flux-schnell"]
    if pipeline.startswith("QwenImage"):
        return FAMILIES["qwen-image"]
    if pipeline.startswith("ZImage"):
        # Only the name tells them apart.
        return FAMILIES["z-image-turbo" if "turbo" in name.casefold() else "z-image"]
    return None


@dataclass(frozen=True)
class Checkpoint:
    """The model in a checkpoint file, by its header."""

    family: str
    """sd1, sd2 or sdxl."""

    header: Header
    """Every tensor's shape."""

    channels: int
    """Input channels of its denoiser: 4, or 9 for an inpainting model."""

    prediction: str
    """epsilon or v_prediction."""

    native: int
    """The side it was trained at, in px."""

    has_vae: bool
    """Whether the file holds a VAE."""

    zero_snr: bool
    """Whether its noise schedule ends in pure noise (zero terminal signal-to-noise ratio)."""

    @property
    def title(self) -> str:
        """The family's title, with "inpainting" for an inpainting model."""
        return FAMILIES[self.family].title + (" inpainting" if self.channels == 9 else "")


def sniff(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """The model in a checkpoint file, by its keys and shapes alone.

    Raises ModelError, which names the kind of file, for one that holds no model that can inpaint.
    """
    header = read_header(path, trust_pickle=trust_pickle)
    unet = header.under(UNET)
    if not (unet.starts("input_blocks.") and "input_blocks.0.0.weight" in unet):
        raise not_a_checkpoint(path, header)
    channels = unet.shapes["input_blocks.0.0.weight"][1]
    family = _family_of(path, header, unet)
    if channels not in (4, 9):
        kind = {5: "a depth model", 7: "an x4 upscaling model", 8: "an editing (pix2pix) model"}
        raise ModelError(
            f"{path.name!r} is {kind.get(channels, 'a model')} of {FAMILIES[family].title} with "
            f"{channels} input channels",
            "take a common checkpoint (4 channels) or an inpainting one (9)",
        )
    prediction = _prediction_of(path, header, family, channels)
    large = family == "sd2" and prediction == "v_prediction"
    return Checkpoint(
        family=family,
        header=header,
        channels=channels,
        prediction=prediction,
        native=_native_resolution(header) or (768 if large else FAMILIES[family].native),
        has_vae=any(f"{prefix}decoder.conv_in.weight" in header for prefix in VAES),
        zero_snr="ztsnr" in header,
    )


def _family_of(path: Path, header: Header, unet: Header) -> str:
    """sd1, sd2 or sdxl, by the text encoders. Raises ModelError."""
    if "edm_mean" in header:
        raise ModelError(
            f"{path.name!r} is Playground v2.5, whose noise schedule is not supported",
            "take another SDXL checkpoint",
        )
    if header.starts("conditioner.embedders.1.model."):
        return "sdxl"
    if header.starts("conditioner.embedders.0.model."):
        raise ModelError(
            f"{path.name!r} is the SDXL refiner, which only finishes what SDXL's base began",
            "take the base model, or any other SDXL checkpoint",
        )
    if header.starts("cond_stage_model.model.") and "label_emb.0.0.weight" not in unet:
        return "sd2"
    if header.starts("cond_stage_model.transformer."):
        return "sd1"
    raise ModelError(
        f"{path.name!r} has a denoiser but no text encoder that belongs to SD 1.x, 2.x or SDXL",
        "take the whole checkpoint, or a diffusers folder",
    )


def _prediction_of(path: Path, header: Header, family: str, channels: int) -> str:
    """Epsilon or v_prediction, by the file's keys or metadata, its .yaml, or its weights."""
    if "v_pred" in header:
        return "v_prediction"
    stated = header.metadata.get("modelspec.prediction_type", "").casefold()
    if stated in ("v", "v_prediction", "v-prediction"):
        return "v_prediction"
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        text = beside.read_text(encoding="utf-8", errors="replace")
        return "v_prediction" if re.search(r"parameterization:\s*[\"']?v\b", text) else "epsilon"
    if stated or family != "sd2" or channels != 4:
        return "epsilon"
    return "v_prediction" if _looks_like_v(path) else "epsilon"


def _looks_like_v(path: Path) -> bool:
    """Whether an SD 2.x file was trained for v-prediction, by the spread of one bias.

    No key tells. ComfyUI's rule: a standard deviation above 0.09. A pickle counts as v-prediction,
    as most are.
    """
    if path.suffix.lower() != SAFE:
        return True
    from safetensors import safe_open

    key = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    with safe_open(path, framework="pt") as file:
        if key not in set(file.keys()):
            return False
        return float(file.get_tensor(key).float().std(unbiased=False)) > 0.09


def _native_resolution(header: Header) -> int | None:
    """The side in the file's metadata, in px."""
    stated = re.fullmatch(r"(\d{3,4})x(\d{3,4})", header.metadata.get("modelspec.resolution", ""))
    return min(map(int, stated.groups())) if stated else None
