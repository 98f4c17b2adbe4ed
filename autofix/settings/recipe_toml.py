"""Recipes as TOML: the ones that ship, the user's own, and any recipe printed with its meaning."""

from __future__ import annotations

import difflib
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic.fields import FieldInfo

from autofix.errors import RecipeError
from autofix.settings.recipe import Recipe, Section, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = Path(__file__).parent / "shipped"


def load(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or one from a TOML file.

    Raises RecipeError where there is no such recipe, it is no TOML, or a setting does not hold.
    """
    path = SHIPPED / f"{name_or_file}.toml"
    if not re.fullmatch(r"[\w-]+", name_or_file) or not path.is_file():
        path = Path(name_or_file)
        if not path.is_file():
            near = difflib.get_close_matches(name_or_file, shipped(), n=1)
            raise RecipeError(
                f"there is no recipe {name_or_file!r}"
                + (f" (did you mean {near[0]!r}?)" if near else ""),
                f"--recipe takes a TOML file or one of: {', '.join(shipped())}",
            )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f"recipe {name_or_file!r} cannot be read: {error}", "mend the file"
        ) from error
    for place in _trusting(data):
        raise RecipeError(
            f"recipe {name_or_file!r} sets {place}, which no file can",
            "give --trust-pickle if you trust the makers of the model files, for they can run code",
        )
    return parse({"name": path.stem, **data}, origin=f"recipe {name_or_file!r}")


def _trusting(data: Mapping[str, Any]) -> Iterator[str]:
    """Where a recipe's data ask that model files may run code: a stranger may have written them."""
    passes = data.get("passes")
    for each in (data, *(passes if isinstance(passes, list) else ())):
        for name, section in each.items() if isinstance(each, dict) else ():
            if isinstance(section, dict) and section.get("trust_pickle", False) is not False:
                yield f"{name}.trust_pickle"


def shipped() -> list[str]:
    """The names of the recipes that come with autofix."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def to_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML, each setting under a comment that says what it means."""
    lines = [*_settings(recipe)]
    for key in type(recipe).model_fields:
        if isinstance(section := getattr(recipe, key), Section):
            lines += [
                "",
                f"[{key}]  # {(type(section).__doc__ or '').strip()}",
                *_settings(section),
            ]
    lines += ["", *_described(type(recipe).model_fields["passes"])]
    if recipe.passes:
        lines += tomli_w.dumps({"passes": recipe.passes}).splitlines()
    return "\n".join(lines) + "\n"


def _settings(section: Section) -> Iterator[str]:
    """Every plain setting of a section, with its comment."""
    data = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        if isinstance(getattr(section, key), Section) or key == "passes":
            continue
        yield from _described(field)
        yield f"{key} = {json.dumps(data[key], ensure_ascii=False)}"


def _described(field: FieldInfo) -> Iterator[str]:
    choices = [repr(c) for c in get_args(field.annotation) if isinstance(c, str) and c != "auto"]
    suffix = f" One of {', '.join(choices)}." if len(choices) > 1 else ""
    yield from textwrap.wrap(
        f"{field.description}{suffix}",
        100,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
