"""Short names, and models found where A1111 and ComfyUI keep them."""

from __future__ import annotations

import pytest

from autofix.errors import ModelError, UsageError
from autofix.settings.model_folders import ModelFolders, model_folders
from autofix.settings.user_config import config_path


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def a1111(tmp_path):
    root = tmp_path / "stable-diffusion-webui"
    touch(
        root,
        "models/Stable-diffusion/anime/Dream_8.ckpt",
        "models/Stable-diffusion/anime/Dream_8.safetensors",
        "models/Stable-diffusion/notes.txt",
        "models/Stable-diffusion/own/model_index.json",
        "models/Stable-diffusion/own/unet/weights.safetensors",
        "models/VAE/kl.vae.pt",
        "models/Lora/people/alice.safetensors",
        "models/ControlNet/tile.pth",
        "extensions/sd-webui-controlnet/models/canny.safetensors",
        "models/adetailer/face_big.pt",
        "models/GFPGAN/GFPGANv1.4.pth",
        "models/Codeformer/codeformer-v0.1.0.pth",
        "embeddings/bad-hands.pt",
    )
    return root


@pytest.fixture
def comfyui(tmp_path):
    root = tmp_path / "ComfyUI" / "models"
    touch(
        root,
        "checkpoints/xl.safetensors",
        "vae/xl.safetensors",
        "loras/bob.safetensors",
        "controlnet/depth.safetensors",
        "embeddings/good.safetensors",
        "ultralytics/bbox/face.pt",
        "ultralytics/segm/person.pt",
        "facerestore_models/RestoreFormer.pth",
    )
    return root


def searching(*folders):
    return ModelFolders({}, folders)


@pytest.mark.parametrize("below", ["", "models"])
@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("checkpoint", "Dream_8", "models/Stable-diffusion/anime/Dream_8.safetensors"),
        ("checkpoint", "dream_8.CKPT [1a2b3c4d5e]", "models/Stable-diffusion/anime/Dream_8.ckpt"),
        ("checkpoint", "anime/Dream_8", "models/Stable-diffusion/anime/Dream_8.safetensors"),
        ("checkpoint", "anime\\Dream_8", "models/Stable-diffusion/anime/Dream_8.safetensors"),
        ("checkpoint", "own", "models/Stable-diffusion/own"),
        ("vae", "kl.vae.pt", "models/VAE/kl.vae.pt"),
        ("lora", "alice", "models/Lora/people/alice.safetensors"),
        ("controlnet", "tile", "models/ControlNet/tile.pth"),
        ("detector", "face_big.pt", "models/adetailer/face_big.pt"),
        ("restoration", "GFPGANv1.4", "models/GFPGAN/GFPGANv1.4.pth"),
        ("restoration", "codeformer-v0.1.0", "models/Codeformer/codeformer-v0.1.0.pth"),
        ("embedding", "bad-hands", "embeddings/bad-hands.pt"),
    ],
)
def test_an_a1111_folder_works_as_it_is(a1111, below, kind, name, file):
    assert searching(a1111 / below).find_model(kind, name) == a1111 / file


def test_controlnets_of_the_web_ui_s_extension_are_found(a1111):
    assert searching(a1111).find_model("controlnet", "canny").parent.name == "models"


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("checkpoint", "xl", "checkpoints/xl.safetensors"),
        ("vae", "xl", "vae/xl.safetensors"),
        ("lora", "bob", "loras/bob.safetensors"),
        ("controlnet", "depth", "controlnet/depth.safetensors"),
        ("embedding", "good", "embeddings/good.safetensors"),
        ("detector", "face", "ultralytics/bbox/face.pt"),
        ("detector", "person", "ultralytics/segm/person.pt"),
        ("restoration", "RestoreFormer", "facerestore_models/RestoreFormer.pth"),
    ],
)
def test_a_comfyui_folder_works_as_it_is(comfyui, kind, name, file):
    assert searching(comfyui).find_model(kind, name) == comfyui / file


def test_the_first_folder_wins(a1111, comfyui):
    touch(comfyui, "checkpoints/dream_8.safetensors")
    both = searching(comfyui, a1111)
    assert both.find_model("checkpoint", "Dream_8") == comfyui / "checkpoints/dream_8.safetensors"
    assert both.known_names("checkpoint") == ["Dream_8", "dream_8", "own", "xl"]


def test_a_plain_folder_is_searched_for_every_kind(tmp_path):
    touch(tmp_path, "a/one.safetensors")
    assert searching(tmp_path).find_model("lora", "one") == tmp_path / "a/one.safetensors"
    assert searching(tmp_path).find_model("checkpoint", "one") == tmp_path / "a/one.safetensors"


def test_links_are_followed_and_rings_of_them_end(a1111, tmp_path):
    touch(tmp_path / "other disk", "far.safetensors")
    place = a1111 / "models/Stable-diffusion"
    (place / "far away").symlink_to(tmp_path / "other disk")
    (place / "ring").symlink_to(place)
    assert searching(a1111).find_model("checkpoint", "far").name == "far.safetensors"
    assert searching(a1111).known_names("checkpoint") == ["Dream_8", "far", "own"]


@pytest.mark.parametrize(
    "name", ["../VAE/kl.vae", "/etc/passwd", "anime/../../VAE/kl", "C:\\models\\x", "..\\VAE\\kl"]
)
def test_a_name_cannot_leave_its_folder(a1111, name):
    with pytest.raises(ModelError, match="no name inside the models folders"):
        searching(a1111).find_model("checkpoint", name)


def test_the_nearest_names_are_told(a1111):
    with pytest.raises(ModelError, match="there is no checkpoint 'draem_8': did you mean 'Dream_8"):
        searching(a1111).find_model("checkpoint", "draem_8")
    with pytest.raises(ModelError, match=r"give its path, or name the folders.*\.toml"):
        searching().find_model("checkpoint", "draem_8")


def test_the_config_file_names_folders_and_models(a1111, comfyui, tmp_path, monkeypatch):
    config = tmp_path / "config.toml"
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
    monkeypatch.setenv("MY_DISK", str(tmp_path))
    config.write_text(
        '[models]\nfolders = ["stable-diffusion-webui/models", "$MY_DISK/ComfyUI/models"]\n'
        'pretty = "ComfyUI/models/checkpoints/xl.safetensors"\nturbo = "owner/turbo"\n'
    )
    found = model_folders()
    assert found.folders == (a1111 / "models", comfyui)
    assert found.find_model("checkpoint", "pretty") == comfyui / "checkpoints/xl.safetensors"
    assert found.names["turbo"] == "owner/turbo"
    assert found.find_model("lora", "bob").name == "bob.safetensors"
    assert "pretty" in found.known_names("checkpoint")


def test_without_a_config_file_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOFIX_CONFIG", str(tmp_path / "none.toml"))
    assert model_folders() == ModelFolders()
    monkeypatch.delenv("AUTOFIX_CONFIG")
    assert config_path().name == "config.toml"
    assert "autofix" in config_path().parts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models\n", "cannot be read"),
        ('models = "x"', "does not hold"),
        ("[models]\nfolders = 3", "does not hold"),
        ("[models]\npretty = 3", "does not hold"),
        ("[model]\nname = 'x'", "sets 'model', which does not exist: did you mean .models.?"),
    ],
)
def test_a_config_file_that_does_not_hold_is_named(tmp_path, monkeypatch, text, said):
    config = tmp_path / "config.toml"
    config.write_text(text)
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
    with pytest.raises(UsageError, match=said) as raised:
        model_folders()
    assert str(config) in str(raised.value)
