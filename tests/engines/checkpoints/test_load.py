"""Checkpoint files in the layout people share them in, loaded without a network."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from autofix.engines.checkpoints.load import load_checkpoint
from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe
from tests.engines import tiny_files
from tests.engines.face_crops import crops

KINDS = {
    "sd1": ("sd1", 4, "epsilon"),
    "sd1-inpainting": ("sd1", 9, "epsilon"),
    "sd2": ("sd2", 4, "v_prediction"),
    "sdxl": ("sdxl", 4, "epsilon"),
    "sdxl-inpainting": ("sdxl", 9, "epsilon"),
}
CLIP = "cond_stage_model.transformer."


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        name: tiny_files.checkpoint(
            root / f"{name}.safetensors", family, channels=channels, prediction=prediction
        )
        for name, (family, channels, prediction) in KINDS.items()
    }


def changed(path, file, change):
    """The checkpoint's tensors changed, in a file of their own."""
    tensors = load_file(file)
    save_file(change(tensors), path)
    return path


def weights(pipe):
    return {
        f"{name}.{key}": tensor
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
        for key, tensor in part.state_dict().items()
    }


def same(ours, theirs):
    ours, theirs = weights(ours), weights(theirs)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_to_their_places(files, kind):
    family, channels, prediction = KINDS[kind]
    made = tiny_files.pipeline(family, channels=channels, prediction=prediction)
    loaded = load_checkpoint(files[kind], torch.float32)
    assert type(loaded) is type(made)
    assert same(loaded, made)
    assert loaded.scheduler.config.prediction_type == prediction
    assert loaded.vae.config.scaling_factor == (0.13025 if family == "sdxl" else 0.18215)
    assert loaded.tokenizer.pad_token_id == (0 if family == "sd2" else 49407)
    assert not any(part.training for part in (loaded.unet, loaded.vae, loaded.text_encoder))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_that_diffusers_reads_by_itself(files, kind, tmp_path):
    """The tiny files are of our own writing: a mistake of both writer and reader shows here."""
    family, channels, prediction = KINDS[kind]
    made = tiny_files.pipeline(family, channels=channels, prediction=prediction)
    made.save_pretrained(tmp_path)
    theirs = type(made).from_single_file(
        str(files[kind]), config=str(tmp_path), local_files_only=True, dtype=torch.float32
    )
    assert same(load_checkpoint(files[kind], torch.float32), theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_half_precision_files_load_in_any_precision(files, kind, tmp_path):
    halved = changed(
        tmp_path / "half.safetensors",
        files[kind],
        lambda tensors: {key: each.half() for key, each in tensors.items()},
    )
    for dtype in (torch.float32, torch.bfloat16):
        pipe = load_checkpoint(halved, dtype)
        assert {each.dtype for each in weights(pipe).values() if each.is_floating_point()} == {
            dtype
        }


def test_other_tensors_of_real_files_do_no_harm(files, tmp_path):
    def litter(tensors):
        ids = torch.arange(77)[None].half()
        more = {f"{CLIP}text_model.embeddings.position_ids": ids, "betas": torch.ones(1000)}
        more |= {f"model_ema.x{n}": torch.ones(1) for n in range(101)}
        return tensors | more

    path = changed(tmp_path / "m.safetensors", files["sd1"], litter)
    assert same(load_checkpoint(path, torch.float32), tiny_files.pipeline("sd1"))


def test_old_merges_name_clip_without_its_text_model(files, tmp_path):
    def old(tensors):
        return {key.replace(f"{CLIP}text_model.", CLIP): each for key, each in tensors.items()}

    path = changed(tmp_path / "m.safetensors", files["sd1"], old)
    assert same(load_checkpoint(path, torch.float32), tiny_files.pipeline("sd1"))


def test_openclip_s_last_of_24_layers_is_left_out(files, tmp_path):
    first = "cond_stage_model.model.transformer.resblocks."

    def deep(tensors):
        one = {key: each for key, each in tensors.items() if key.startswith(f"{first}0.")}
        more = {
            key.replace(f"{first}0.", f"{first}{n}."): each + n / 100
            for n in range(2, 24)
            for key, each in one.items()
        }
        return tensors | more | {"cond_stage_model.model.text_projection": torch.eye(16)}

    encoder = load_checkpoint(
        changed(tmp_path / "m.safetensors", files["sd2"], deep), torch.float32
    ).text_encoder
    assert encoder.config.num_hidden_layers == 23
    assert type(encoder).__name__ == "CLIPTextModel"


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("model.diffusion_model.time_embed.2.bias", "its unet lacks some"),
        ("first_stage_model.decoder.norm_out.weight", "its vae lacks some"),
        (f"{CLIP}text_model.final_layer_norm.bias", "its text encoder lacks"),
        ("model.diffusion_model.out.2.weight", "holds no 'out.2.weight'"),
    ],
)
def test_a_missing_tensor_is_named(files, tmp_path, key, part):
    def without(tensors):
        return {name: each for name, each in tensors.items() if name != key}

    path = changed(tmp_path / "m.safetensors", files["sd1"], without)
    with pytest.raises(ModelError, match=part):
        load_checkpoint(path, torch.float32)


