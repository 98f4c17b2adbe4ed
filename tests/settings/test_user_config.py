import pytest

from autofix.errors import UsageError
from autofix.settings.recipe_toml import load_recipe
from autofix.settings.user_config import config_defaults


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    monkeypatch.setenv("AUTOFIX_CONFIG", str(path))
    return path


def test_defaults_change_recipe_face_and_all_that_start_from_it(config, tmp_path):
    config.write_text('[defaults]\nmask.shape = "box"\nmodel = {name = "m", trust_pickle = true}\n')
    mine = tmp_path / "mine.toml"
    mine.write_text('[model]\nname = "other"\n')
    assert [load_recipe(name).mask.shape for name in ("face", "hand", str(mine))] == [
        *("box", "outline", "box")
    ]
    assert [load_recipe(name).model.name for name in ("face", "hand", str(mine))] == [
        "m",
        "m",
        "other",
    ]
    assert load_recipe(str(mine)).model.trust_pickle
    assert config_defaults()["mask"] == {"shape": "box"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("defaults = 3", r"\[defaults\] in .* does not hold: it takes recipe keys"),
        ('[defaults]\nname = "x"', "sets 'name', which is a recipe's own"),
        ("[defaults]\npasses = []", "sets 'passes'"),
        ("[default]\nmask.blur = 3", r"sets 'default', .* did you mean \[defaults\]"),
        ("[defaults]\nmask.blu = 3", "mask.blu, which does not exist"),
    ],
)
def test_defaults_that_do_not_hold_are_named(config, text, problem):
    config.write_text(text)
    with pytest.raises(UsageError, match=problem):
        load_recipe("face")
