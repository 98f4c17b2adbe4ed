"""The values that --model takes, and where each model is found."""

from __future__ import annotations

import pytest

from autofix.engines.locate import Source, resolve
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders
from autofix.settings.recipe import Recipe

NONE = ModelFolders()


@pytest.fixture
def folder(folders):
    return folders["sd"]


def test_a_folder_and_a_file_are_what_they_are(folder, tmp_path):
    assert resolve(str(folder), Recipe(), NONE) == Source("folder", folder)
    file = tmp_path / "dream.safetensors"
    file.touch()
    assert resolve(str(file), Recipe(), NONE) == Source("checkpoint", file)
    assert Source("checkpoint", file).name == "dream"


def test_names_are_found_in_the_user_s_folders(tmp_path):
    place = tmp_path / "models" / "Stable-diffusion"
    place.mkdir(parents=True)
    (place / "Dream_8.safetensors").touch()
    (place / "old.ckpt").touch()
    folders = ModelFolders({"d": str(place / "Dream_8.safetensors")}, (tmp_path,))
    dream = Source("checkpoint", place / "Dream_8.safetensors")
    for name in ("d", "dream_8", "Dream_8.safetensors", "Dream_8.safetensors [1a2b3c4d]"):
        assert resolve(name, Recipe(), folders) == dream
    with pytest.raises(ModelError, match=r"'old\.ckpt' is a pickle"):
        resolve("old", Recipe(), folders)
    assert resolve("old", Recipe(model={"trust_pickle": True}), folders).path.name == "old.ckpt"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("draem_8", "did you mean 'dream_8'"),
        ("builtn", "did you mean 'builtin'"),
        ("no/such/thing", "--model takes builtin, null, a diffusers folder"),
        ("./no/thing", "--model takes"),
        ("models/gone.safetensors", "--model takes"),
        ("gone.ckpt", "--model takes"),
    ],
)
def test_an_unknown_model_is_refused_with_advice(text, advice):
    with pytest.raises(ModelError, match=advice):
        resolve(text, Recipe(), ModelFolders({"dream_8": "gone.safetensors"}), offline=True)


def test_a_short_name_that_leads_nowhere_says_where_it_led():
    folders = ModelFolders({"dream": "/no/such/dream.safetensors"})
    with pytest.raises(ModelError, match=r"your config file says is '/no/such/dream.safetensors'"):
        resolve("dream", Recipe(), folders)
