"""Tiny checkpoint files with random weights in the layout that people share them in.

Their shapes are small, their proportions those of real ones: 32 norm groups, CLIP's own vocabulary.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from autofix.engines.checkpoints.clip import tokenizer
from tests.conftest import ROOT
from tests.engines.tiny import ddim_scheduler

if (place := str(ROOT / "scripts")) not in sys.path:
    sys.path.insert(0, place)
import original_layout

WIDTH = 16
"""Width of a text embedding: one head, as one of 64 would be."""

WIDTH_2 = 24
"""Of SDXL's second text encoder, by which diffusers tells it from the first."""


def _encoder(kind, act: str, width: int = WIDTH):
    return kind(
        CLIPTextConfig(
            hidden_size=width,
            projection_dim=width,
            intermediate_size=20,
            num_attention_heads=1,
            num_hidden_layers=2,
            hidden_act=act,
            bos_token_id=49406,
            eos_token_id=49407,
        )
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[32] * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        latent_channels=4,
    )


def _unet(channels: int, cross: int, heads, **more) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=heads,
        cross_attention_dim=cross,
        **more,
    )


def pipeline(family: str, *, channels: int = 4, prediction: str = "epsilon"):
    """The inpainting pipeline of a family, as a checkpoint file will hold it."""
    torch.manual_seed(0)
    parts = {"vae": _vae(), "scheduler": ddim_scheduler(prediction), "tokenizer": tokenizer()}
    if family == "sdxl":
        return StableDiffusionXLInpaintPipeline(
            **parts,
            unet=_unet(
                channels,
                WIDTH + WIDTH_2,
                [1, 1],
                transformer_layers_per_block=(1, 2),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + WIDTH_2,
            ),
            text_encoder=_encoder(CLIPTextModel, "quick_gelu"),
            text_encoder_2=_encoder(CLIPTextModelWithProjection, "gelu", WIDTH_2),
            tokenizer_2=tokenizer(pad="!"),
        )
    if family == "sd2":
        parts["tokenizer"] = tokenizer(pad="!")
    return StableDiffusionInpaintPipeline(
        **parts,
        unet=_unet(channels, WIDTH, [1, 1], use_linear_projection=True)
        if family == "sd2"
        else _unet(channels, WIDTH, 8),
        text_encoder=_encoder(CLIPTextModel, "gelu" if family == "sd2" else "quick_gelu"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def checkpoint(path: Path, family: str, *, channels: int = 4, prediction: str = "epsilon") -> Path:
    """A checkpoint file of a family; the metadata of a v-prediction model tells so."""
    metadata = {"modelspec.prediction_type": "v"} if prediction == "v_prediction" else {}
    made = pipeline(family, channels=channels, prediction=prediction)
    return original_layout.save(made, path, metadata)
