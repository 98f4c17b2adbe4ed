"""What a checkpoint file's header tells, at true size: shapes alone, no weights."""

from __future__ import annotations

import json
import struct

import accelerate
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from autofix.engines.checkpoints.clip import CONFIGS
from autofix.engines.checkpoints.configs_from_shapes import clip_config, unet_config, vae_config
from autofix.engines.checkpoints.families import UNET, family_of, sniff
from autofix.engines.checkpoints.weight_file import Header, read_header
from autofix.errors import ModelError
from tests.engines.tiny_files import original_layout

BIAS = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"


def config(family, part):
    return json.loads((CONFIGS / family / part / "config.json").read_text())


def true_size(family, channels):
    """The shapes of a real checkpoint, by the configs we ship."""

    class Pipe:
        with accelerate.init_empty_weights():
            unet = UNet2DConditionModel(**config(family, "unet") | {"in_channels": channels})
            vae = AutoencoderKL(**config(family, "vae"))
            text_encoder = CLIPTextModel(CLIPTextConfig(**config(family, "text_encoder")))
            if family == "sdxl":
                text_encoder_2 = CLIPTextModelWithProjection(
                    CLIPTextConfig(**config(family, "text_encoder_2"))
                )

    with torch.device("meta"):
        return {key: tuple(each.shape) for key, each in original_layout.original(Pipe).items()}


