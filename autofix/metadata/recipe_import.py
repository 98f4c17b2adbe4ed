"""Recipes from records of earlier runs, infotexts, and ADetailer's arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from autofix.errors import RecipeError
from autofix.imagefiles import files
from autofix.imagefiles.discovery import printable
from autofix.metadata import GenerationText, parse_generation, read_infotext, read_record
from autofix.metadata.adetailer_infotext import tabs_of
from autofix.metadata.adetailer_recipe import Settings, sampler_name, settings_of
from autofix.settings.recipe import Recipe, parse_recipe, with_new_names
from autofix.settings.recipe_toml import build_recipe, differences_from_face

_WHAT = "a picture, an infotext or ADetailer's API arguments"


@dataclass(frozen=True)
class Imported:
    """A recipe, and a line for each setting that it could not take over."""

    recipe: Recipe
    notes: tuple[str, ...] = ()

    def to_toml(self) -> str:
        """The settings that differ from recipe face's, under the notes as comments."""
        lines = [f"# {_one_line(note)}" for note in self.notes]
        data = differences_from_face(self.recipe)
        return "\n".join([*lines, _without_surrogates(tomli_w.dumps(data))])


def import_recipe(path: Path) -> Imported:
    """The recipe in a picture that was fixed, by autofix or ADetailer, or in a text file.

    A text file holds an infotext, or JSON: ADetailer's arguments (one tab, the list of them, or a
    whole request to the web UI's API) or an autofix record. A picture's own record wins over its
    ADetailer keys. Raises RecipeError where there is nothing of the kind or a value does not hold,
    and PictureError for a picture that cannot be read.
    """
    text = _read_text(path)
    if text is None:
        source = files.read(path, name=path.name).source
        settings = (read_record(source) or {}).get("recipe")
        if isinstance(settings, Mapping):
            return _of_record(settings, path)
        return _of_infotext(read_infotext(source), path)
    try:
        data = json.loads(text)
    except ValueError:
        return _of_infotext(parse_generation(text), path)
    except RecursionError:
        raise _nothing_found(path) from None
    return _of_json(data, path)


def _read_text(path: Path) -> str | None:
    """The file as text, or None for a picture."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"{printable(path)} cannot be read ({error.strerror})", f"name {_WHAT}"
        ) from error
    try:
        return None if b"\0" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _of_json(data: Any, path: Path) -> Imported:
    if isinstance(data, Mapping) and isinstance(data.get("recipe"), Mapping):
        return _of_record(data["recipe"], path)
    payload: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    for key in ("alwayson_scripts", "ADetailer", "args"):
        if isinstance(data, Mapping):
            data = data.get(key, data)
    tabs = data if isinstance(data, list) else [data]
    return _of_tabs(
        [tab for tab in tabs if isinstance(tab, Mapping)], _request_settings(payload), path
    )


def _of_record(settings: Mapping[str, Any], path: Path) -> Imported:
    """The recipe of a record, without `trust_pickle`: a file must not permit itself to run code."""
    settings = with_new_names(settings)
    data = {key: value for key, value in settings.items() if key != "passes"}
    passes = settings.get("passes", [])
    notes: list[str] = []
    for sections in (data, *(passes if isinstance(passes, list) else [])):
        for name in ("detect", "model"):
            section = sections.get(name) if isinstance(sections, Mapping) else None
            if isinstance(section, Mapping) and section.get("trust_pickle"):
                sections[name] = {k: v for k, v in section.items() if k != "trust_pickle"}
                notes.append(
                    f"{name}.trust_pickle was set: give --trust-pickle if you trust the model files"
                )
    recipe = parse_recipe({**data, "passes": passes}, origin=f"the record in {printable(path)}")
    return Imported(recipe, tuple(notes))


def _of_infotext(generation: GenerationText | None, path: Path) -> Imported:
    if generation is None:
        raise _nothing_found(path)
    tabs = tabs_of(generation.settings)
    return _of_tabs([tabs[tab] for tab in sorted(tabs)], _infotext_settings(generation), path)


def _of_tabs(tabs: Sequence[Mapping[str, Any]], main: Mapping[str, Any], path: Path) -> Imported:
    """A recipe with a pass for each tab that is on."""
    used = [
        tab
        for tab in tabs
        if tab.get("ad_model", "None") != "None" and tab.get("ad_tab_enable", True)
    ]
    if not used:
        raise _nothing_found(path)
    passes: list[Settings] = []
    notes: list[str] = []
    for tab in used:
        settings, missing = settings_of(tab, main)
        passes.append(_differing_settings(settings, path))
        notes += missing
    notes.append("ADetailer inpaints with the web UI's model: name yours in model.name")
    name = {"name": path.stem}
    one = {**name, **passes[0]} if len(passes) == 1 else {**name, "passes": passes}
    return Imported(build_recipe(one, origin=printable(path)), tuple(dict.fromkeys(notes)))


def _differing_settings(settings: Settings, path: Path) -> dict[str, Any]:
    """The settings as a recipe file states them: where they differ from recipe face's."""
    return differences_from_face(parse_recipe(settings, origin=printable(path)))


def _request_settings(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a request to the web UI's API for the whole picture."""
    main = {"steps": payload.get("steps"), "cfg": payload.get("cfg_scale")}
    if sampler := payload.get("sampler_name"):
        main["sampler"] = sampler_name(str(sampler), str(payload.get("scheduler") or ""))
    if payload.get("width") and payload.get("height"):
        main["size"] = f"{payload['width']}x{payload['height']}"
    return {key: value for key, value in main.items() if value is not None}


def _infotext_settings(generation: GenerationText) -> dict[str, Any]:
    """The settings of an infotext for the whole picture."""
    settings = dict(generation.settings)
    main = {"steps": settings.get("Steps"), "cfg": settings.get("CFG scale")}
    if sampler := settings.get("Sampler"):
        main["sampler"] = sampler_name(sampler, settings.get("Schedule type", ""))
    main["size"] = settings.get("Size")
    return {key: value for key, value in main.items() if value}


def _nothing_found(path: Path) -> RecipeError:
    return RecipeError(
        f"{printable(path)} says nothing of autofix or ADetailer", f"name {_WHAT} that does"
    )


def _one_line(text: str) -> str:
    """Printable, so that no file's text can end a comment or move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def _without_surrogates(text: str) -> str:
    """Without half a surrogate pair, which JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode()
