"""autofix recipe import and check, from the command line."""

import json

import pytest

from autofix.cli import recipe as command
from autofix.metadata.recipe_import import import_recipe
from autofix.settings.recipe_toml import load_recipe

TAB = {"ad_model": "face_yolov8n.pt", "ad_prompt": "a [SEP] b", "ad_denoising_strength": 0.3}


def written(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_the_command_prints_toml_and_says_what_is_missing(autofix, tmp_path):
    path = written(tmp_path / "it.json", {**TAB, "ad_restore_face": True})
    done = autofix("recipe", "import", path)
    assert done.code == 0
    assert "autofix: ADetailer restore face 'True' has no counterpart" in done.err
    assert "# ADetailer restore face 'True' has no counterpart" in done.out
    made = written(tmp_path / "made.toml", done.out)
    checked = autofix("recipe", "check", made)
    assert checked.code == 0, checked.err
    assert load_recipe(str(made)) == import_recipe(path).recipe
    none = autofix("recipe", "import", written(tmp_path / "none.txt", "hello"))
    assert none.code == 2
    assert "none.txt says nothing" in none.err
    assert autofix("recipe", "import", tmp_path / "nowhere").code == 2


@pytest.mark.parametrize("prompt", ["[SEP:lefft] a", "{a|b", "__hair__"])
def test_recipe_check_refuses_a_prompt_that_does_not_hold(autofix, tmp_path, prompt):
    made = written(tmp_path / "it.toml", f"[prompt]\npositive = {json.dumps(prompt)}\n")
    done = autofix("recipe", "check", made)
    assert done.code == 2
    assert "prompt" in done.err


def test_the_group_names_its_commands():
    assert sorted(command.command.commands) == ["check", "import", "list", "show"]
