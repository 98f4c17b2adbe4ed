"""Trust in files that can run code comes from the user alone."""

from __future__ import annotations

import pytest
from PIL import Image

from autofix.errors import RecipeError
from autofix.fixer import Fixer
from autofix.settings.recipe_toml import load_recipe
from tests.pickles import called, dict_of, named, text, write_checkpoint

TRUSTING = {
    "a section": "[detect]\ntrust_pickle = true\n",
    "the model": "[model]\ntrust_pickle = true\n",
    "a dotted key": "detect.trust_pickle = true\n",
    "a word for it": '[detect]\ntrust_pickle = "yes"\n',
    "a number for it": "[detect]\ntrust_pickle = 1\n",
    "a pass": "[[passes]]\ndetect.trust_pickle = true\n",
    "the second pass": "[[passes]]\n[[passes]]\n[passes.inpaint]\ntrust_pickle = true\n",
}


@pytest.fixture
def evil(tmp_path):
    """A picture, and a detector that makes a file when it is trusted."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    marker = tmp_path / "ran"
    call = called(named("builtins", "open"), text(str(marker)), text("w"))
    write_checkpoint(tmp_path / "evil.pt", dict_of(model=call))
    return tmp_path / "evil.pt", marker


@pytest.mark.parametrize("content", TRUSTING.values(), ids=TRUSTING)
def test_a_recipe_file_cannot_trust(autofix, tmp_path, evil, content):
    detector, marker = evil
    recipe = tmp_path / "mine.toml"
    recipe.write_text(content, encoding="utf-8")
    done = autofix(
        *("run", tmp_path / "a.png", "-o", tmp_path / "out"),
        *("--recipe", recipe, "--detector", detector, "--model", "null"),
    )
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "trust_pickle, which no file can: give --trust-pickle" in done.err
    assert not marker.exists()
    assert autofix("recipe", "check", recipe).code == 2
    with pytest.raises(RecipeError, match="no file can"):
        Fixer(str(recipe))


def test_a_recipe_file_may_say_that_nothing_is_trusted(tmp_path):
    """As `autofix recipe show` prints it."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[detect]\ntrust_pickle = false\n", encoding="utf-8")
    assert not load_recipe(str(recipe)).detect.trust_pickle


@pytest.mark.parametrize("trusted", [False, True])
def test_the_command_line_can_trust(autofix, tmp_path, evil, trusted):
    detector, marker = evil
    done = autofix(
        *("detect", tmp_path / "a.png", "--detector", detector),
        *(("--trust-pickle",) if trusted else ()),
    )
    assert done.code == 2
    assert marker.exists() == trusted


def test_python_can_trust():
    with Fixer(model="null", detect__trust_pickle=True) as fixer:
        assert fixer.recipe.detect.trust_pickle
