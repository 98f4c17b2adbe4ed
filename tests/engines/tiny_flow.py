"""Tiny pipelines of the flow-matching families with random weights, as diffusers folders."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.engines.tiny import WIDTH, letter_tokenizer, tiny_text_encoder

_CHAT = "{% for each in messages %}{{ each['content'] }}{% endfor %}"
_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _letters(**more) -> Qwen2Tokenizer:
    """Qwen's tokenizer with a vocabulary of single letters."""
    words = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ", *_MARKS]
    made = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        model_max_length=128,
        **more,
    )
    made.chat_template = _CHAT
    return made


def _t5() -> dict:
    words = ["<pad>", "</s>", "<unk>", "▁", *(chr(code) for code in range(33, 127))]
    encoder = T5EncoderModel(
        T5Config(vocab_size=200, d_model=WIDTH, d_kv=8, d_ff=37, num_layers=1, num_heads=2)
    )
    tokenizer = T5TokenizerFast(vocab=[(word, -float(n)) for n, word in enumerate(words)])
    return {"encoder": encoder, "tokenizer": tokenizer}


def _vae(latent_channels: int, **more) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 8, 16, 16],
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=latent_channels,
        shift_factor=0.1,
        scaling_factor=0.36,
        **more,
    )


def _flow(**more) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, **more)


def sd3(folder: Path) -> Path:
    """Stable Diffusion 3 with all of its three text encoders, native size 64."""
    torch.manual_seed(0)
    t5 = _t5()
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=32,
            pooled_projection_dim=2 * WIDTH,
        ),
        scheduler=_flow(),
        vae=_vae(16, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer=letter_tokenizer(folder / "tokenizer"),
        text_encoder_2=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer_2=letter_tokenizer(folder / "tokenizer_2"),
        text_encoder_3=_wide(t5["encoder"]),
        tokenizer_3=t5["tokenizer"],
    ).save_pretrained(folder)
    return folder


def _wide(encoder: T5EncoderModel) -> T5EncoderModel:
    """T5 as wide as both CLIPs together, as SD3 has it."""
    return T5EncoderModel(T5Config(**{**encoder.config.to_dict(), "d_model": 2 * WIDTH}))


def flux(folder: Path, *, fill: bool = False, guidance: bool = True) -> Path:
    """Flux, or Flux Fill; without `guidance` schnell, which was distilled to need none."""
    torch.manual_seed(0)
    t5 = _t5()
    channels = 4
    shown = 4 * (2 * channels + 64) if fill else 4 * channels  # its own, the picture's, the mask
    (FluxFillPipeline if fill else FluxPipeline)(
        scheduler=_flow(use_dynamic_shifting=True),
        vae=_vae(channels, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=tiny_text_encoder(),
        tokenizer=letter_tokenizer(folder / "tokenizer"),
        text_encoder_2=t5["encoder"],
        tokenizer_2=t5["tokenizer"],
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=shown,
            out_channels=4 * channels,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance,
        ),
    ).save_pretrained(folder)
    return folder


def qwen_image(folder: Path) -> Path:
    """Qwen-Image, whose VAE is a video's."""
    torch.manual_seed(0)
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 200,
        "max_position_embeddings": 512,
        "rope_scaling": {"type": "default", "mrope_section": [1, 1, 2], "rope_type": "default"},
        "rope_theta": 1000000.0,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
    }
    QwenImagePipeline(
        scheduler=_flow(),
        vae=AutoencoderKLQwenImage(
            base_dim=24,
            z_dim=4,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        ),
        tokenizer=_letters(),
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
    ).save_pretrained(folder)
    return folder


def z_image(folder: Path) -> Path:
    """Z-Image; it is Turbo where its folder is called so."""
    torch.manual_seed(0)
    ZImagePipeline(
        scheduler=_flow(),
        vae=_vae(16),
        text_encoder=Qwen3Model(
            Qwen3Config(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                vocab_size=200,
                max_position_embeddings=512,
                head_dim=8,
            )
        ),
        tokenizer=_letters(),
        transformer=ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[256, 32, 32],
        ),
    ).save_pretrained(folder)
    return folder
