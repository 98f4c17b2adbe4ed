import re
from typing import Literal, get_args, get_origin

import pytest

from autofix.cli.options import FLAGS, OPTIONS, chosen_recipe, recipe_options
from autofix.settings.recipe import Recipe


@pytest.fixture
def chosen():
    """The recipe that a command with these arguments uses."""
    import click

    @click.command()
    @recipe_options
    def command(**given):
        return chosen_recipe(given)

    return lambda *arguments: command.main(list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("crop.min_scale=0", "crop", "min_scale", 0),
        ("crop.size=832x1216", "crop", "size", (832, 1216)),
        ("soft.enabled=true", "soft", "enabled", True),
        ("model.name=owner/model", "model", "name", "owner/model"),
        ('prompt.positive="a = b"', "prompt", "positive", "a = b"),
        ("prompt.positive=a, b = c", "prompt", "positive", "a, b = c"),
        ('detect.detectors=["hands", "blazeface"]', "detect", "detectors", ("hands", "blazeface")),
        ("inpaint.strength=[0.3, 0.2]", "inpaint", "strength", (0.3, 0.2)),
    ],
)
def test_set_option_sets_any_setting(chosen, text, section, key, value):
    assert getattr(getattr(chosen("--set", text), section), key) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("crop.min_scale", "is no KEY=VALUE"),
        ("=3", "is no KEY=VALUE"),
        ("crop.min_scal=0", "did you mean 'min_scale'"),
        ("inpaint.steps=3", "which is called sampling.steps now"),
        ("crop.min_scale=lots", "crop.min_scale to 'lots', which does not hold"),
    ],
)
def test_a_setting_that_does_not_hold_is_refused(chosen, text, problem):
    from autofix.errors import UsageError

    with pytest.raises(UsageError, match=problem):
        chosen("--set", text)


@pytest.mark.parametrize("command", ["run", "watch", "hook", "serve", "detect"])
def test_commands_with_a_recipe_take_set(command):
    import importlib

    parameters = importlib.import_module(f"autofix.cli.{command}").command.params
    assert "--set" in [option for parameter in parameters for option in parameter.opts]


HELP_OF_KEYS = [(key, text) for key, _, text in OPTIONS.values()] + [
    (key, text) for keys, _, text in FLAGS.values() for key in keys
]


def field_of(key):
    section, _, name = key.partition(".")
    field = Recipe.model_fields[section]
    return field.annotation.model_fields[name] if name else field


def numbers_in(text):
    """Numbers and counters, with their signs: seed + n - 1 has 1, n, and a minus before 1."""
    return set(re.findall(r"[-+] \d+|\b\d+(?:\.\d+)?\b", text))


@pytest.mark.parametrize(("key", "text"), HELP_OF_KEYS, ids=[key for key, _ in HELP_OF_KEYS])
def test_help_agrees_with_the_description_of_its_recipe_key(key, text):
    field = field_of(key)
    assert numbers_in(text) <= numbers_in(field.description)
    if "seed" in text.lower() and "+" in text:
        assert re.search(r"seed [^.]*", text)[0] == re.search(r"seed [^.]*", field.description)[0]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (key, text)
        for key, text in HELP_OF_KEYS
        if get_origin(field_of(key).annotation) is Literal and key not in {"check.enabled"}
    ],
)
def test_help_names_every_choice_of_its_recipe_key(key, text):
    assert [choice for choice in get_args(field_of(key).annotation) if choice not in text] == []
