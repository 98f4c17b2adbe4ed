"""The settings that clients may change: none names a file, a model or a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autofix.errors import RecipeError, UsageError
from autofix.settings.recipe import Recipe
from autofix.settings.section import Section

WHOLE_SECTIONS = ("choose", "mask", "soft", "blend", "check")
"""Sections of which clients may set everything except free text."""

SINGLE = {
    "crop": ("align", "area", "match", "min_scale", "padding"),
    "prompt": ("positive", "negative", "same_seed"),
    "sampling": ("steps", "cfg"),
    "inpaint": ("strength", "dynamic_power", "masked_content"),
}
"""Section -> its keys that clients may set; none that opens a detector or model once more."""


def _allowed_names() -> Iterator[str]:
    yield "seed"
    for section in WHOLE_SECTIONS:
        for key, field in Recipe.model_fields[section].annotation.model_fields.items():  # type: ignore[union-attr]
            if field.annotation is not str:
                yield f"{section}.{key}"
    for section, keys in SINGLE.items():
        yield from (f"{section}.{key}" for key in keys)


ALLOWED = frozenset(_allowed_names())
"""The recipe keys that clients may set, by dotted name."""


class ForbiddenError(UsageError):
    """A setting that only the server may set."""


def apply_client_settings(recipe: Recipe, changes: Mapping[str, object]) -> Recipe:
    """The recipe with a client's changes, by dotted name or as sections.

    Raises ForbiddenError for a setting that clients may not change, and RecipeError for a setting
    that does not exist and for a wrong value.
    """
    flat = dict(_flat_changes(changes))
    for name in flat:
        if name.count(".") > 1:
            raise RecipeError(f"there is no setting {name!r}", "a name is like mask.blur")
        if name not in ALLOWED and _is_setting(name):
            raise ForbiddenError(
                f"{name} cannot be set from outside",
                "set it where autofix was started; docs/serving.md lists what can be",
            )
    return recipe.override(flat) if flat else recipe


def _flat_changes(changes: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in changes.items():
        if isinstance(value, Mapping) and "." not in name:
            yield from ((f"{name}.{key}", setting) for key, setting in value.items())
        else:
            yield name, value


def _is_setting(name: str) -> bool:
    """Whether the recipe has a setting of this name; sections are none."""
    section, _, key = name.partition(".")
    field = Recipe.model_fields.get(section)
    kind = field.annotation if field else None
    if isinstance(kind, type) and issubclass(kind, Section):
        return key in kind.model_fields
    return field is not None
