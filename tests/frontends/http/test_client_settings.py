"""Whatever clients ask for, they get it, or are told why not."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.errors import RecipeError, UsageError
from autofix.frontends.http.client_settings import ALLOWED, ForbiddenError, apply_client_settings
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe
from tests.build import picture
from tests.frontends.tools import fake_pipeline

FACE = load_recipe("face")
SECTIONS = {
    *("choose", "mask", "crop", "model", "prompt", "sampling", "inpaint", "soft", "restoration"),
    *("device", "blend", "check", "detect", "passes", "seed"),
}
WORDS = [
    "auto",
    "4%",
    "-3",
    "area",
    "ellipse",
    "merge-invert",
    "free",
    "poisson",
    "a {b|c}",
    "[SEP]",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(sorted(ALLOWED | SECTIONS)) | st.text() | st.just("mask.blur.x")


def kind_of(name):
    section, _, key = name.partition(".")
    fields = Recipe.model_fields
    if key:
        fields = fields[section].annotation.model_fields
    return fields[key or section].annotation


def test_allowed_settings_exist_and_only_prompts_are_free_text():
    texts = {name for name in ALLOWED if kind_of(name) is str}
    assert texts == {"prompt.positive", "prompt.negative"}


def test_settings_come_by_name_or_as_sections():
    recipe = apply_client_settings(FACE, {"inpaint.strength": 0.3, "mask": {"blur": 4}, "seed": 7})
    assert (recipe.inpaint.strength, recipe.mask.blur.value, recipe.seed) == (0.3, 4, 7)
    assert apply_client_settings(FACE, {}) is FACE


@pytest.mark.parametrize(
    "changes", [{"model": {"name": "x"}}, {"detect.detectors": ["x"]}, {"passes": []}]
)
def test_other_settings_are_forbidden(changes):
    with pytest.raises(ForbiddenError, match="cannot be set from outside"):
        apply_client_settings(FACE, changes)


@pytest.mark.parametrize("changes", [{"inpaint.strenght": 1}, {"mask": 5}, {"": 1}, {"mask.": 1}])
def test_unknown_settings_are_errors_of_the_recipe(changes):
    with pytest.raises(RecipeError):
        apply_client_settings(FACE, changes)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_settings_of_any_kind_are_applied_or_refused(changes):
    with contextlib.suppress(UsageError):
        assert isinstance(apply_client_settings(FACE, changes), Recipe)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ALLOWED)), VALUES, max_size=2))
def test_accepted_settings_can_fix_a_picture(changes):
    pipeline = fake_pipeline()
    try:
        recipe = apply_client_settings(pipeline.recipe, changes)
        outcome = pipeline.submit(picture(160, 120), recipe).result()
    except UsageError:
        return
    assert outcome.picture.size_wh == (160, 120)
