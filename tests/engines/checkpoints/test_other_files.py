"""Files that are no checkpoints are named in the error."""

import pytest

from autofix.engines.checkpoints.families import UNET, sniff
from autofix.errors import ModelError
from tests.engines.headers import write

REFINER = "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias"
CONV_IN = f"{UNET}input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("keys", "kind", "advice"),
    [
        (["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA", "<lora:NAME:1>"),
        (["unet.down_blocks.0.attn.to_q.lora_A.weight"], "a LoRA", "<lora:NAME:1>"),
        (["lora_te_text_model_0.hada_w1_a"], "a LoRA", "<lora:NAME:1>"),
        (["control_model.time_embed.0.weight"], "a ControlNet", "inpaint.control"),
        (["controlnet_cond_embedding.conv_in.weight"], "a ControlNet", "inpaint.control"),
        (["first_stage_model.encoder.conv_in.weight"], "a VAE", "--vae"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "a VAE", "--vae"),
        (["emb_params"], "a textual inversion embedding", "its name in the prompt"),
        (["clip_l", "clip_g"], "a textual inversion embedding", "its name in the prompt"),
        (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "an upscaler", "--upscaler"),
        (["conv_first.weight", "body.0.rdb1.conv1.weight"], "an upscaler", "--upscaler"),
        (["stylegan_decoder.style_mlp.1.weight"], "a face restoration model", "--model"),
        (["joint_blocks.0.x_block.mlp.fc1.weight"], "Stable Diffusion 3", "diffusers folder"),
        ([f"{UNET}double_blocks.0.img_attn.qkv.weight"], "Flux", "diffusers folder"),
        (["transformer_blocks.0.img_mod.1.weight"], "Qwen-Image", "diffusers folder"),
        (["noise_refiner.0.w", "cap_embedder.0.weight"], "Z-Image", "diffusers folder"),
        (["down_blocks.0.resnets.0.conv1.weight"], "one part of a", "model_index.json"),
        (["image_proj.proj.weight", "ip_adapter.1.to_k"], "an IP-Adapter", "checkpoint"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "a text encoder", "whole checkpoint"),
        (["input_blocks.0.0.weight"], "a denoiser", "whole checkpoint"),
        ([CONV_IN], "no text encoder", "whole checkpoint"),
        ([CONV_IN, REFINER], "the SDXL refiner", "base model"),
        ([CONV_IN, "edm_mean"], "Playground", "another SDXL"),
        (["who.knows"], "no checkpoint that autofix knows.*who.knows", "SDXL"),
        ([], "no checkpoint that autofix knows", "SDXL"),
    ],
)
def test_files_that_are_no_checkpoints_are_named_with_advice(tmp_path, keys, kind, advice):
    path = write(tmp_path / "file.safetensors", dict.fromkeys(keys, (320, 4, 3, 3)))
    with pytest.raises(ModelError, match=f"'file.safetensors'.* {kind}") as raised:
        sniff(path)
    assert advice in raised.value.advice
