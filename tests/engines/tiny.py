"""Tiny pipelines with random weights, as diffusers folders: real classes and real shapes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

WIDTH = 32
"""Width of the text embedding."""


def letter_tokenizer(folder: Path, **more) -> CLIPTokenizer:
    """CLIP's own tokenizer with a vocabulary of single letters: "ab c" are three tokens."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, **more
    )


def tiny_text_encoder(kind=CLIPTextModel):
    return kind(
        CLIPTextConfig(
            hidden_size=WIDTH,
            projection_dim=WIDTH,
            intermediate_size=37,
            num_attention_heads=4,
            num_hidden_layers=2,
            vocab_size=200,
            bos_token_id=188,
            eos_token_id=189,
            pad_token_id=189,
        )
    )


def ddim_scheduler(prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        prediction_type=prediction,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[16, 32, 32, 32],
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )


def _unet(in_channels: int, cross: int = WIDTH, **more) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        **{
            "block_out_channels": (16, 32),
            "norm_num_groups": 8,
            "layers_per_block": 1,
            "sample_size": 8,
            "in_channels": in_channels,
            "out_channels": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 8,
            "cross_attention_dim": cross,
            **more,
        }
    )


def sd(folder: Path, *, channels: int = 4, prediction: str = "epsilon") -> Path:
    """Stable Diffusion 1.x with a UNet of 4 or (inpainting) 9 channels, native size 64."""
    torch.manual_seed(0)
    kind = StableDiffusionPipeline if channels == 4 else StableDiffusionInpaintPipeline
    pipe = kind(
        vae=_vae(),
        text_encoder=tiny_text_encoder(),
        tokenizer=letter_tokenizer(folder / "tokenizer"),
        unet=_unet(channels),
        scheduler=ddim_scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def sdxl(folder: Path, *, channels: int = 4) -> Path:
    """Stable Diffusion XL with a UNet of 4 or (inpainting) 9 channels, native size 64."""
    torch.manual_seed(0)
    kind = StableDiffusionXLPipeline if channels == 4 else StableDiffusionXLInpaintPipeline
    pipe = kind(
        vae=_vae(),
        text_encoder=tiny_text_encoder(),
        text_encoder_2=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer=letter_tokenizer(folder / "tokenizer"),
        tokenizer_2=letter_tokenizer(folder / "tokenizer_2", pad_token="!"),
        unet=_unet(
            channels,
            2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            use_linear_projection=True,
        ),
        scheduler=ddim_scheduler(),
    )
    pipe.save_pretrained(folder)
    return folder


def promptless(folder: Path, *, prediction: str = "epsilon") -> Path:
    """A model shown the whole crop, without text encoder, as the built-in one; native size 64."""
    torch.manual_seed(0)
    pipe = StableDiffusionInpaintPipeline(
        vae=AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
            latent_channels=4,
        ),
        text_encoder=None,
        tokenizer=None,
        unet=_unet(9),
        scheduler=ddim_scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    (folder / "autofix.toml").write_text(
        'name = "tiny"\nnative_size = 64\nlabels = ["face"]\nconditioning = "crop"\n'
        "prompt = false\nstrength = 0.5\nsteps = 6\n",
        encoding="utf-8",
    )
    return folder
