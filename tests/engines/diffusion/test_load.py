"""Diffusers folders, and a VAE in place of the model's own."""

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from autofix.errors import ModelError
from tests.engines import tiny_files
from tests.engines.prompted import engine_of, far, inpaint_prompts


def other_vae(folders, home, name, **changes):
    """Another VAE of the model's shapes, or of others."""
    config = dict(AutoencoderKL.load_config(folders["sd"] / "vae"))
    torch.manual_seed(9)
    vae = AutoencoderKL.from_config({**config, **changes})
    folder = home / "models/VAE" / name
    vae.save_pretrained(folder)
    return vae, folder


def original_layout(vae):
    """The VAE's weights with the names that Stable Diffusion's own code gave them."""
    renamed = {}
    blocks = len(vae.config.block_out_channels)
    for key, tensor in vae.state_dict().items():
        for side, ours, theirs in (
            ("encoder", "down_blocks", "down"),
            ("decoder", "up_blocks", "up"),
        ):
            for n in range(blocks):
                number = n if side == "encoder" else blocks - 1 - n
                key = key.replace(f"{side}.{ours}.{n}.resnets.", f"{side}.{theirs}@{number}.block.")
                for kind in ("downsamplers", "upsamplers"):
                    key = key.replace(
                        f"{side}.{ours}.{n}.{kind}.0", f"{side}.{theirs}@{number}.{theirs}sample"
                    )
        key = key.replace("@", ".").replace("conv_shortcut", "nin_shortcut")
        key = key.replace("conv_norm_out", "norm_out")
        key = key.replace("mid_block.resnets.0", "mid.block_1").replace(
            "mid_block.resnets.1", "mid.block_2"
        )
        key = key.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            key = key.replace(f"mid.attn_1.{ours}.", f"mid.attn_1.{theirs}.")
        if "attn_1" in key and tensor.ndim == 2:
            tensor = tensor[..., None, None]
        renamed[key] = tensor.contiguous()
    return renamed


@pytest.mark.parametrize("form", ["folder", "name", "file", "original", "prefixed"])
def test_a_vae_takes_the_place_of_the_model_s_own(folders, home, shared, form):
    vae, folder = other_vae(folders, home, f"vae-{form}")
    given = str(folder)
    if form == "name":
        given = "VAE-name"
    elif form == "file":
        given = str(folder / "diffusion_pytorch_model.safetensors")
    elif form != "folder":
        start = "first_stage_model." if form == "prefixed" else ""
        weights = {start + key: each for key, each in original_layout(vae).items()}
        given = str(home / "models/VAE" / f"{form}.safetensors")
        save_file(weights, given)
    own, other = shared["sd"], engine_of(folders["sd"], vae=given)
    (before,), (after,) = inpaint_prompts(own, "face"), inpaint_prompts(other, "face")
    assert far(before, after)
    theirs = other.load().pipe.vae.state_dict()
    assert all(torch.equal(theirs[key], each) for key, each in vae.state_dict().items())
    assert other.load().pipe.vae.config.scaling_factor == own.load().pipe.vae.config.scaling_factor


def test_another_vae_under_the_same_name_is_another_engine(folders, home):
    _, folder = other_vae(folders, home, "same")
    weights = folder / "diffusion_pytorch_model.safetensors"
    facts = [engine_of(folders["sd"], vae=given).info for given in ("", "same", str(weights))]
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    facts += [engine_of(folders["sd"], vae=given).info for given in ("same", str(weights))]
    assert len({each.identity for each in facts}) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_channels": 16}, "has 16 latent channels, the model 4"),
        (
            {
                "block_out_channels": [16, 32],
                "down_block_types": ["DownEncoderBlock2D"] * 2,
                "up_block_types": ["UpDecoderBlock2D"] * 2,
            },
            "has 1 halvings of the picture, the model 3",
        ),
    ],
)
def test_a_vae_of_other_latents_is_refused(folders, home, changes, message):
    _, folder = other_vae(folders, home, "wrong", **changes)
    with pytest.raises(ModelError, match=message):
        inpaint_prompts(engine_of(folders["sd"], vae=str(folder)), "face")
    weights = folder / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ModelError, match=r"cannot be used with this model.*set model\.vae"):
        inpaint_prompts(engine_of(folders["sd"], vae=str(weights)), "face")


def test_a_vae_that_is_not_there_or_a_pickle_is_refused(folders, home):
    other_vae(folders, home, "ft-mse")
    with pytest.raises(ModelError, match=r"no vae 'ft-mes': did you mean 'ft-mse'"):
        engine_of(folders["sd"], vae="ft-mes")
    (home / "models/VAE/old.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"'old\.pt' is a pickle"):
        engine_of(folders["sd"], vae="old")


def test_pickled_weights_in_a_folder_need_trust(tmp_path):
    tiny_files.pipeline("sd1").save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelError, match="cannot be loaded"):
        inpaint_prompts(engine_of(tmp_path), "a face")
    assert inpaint_prompts(engine_of(tmp_path, trust_pickle=True), "a face")
