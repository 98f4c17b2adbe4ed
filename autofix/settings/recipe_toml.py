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
from autofix.settings.recipe import Recipe, merge_settings, parse_recipe
from autofix.settings.section import Section
from autofix.settings.user_config import config_defaults

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = Path(__file__).parent / "shipped"

BASE = "face"
"""The recipe that all others start from, unless they name another."""


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or one from a TOML file, over the recipe that it starts from.

    Every recipe starts from `face` as the user's own [defaults] change it, unless its `base` names
    another. Raises RecipeError where there is no such recipe, it is no TOML, or a setting does not
    hold, and UsageError for a config file that does not hold.
    """
    data = _read_with_base(_recipe_path(name_or_file), name_or_file, above=())
    return parse_recipe(data, origin=f"recipe {name_or_file!r}")


def build_recipe(data: Mapping[str, Any], *, origin: str) -> Recipe:
    """A recipe from what a recipe file could hold, over recipe face. Raises RecipeError."""
    return parse_recipe(
        merge_settings(_shipped_data(BASE), {"description": "", **data}), origin=origin
    )


def differences_from_face(recipe: Recipe) -> dict[str, Any]:
    """What a recipe file must set for this recipe: where it differs from recipe face."""
    base = parse_recipe(_shipped_data(BASE), origin=f"recipe {BASE!r}").model_dump(mode="json")
    return _differing_keys(recipe.model_dump(mode="json"), {**base, "description": ""})


def _differing_keys(data: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            value = _differing_keys(value, base[key])
        if value != base[key] and value != {}:
            found[key] = value
    return found


def _shipped_data(name: str) -> dict[str, Any]:
    path = SHIPPED / f"{name}.toml"
    return {"name": name, **tomllib.loads(path.read_text(encoding="utf-8"))}


def _recipe_path(name_or_file: str, *, beside: Path | None = None) -> Path:
    """The file of a recipe. Raises RecipeError."""
    path = SHIPPED / f"{name_or_file}.toml"
    if re.fullmatch(r"[\w-]+", name_or_file) and path.is_file():
        return path
    path = (beside or Path()) / Path(name_or_file).expanduser()
    if path.is_file():
        return path
    near = difflib.get_close_matches(name_or_file, shipped_names(), n=1)
    raise RecipeError(
        f"there is no recipe {name_or_file!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
        f"--recipe takes a TOML file or one of: {', '.join(shipped_names())}",
    )


def _read_with_base(path: Path, shown: str, *, above: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe file's data over those of its base, and so on up to recipe face."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"recipe {shown!r} cannot be read: {error}", "mend the file") from error
    for setting in _trusted_sections(data):
        raise RecipeError(
            f"recipe {shown!r} sets {setting}, which no file can",
            "give --trust-pickle if you trust the makers of the model files, for they can run code",
        )
    base = data.pop("base", BASE)
    data = {"name": path.stem, "description": "", **data}
    if path == SHIPPED / f"{BASE}.toml":
        return merge_settings(data, config_defaults())
    if not isinstance(base, str):
        raise RecipeError(
            f"recipe {shown!r} sets base to {base!r}", 'it takes a name: base = "face"'
        )
    found = _recipe_path(base, beside=path.parent)
    if found in above:
        raise RecipeError(f"recipe {shown!r} has itself as its base", "name another base")
    return merge_settings(_read_with_base(found, base, above=(*above, path)), data)


def _trusted_sections(data: Mapping[str, Any]) -> Iterator[str]:
    """Where a recipe's data ask that model files may run code: a stranger may have written them."""
    passes = data.get("passes")
    for each in (data, *(passes if isinstance(passes, list) else ())):
        for name, section in each.items() if isinstance(each, dict) else ():
            if isinstance(section, dict) and section.get("trust_pickle", False) is not False:
                yield f"{name}.trust_pickle"


def shipped_names() -> list[str]:
    """The names of the recipes that come with autofix."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def to_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML, each setting under a comment that says what it means."""
    lines = [*_setting_lines(recipe)]
    for key in type(recipe).model_fields:
        if isinstance(section := getattr(recipe, key), Section):
            lines += [
                "",
                f"[{key}]  # {(type(section).__doc__ or '').strip()}",
                *_setting_lines(section),
            ]
    lines += ["", *_description_lines(type(recipe).model_fields["passes"])]
    if recipe.passes:
        lines += tomli_w.dumps({"passes": recipe.passes}).splitlines()
    return "\n".join(lines) + "\n"


def _setting_lines(section: Section) -> Iterator[str]:
    """Every plain setting of a section, with its comment."""
    data = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        if isinstance(getattr(section, key), Section) or key == "passes":
            continue
        yield from _description_lines(field)
        yield f"{key} = {json.dumps(data[key], ensure_ascii=False)}"


def _description_lines(field: FieldInfo) -> Iterator[str]:
    choices = [repr(c) for c in get_args(field.annotation) if isinstance(c, str) and c != "auto"]
    suffix = f" One of {', '.join(choices)}." if len(choices) > 1 else ""
    yield from textwrap.wrap(
        f"{field.description}{suffix}",
        100,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
