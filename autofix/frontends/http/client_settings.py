"""What a client may set: nothing that names a file, a model or a device, or takes much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autofix.errors import RecipeError, UsageError
from autofix.settings.recipe import Recipe
from autofix.settings.section import Section

WHOLE_SECTIONS = ("choose", "mask", "soft", "blend", "check")
"""Sections of which clients may set everything but free text."""

SINGLE = {
    "crop": ("align", "area", "match", "min_scale", "padding"),
    "prompt": ("positive", "negative", "same_seed"),
    "sampling": ("steps", "cfg"),
    "inpaint": ("strength", "dynamic_power", "masked_content"),
}
"""Section -> what else they may set. Not what opens a detector or a model a second time."""


def _names() -> Iterator[str]:
    yield "seed"
    for section in WHOLE_SECTIONS:
        for key, field in Recipe.model_fields[section].annotation.model_fields.items():  # type: ignore[union-attr]
            if field.annotation is not str:
                yield f"{section}.{key}"
    for section, keys in SINGLE.items():
        yield from (f"{section}.{key}" for key in keys)


ALLOWED = frozenset(_names())
"""The recipe keys that clients may set, by dotted name."""


class ForbiddenError(UsageError):
    """A setting that is the server's alone."""


def requested(recipe: Recipe, changes: Mapping[str, object]) -> Recipe:
    """The recipe with a client's changes, by dotted name or as sections.

    Raises ForbiddenError for a setting that clients may not have, and RecipeError for one that
    does not exist or a value that does not hold.
    """
    flat = dict(_flat(changes))
    for name in flat:
        if name.count(".") > 1:
            raise RecipeError(f"there is no setting {name!r}", "a name is like mask.blur")
        if name not in ALLOWED and _exists(name):
            raise ForbiddenError(
                f"{name} cannot be set from outside",
                "set it where autofix was started; docs/serving.md lists what can be",
            )
    return recipe.override(flat) if flat else recipe


def _flat(changes: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in changes.items():
        if isinstance(value, Mapping) and "." not in name:
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        else:
            yield name, value


def _exists(name: str) -> bool:
    """Whether it is a setting, and not a section or nothing at all."""
    section, _, key = name.partition(".")
    field = Recipe.model_fields.get(section)
    kind = field.annotation if field else None
    if isinstance(kind, type) and issubclass(kind, Section):
        return key in kind.model_fields
    return field is not None
