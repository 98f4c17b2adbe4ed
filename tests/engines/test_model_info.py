"""A model's info is read from its files, without its weights."""

from __future__ import annotations

import shutil

import pytest

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.model_info import identity, read_folder_info
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe
from autofix.settings.region_sections import PADDING
from autofix.settings.units import Share
from tests.engines import tiny, tiny_files


def test_model_info_of_a_folder_is_in_its_configs(folders):
    info = read_folder_info(folders["sd"])
    assert (info.name, info.size.native, info.size.multiple) == ("sd", 64, 16)
    assert (info.tuned, info.steps, info.sampler) == (((0.0, 0.4),), 28, "DPM++ 2M Karras")
    assert info.reads_prompt
    assert info.inpaints("anything")
    own = read_folder_info(folders["promptless"])
    assert (own.name, own.size.native, own.steps, own.tuned) == ("tiny", 64, 6, ((0.0, 0.5),))
    assert not own.reads_prompt
    assert own.inpaints("anime_Face")
    assert not own.inpaints("hand")
    assert info.padding == PADDING


@pytest.mark.parametrize(
    ("padding", "advice"), [('"wide"', "pixels (4) or a share"), ("-1", "0 or")]
)
def test_a_padding_that_is_none_is_refused_with_its_file(folders, tmp_path, padding, advice):
    folder = tmp_path / "model"
    shutil.copytree(folders["promptless"], folder)
    own = folder / "autofix.toml"
    text = own.read_text()
    own.write_text(text + 'padding = "8%"\n')
    assert read_folder_info(folder).padding == Share(0.08, True)
    own.write_text(text + f"padding = {padding}\n")
    with pytest.raises(ModelError) as refused:
        read_folder_info(folder)
    assert advice in str(refused.value)
    assert "autofix.toml" in str(refused.value)


@pytest.mark.parametrize("strength", ["2", "[[24]]", '"much"'])
def test_a_strength_that_is_none_is_refused_with_its_file(folders, tmp_path, strength):
    own = shutil.copytree(folders["promptless"], tmp_path / "model") / "autofix.toml"
    text = own.read_text()
    own.write_text(text.replace("strength = 0.5", "strength = [[64, 0.4], [24, 0.5]]"))
    assert read_folder_info(own.parent).tuned == ((24, 0.5), (64, 0.4))
    own.write_text(text.replace("strength = 0.5", f"strength = {strength}"))
    with pytest.raises(ModelError, match=r"autofix\.toml sets strength to .*pairs of face px"):
        read_folder_info(own.parent)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no diffusers model: it has no model_index\.json"):
        DiffusionEngine(tmp_path, Recipe())
    (tmp_path / "model_index.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"model_index\.json cannot be read"):
        DiffusionEngine(tmp_path, Recipe())
    (tmp_path / "model_index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="holds no JSON object"):
        DiffusionEngine(tmp_path, Recipe())


def test_the_identity_changes_with_the_weights(folders, tmp_path):
    folder = tiny.sd(tmp_path / "copy")
    before = identity(folder)
    weights = next(folder.glob("unet/*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert identity(folder) != before
    assert identity(folders["sd"]) != identity(folders["sdxl"])


def test_model_info_of_a_checkpoint_is_in_its_header(tmp_path):
    path = tiny_files.checkpoint(tmp_path / "sd2.safetensors", "sd2", prediction="v_prediction")
    info = DiffusionEngine(path, Recipe()).info
    assert (info.name, info.family, info.prediction) == (
        "sd2", "Stable Diffusion 2.x", "v_prediction",
    )  # fmt: skip
    assert (info.size.native, info.scale, info.cfg, info.steps) == (768, 8, 7.0, 28)
    assert info.sampler == "DPM++ 2M Karras"


def test_the_identity_of_a_file_changes_with_weights_in_its_middle(tmp_path):
    file = tiny_files.checkpoint(tmp_path / "sdxl.safetensors", "sdxl")
    data = bytearray(file.read_bytes())
    copy = tmp_path / "under another name.safetensors"
    copy.write_bytes(data)
    assert identity(copy) == identity(file)
    middle = len(data) // 2
    data[middle : middle + 1_500_000] = bytes(1_500_000)
    copy.write_bytes(data)
    assert identity(copy) != identity(file)