def write(path, shapes, metadata=None, values=None, cut=0):
    """A safetensors file of these shapes, empty but for `values`, as long as it ought to be."""
    entries, end, written = {}, 0, {}
    for key, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape, dtype=np.int64))
        entries[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        if key in (values or {}):
            written[start] = np.asarray(values[key], np.float16).tobytes()
    header = json.dumps({"__metadata__": metadata or {}} | entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start, data in written.items():
            file.seek(8 + len(header) + start)
            file.write(data)
        file.truncate(8 + len(header) + end - cut)
    return path


@pytest.fixture(scope="module")
def shapes():
    return {
        (family, channels): true_size(family, channels)
        for family, channels in (("sd1", 4), ("sd1", 9), ("sd2", 4), ("sdxl", 4), ("sdxl", 9))
    }


@pytest.mark.parametrize(
    ("key", "title", "native"),
    [
        (("sd1", 4), "Stable Diffusion 1.x", 512),
        (("sd1", 9), "Stable Diffusion 1.x inpainting", 512),
        (("sd2", 4), "Stable Diffusion 2.x", 512),
        (("sdxl", 4), "Stable Diffusion XL", 1024),
        (("sdxl", 9), "Stable Diffusion XL inpainting", 1024),
    ],
)
def test_real_shapes_give_family_and_the_published_configs(shapes, tmp_path, key, title, native):
    found = sniff(write(tmp_path / "m.safetensors", shapes[key]))
    assert (found.title, found.native, found.prediction) == (title, native, "epsilon")
    family, channels = key
    derived = unet_config(found.header.under(UNET), family)
    published = config(family, "unet") | {"in_channels": channels}
    if family != "sdxl":
        published["transformer_layers_per_block"] = [1, 1, 1, 1]
    assert derived == {name: published[name] for name in derived}
    derived = vae_config(found.header.under("first_stage_model."))
    assert derived == {name: config(family, "vae")[name] for name in derived}
    if family != "sd2":  # OpenCLIP's are renamed first
        prefix = "cond_stage_model." if family == "sd1" else "conditioner.embedders.0."
        derived = clip_config(found.header.under(f"{prefix}transformer.text_model."))
        assert derived == {name: config(family, "text_encoder")[name] for name in derived}


def test_the_prediction_of_sd2_is_told_by_the_file_its_yaml_or_its_weights(shapes, tmp_path):
    path, size = tmp_path / "m.safetensors", shapes["sd2", 4][BIAS][0]
    wide = {BIAS: np.linspace(-0.3, 0.3, size)}
    narrow = {BIAS: np.linspace(-0.1, 0.1, size)}
    for values, metadata, native in (
        (wide, {}, 768),
        (narrow, {}, 512),
        (narrow, {"modelspec.prediction_type": "v"}, 768),
        (wide, {"modelspec.prediction_type": "epsilon"}, 512),
        (narrow, {"modelspec.prediction_type": "v", "modelspec.resolution": "512x640"}, 512),
    ):
        write(path, shapes["sd2", 4], metadata, values)
        found = sniff(path)
        stated = metadata.get("modelspec.prediction_type")
        v = stated == "v" or (stated is None and values is wide)
        assert found.prediction == ("v_prediction" if v else "epsilon")
        assert found.native == native
    write(path, shapes["sd2", 4], {}, narrow)
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert sniff(path).prediction == "v_prediction"


def test_the_marks_of_v_prediction_and_zero_terminal_noise_are_read(shapes, tmp_path):
    marked = shapes["sdxl", 4] | {"v_pred": (0,), "ztsnr": (0,)}
    found = sniff(write(tmp_path / "m.safetensors", marked))
    assert (found.prediction, found.zero_snr) == ("v_prediction", True)


def test_a_checkpoint_without_vae_is_one(shapes, tmp_path):
    bare = {k: s for k, s in shapes["sd1", 4].items() if not k.startswith("first_stage_model.")}
    assert not sniff(write(tmp_path / "m.safetensors", bare)).has_vae
    assert sniff(write(tmp_path / "m.safetensors", shapes["sd1", 4])).has_vae


@pytest.mark.parametrize("at", ["output_blocks.0.1", "middle_block.1", "input_blocks.7.1"])
def test_a_denoiser_of_another_build_is_refused(shapes, at):
    """As SSD-1B's is: diffusers would leave out what it does not expect, and say nothing."""
    deeper = shapes["sdxl", 4] | {f"{UNET}{at}.transformer_blocks.10.norm1.bias": (1280,)}
    with pytest.raises(ModelError, match="blocks are of unlike depths"):
        unet_config(Header(deeper, {}).under(UNET), "sdxl")


REFINER = "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias"
CONV_IN = f"{UNET}input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("keys", "said", "advice"),
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
def test_what_is_no_checkpoint_is_named_with_what_to_do(tmp_path, keys, said, advice):
    path = write(tmp_path / "file.safetensors", dict.fromkeys(keys, (320, 4, 3, 3)))
    with pytest.raises(ModelError, match=f"'file.safetensors'.* {said}") as raised:
        sniff(path)
    assert advice in raised.value.advice


@pytest.mark.parametrize(("channels", "said"), [(5, "a depth model"), (8, "an editing"), (6, "6")])
def test_checkpoints_for_other_tasks_are_named(shapes, tmp_path, channels, said):
    other = shapes["sd1", 4] | {CONV_IN: (320, channels, 3, 3)}
    with pytest.raises(ModelError, match=said):
        sniff(write(tmp_path / "m.safetensors", other))


@pytest.mark.parametrize("cut", [1, 10**9])
def test_a_file_that_was_cut_short_is_refused(shapes, tmp_path, cut):
    path = write(tmp_path / "m.safetensors", shapes["sd1", 4], cut=cut)
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_header(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\xff" * 64, struct.pack("<Q", 8) + b"[1, 2]  "]
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_header(path)


@pytest.mark.parametrize(
    ("pipeline", "denoiser", "name", "title"),
    [
        ("StableDiffusionPipeline", {"cross_attention_dim": 768}, "", "Stable Diffusion 1.x"),
        ("StableDiffusionPipeline", {"cross_attention_dim": 1024}, "", "Stable Diffusion 2.x"),
        ("StableDiffusionXLPipeline", {}, "", "Stable Diffusion XL"),
        ("StableDiffusion3Pipeline", {}, "", "Stable Diffusion 3"),
        ("FluxPipeline", {"guidance_embeds": True}, "", "Flux"),
        ("FluxPipeline", {"guidance_embeds": False}, "", "Flux schnell"),
        ("FluxFillPipeline", {"guidance_embeds": True}, "", "Flux Fill"),
        ("QwenImagePipeline", {}, "", "Qwen-Image"),
        ("ZImagePipeline", {}, "z-image", "Z-Image"),
        ("ZImagePipeline", {}, "Tongyi-MAI/Z-Image-Turbo", "Z-Image Turbo"),
    ],
)
def test_a_diffusers_pipeline_s_family(pipeline, denoiser, name, title):
    assert family_of(pipeline, denoiser, name).title == title


def test_an_unknown_pipeline_has_no_family():
    assert family_of("KandinskyInpaintPipeline", {}, "") is None