def test_a_file_without_vae_needs_another(files, tmp_path):
    def bare(tensors):
        return {key: each for key, each in tensors.items() if not key.startswith("first_stage")}

    path = changed(tmp_path / "m.safetensors", files["sd1"], bare)
    with pytest.raises(ModelError, match=r"holds no VAE: give one: --vae FILE"):
        load_checkpoint(path, torch.float32)
    own = tmp_path / "vae"
    tiny_files.pipeline("sd1").vae.save_pretrained(own)
    settings = Recipe(sampling={"steps": 2}, model={"vae": str(own)})
    patch = DiffusionEngine(path, settings).inpaint(crops(1), settings)[0]
    settings = Recipe(sampling={"steps": 2})
    whole = DiffusionEngine(files["sd1"], settings).inpaint(crops(1), settings)[0]
    assert (patch.pixels == whole.pixels).all()


def test_the_scheduler_gets_zero_terminal_noise(files, tmp_path):
    mark = {"ztsnr": torch.zeros(1), "v_pred": torch.zeros(1)}
    path = changed(tmp_path / "m.safetensors", files["sdxl"], lambda tensors: tensors | mark)
    config = load_checkpoint(path, torch.float32).scheduler.config
    assert config.rescale_betas_zero_snr
    assert (config.timestep_spacing, config.prediction_type) == ("trailing", "v_prediction")


class Payload:
    """Says when it is unpickled."""

    ran = 0

    def __setstate__(self, state):
        Payload.ran += 1


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_pickle_is_refused_unless_its_maker_is_trusted(files, tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    torch.save({"state_dict": load_file(files["sd1"]), "global_step": 3}, path)
    with pytest.raises(ModelError, match=r"is a pickle, which can hold code.*--trust-pickle"):
        load_checkpoint(path, torch.float32)
    loaded = load_checkpoint(path, torch.float32, trust_pickle=True)
    assert same(loaded, tiny_files.pipeline("sd1"))


def test_a_trusted_pickle_may_hold_more_than_tensors(files, tmp_path):
    path, Payload.ran = tmp_path / "m.ckpt", 0
    torch.save({"state_dict": load_file(files["sd1"]), "callbacks": {"x": _full()}}, path)
    with pytest.raises(ModelError, match="is a pickle"):
        DiffusionEngine(path, Recipe())
    assert Payload.ran == 0
    assert same(load_checkpoint(path, torch.float32, trust_pickle=True), tiny_files.pipeline("sd1"))
    assert Payload.ran


def _full():
    made = Payload()
    made.x = 1
    return made


def test_a_file_and_a_folder_of_the_same_weights_paint_the_same(files, tmp_path):
    tiny_files.pipeline("sd1").save_pretrained(tmp_path / "folder")
    settings = Recipe(sampling={"steps": 2, "sampler": "DDIM"})
    patches = [
        DiffusionEngine(path, settings).inpaint(crops(1), settings)[0].pixels
        for path in (tmp_path / "folder", files["sd1"])
    ]
    assert (patches[0] == patches[1]).all()
