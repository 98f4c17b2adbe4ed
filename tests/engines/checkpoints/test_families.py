"""The model in a checkpoint file by its header, and the family of a diffusers pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from autofix.engines.checkpoints.configs_from_shapes import clip_config, unet_config, vae_config
from autofix.engines.checkpoints.families import UNET, family_of, sniff
from autofix.errors import ModelError
from tests.engines.headers import config, write

BIAS = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
CONV_IN = f"{UNET}input_blocks.0.0.weight"


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


@pytest.mark.parametrize(("channels", "kind"), [(5, "a depth model"), (8, "an editing"), (6, "6")])
def test_checkpoints_for_other_tasks_are_named(shapes, tmp_path, channels, kind):
    other = shapes["sd1", 4] | {CONV_IN: (320, channels, 3, 3)}
    with pytest.raises(ModelError, match=kind):
        sniff(write(tmp_path / "m.safetensors", other))


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
