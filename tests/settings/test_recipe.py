import sys

import pytest
import tomli_w

from autofix.errors import RecipeError
from autofix.settings.recipe import RENAMED, Recipe, parse_recipe, with_new_names
from autofix.settings.recipe_toml import differences_from_face, load_recipe, shipped_names, to_toml
from autofix.settings.units import Share, parse_share

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_holds_and_prints_as_itself(name):
    recipe = load_recipe(name)
    again = parse_recipe(tomllib.loads(to_toml(recipe)), origin="the printed recipe")
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint


def test_the_printed_recipe_explains_every_setting():
    lines = to_toml(load_recipe("face")).splitlines()
    settings = [n for n, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(settings) > 25
    assert all(lines[n - 1].startswith("# ") for n in settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop.paddin": 3}, "crop.paddin, which does not exist (did you mean 'padding'?)"),
        ({"colour.x": 3}, "colour, which does not exist (known here: name,"),
        ({"inpaint.strength": 1.4}, "inpaint.strength to 1.4"),
        ({"inpaint.strength": float("nan")}, "inpaint.strength to nan"),
        ({"mask.blur": -3}, "must be 0 or more, but got -3"),
        ({"mask.blur": "a lot"}, "must be pixels (4) or a share of the box (4%), but got 'a lot'"),
        ({"mask.dilate": "nan"}, "mask.dilate to 'nan'"),
        ({"crop.size": "12"}, "crop.size to"),
        ({"choose.sort": "up"}, "'none', 'left-right', 'center-edge' or 'area'"),
        ({"detect.detectors": []}, "detect.detectors to []"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_name_and_value(changes, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe("face").override(changes)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_option_wins_and_changes_the_fingerprint():
    plain = load_recipe("face")
    changed = plain.override({"inpaint.strength": 0.3, "crop.padding": 32, "crop.size": "832x1216"})
    assert (changed.inpaint.strength, changed.crop.size) == (0.3, (832, 1216))
    assert changed.crop.padding == Share(32, False)
    assert changed.fingerprint != plain.fingerprint
    assert plain.override({"description": "other words"}).fingerprint == plain.fingerprint


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3


def test_a_recipe_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[inpaint]\nstrength = 0.25\n[sampling]\nsteps = "auto"\n', encoding="utf-8")
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.inpaint.strength) == ("mine", 0.25)
    path.write_text("[inpaint\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine\.toml' cannot be read"):
        load_recipe(str(path))


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match=r"no recipe 'fcae' .did you mean 'face'"):
        load_recipe("fcae")
    with pytest.raises(RecipeError, match="takes a TOML file or one of"):
        load_recipe("no/such.toml")


@pytest.mark.parametrize(
    ("given", "px", "shown"), [(4, 4, "4"), ("4px", 4, "4"), ("12.5%", 10, "12.5%"), (0, 0, "0")]
)
def test_lengths_are_pixels_or_shares_of_the_box(given, px, shown):
    share = parse_share(given)
    assert share.px(80) == px
    assert str(share) == shown
    assert parse_share(shown) == parse_share(share) == share


def test_the_check_is_loose_with_a_model_that_paints_freely_unless_it_is_told_otherwise():
    check = load_recipe("face").check
    loose = check.for_model(faithful=False)
    assert check.for_model(faithful=True) == check
    assert loose.min_structure < check.min_structure
    assert loose.max_eyes > check.max_eyes
    assert (loose.max_ring, loose.min_iou) == (check.max_ring, check.min_iou)
    strict = load_recipe("face").override({"check.likeness": "strict"}).check
    assert strict.for_model(faithful=False) == strict


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_recipe_file_starts_from_its_base(tmp_path):
    plain = load_recipe(written(tmp_path / "plain.toml", "[mask]\nblur = 3\n"))
    assert plain.mask.shape == load_recipe("face").mask.shape == "ellipse"
    assert plain.mask.blur == Share(3, False)
    hand = written(tmp_path / "hand 2.toml", 'base = "hand"\n[mask]\nblur = 3\n')
    assert load_recipe(hand).mask.model_dump() == load_recipe("hand").mask.model_dump() | {
        "blur": 3.0
    }
    beside = written(tmp_path / "third.toml", 'base = "hand 2.toml"\nseed = 4\n')
    assert load_recipe(beside).mask == load_recipe(hand).mask
    assert (
        load_recipe(beside).name,
        load_recipe(beside).seed,
        load_recipe(beside).description,
    ) == ("third", 4, "")


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ('"fcae"', "did you mean 'face'"),
        ("3", "sets base to 3"),
        ('"mine.toml"', "has itself as its base"),
    ],
)
def test_a_base_that_does_not_exist_is_refused(tmp_path, base, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe(written(tmp_path / "mine.toml", f"base = {base}\n"))


def test_a_base_cannot_grant_trust(tmp_path):
    written(tmp_path / "base.toml", "[model]\ntrust_pickle = true\n")
    with pytest.raises(RecipeError, match=r"sets model\.trust_pickle, which no file can"):
        load_recipe(written(tmp_path / "mine.toml", 'base = "base.toml"\n'))


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_answered_with_the_new_one(old, new):
    with pytest.raises(RecipeError, match=f"{old}, which is called {new} now"):
        load_recipe("face").override({old: 1})
    section, _, key = new.partition(".")
    assert key in type(getattr(Recipe(), section)).model_fields


def test_an_old_record_is_read_with_new_names():
    old = {"seed": 3, "inpaint": {"strength": 0.3, "model": "m", "soft_bias": 2}}
    new = {"inpaint": {"strength": 0.3}, "model": {"name": "m"}, "soft": {"bias": 2}}
    assert with_new_names(old) == {"seed": 3, **new}
    assert with_new_names({"passes": [old, {}]}) == {"passes": [{"seed": 3, **new}, {}]}
    assert with_new_names(new) == new


@pytest.mark.parametrize("name", shipped_names())
def test_the_differences_from_face_make_the_recipe_again(name, tmp_path):
    recipe = load_recipe(name)
    text = tomli_w.dumps(differences_from_face(recipe))
    assert load_recipe(written(tmp_path / "again.toml", text)).fingerprint == recipe.fingerprint
