"""A recipe: everything a user can set, one frozen section a stage. Unknown names are refused."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from autofix.errors import RecipeError
from autofix.settings.model_sections import (
    Device,
    Inpaint,
    Model,
    Prompt,
    Restoration,
    Sampling,
    Soft,
)
from autofix.settings.region_sections import Blend, Check, Choose, CropSection, Detect, Mask
from autofix.settings.section import Auto, Section

RENAMED = {
    "inpaint.model": "model.name",
    "inpaint.device": "device.name",
    "inpaint.prompt": "prompt.positive",
    "inpaint.negative_prompt": "prompt.negative",
    "inpaint.soft": "soft.enabled",
    **{f"inpaint.soft_{key}": f"soft.{key}" for key in Soft.model_fields if key != "enabled"},
    **{
        f"inpaint.{key}": f"{name}.{key}"
        for name, section in (
            *(("model", Model), ("prompt", Prompt), ("sampling", Sampling)),
            *(("restoration", Restoration), ("device", Device)),
        )
        for key in section.model_fields
        if key not in ("name", "positive", "negative")
    },
}
"""Settings of version 0.1's [inpaint] -> where they are now."""


class Recipe(Section):
    """All settings of a run."""

    name: str = Field("face", description="What this recipe is called.")
    description: str = Field("", description="What it is for.")
    seed: Auto | Annotated[int, Field(ge=0, lt=2**63)] = Field(
        "auto",
        description="Thing n of a picture is inpainted with seed + n - 1. auto: the seed that the "
        "picture's own text names, else 0.",
    )
    detect: Detect = Detect()
    choose: Choose = Choose()
    mask: Mask = Mask()
    crop: CropSection = CropSection()
    model: Model = Model()
    prompt: Prompt = Prompt()
    sampling: Sampling = Sampling()
    inpaint: Inpaint = Inpaint()
    soft: Soft = Soft()
    restoration: Restoration = Restoration()
    device: Device = Device()
    blend: Blend = Blend()
    check: Check = Check()
    passes: tuple[dict[str, Any], ...] = Field(
        (),
        description="Several passes over each picture, one after the other, each with the sections "
        "above as far as they differ, as ADetailer's tabs. Empty: one pass.",
    )

    @model_validator(mode="after")
    def _passes_hold(self) -> Recipe:
        _ = self.each_pass
        return self

    @property
    def each_pass(self) -> tuple[Recipe, ...]:
        """The recipe of each pass, complete, itself without passes. Raises RecipeError."""
        if not self.passes:
            return (self,)
        if any("passes" in changes for changes in self.passes):
            raise RecipeError(
                f"recipe {self.name!r} sets passes inside a pass",
                "list them one after the other",
            )
        base = self.model_dump(mode="json", exclude={"passes"})
        return tuple(
            parse_recipe(
                merge_settings(base, changes), origin=f"pass {number} of recipe {self.name!r}"
            )
            for number, changes in enumerate(self.passes, start=1)
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when any setting changes that can change a pixel."""
        settings = self.model_dump(mode="json", exclude={"name": True, "description": True})
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def of_model(self) -> tuple[Section, ...]:
        """All sections that the engine reads: crops of one batch have these in common."""
        return (
            *(self.model, self.prompt, self.sampling, self.inpaint),
            *(self.soft, self.restoration, self.device),
        )

    def with_values(self, section: str, **values: object) -> Recipe:
        """A new recipe with values of one section replaced. They are not checked."""
        changed = getattr(self, section).model_copy(update=values)
        return self.model_copy(update={section: changed})

    def override(self, changes: Mapping[str, object]) -> Recipe:
        """A new recipe with settings replaced, by dotted name ("inpaint.strength").

        Raises RecipeError for an unknown name or a value that does not hold.
        """
        data = self.model_dump(mode="json")
        for dotted, value in changes.items():
            *sections, key = dotted.split(".")
            place = data
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
            # What is asked for here holds in every pass.
            for each in data["passes"] if dotted != "passes" else ():
                for section in sections:
                    each = each.get(section, {})
                each.pop(key, None)
        return parse_recipe(data, origin="the options")


def merge_settings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = merge_settings(known, value)
        merged[key] = value
    return merged


def parse_recipe(data: Mapping[str, Any], *, origin: str) -> Recipe:
    """A recipe from plain data; `origin` says in errors where the data came from."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(
            f"{origin} set{'s' if origin != 'the options' else ''} " + _first_problem(error),
            "`autofix recipe show face` lists every setting with its meaning",
        ) from error


def _first_problem(error: ValidationError) -> str:
    """The first thing that does not hold: its dotted name, its value, what would hold."""
    problems = error.errors()
    problem = problems[0]
    place = [part for part in problem["loc"] if isinstance(part, str)]
    if problem["type"] == "extra_forbidden" and ".".join(place) in RENAMED:
        return f"{'.'.join(place)}, which is called {RENAMED['.'.join(place)]} now"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(tuple(place[:-1]))
        near = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{'.'.join(place)}, which does not exist ({hint})"
    name = ".".join(place[:2])
    messages = [
        each["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        for each in problems
        if each["loc"][:2] == problem["loc"][:2]
    ]
    message = " or ".join(dict.fromkeys(messages))
    return f"{name} to {problem['input']!r}, which does not hold: {message}"


def _known_keys(place: tuple[str, ...]) -> list[str]:
    fields: Any = Recipe.model_fields
    for part in place:
        fields = fields[part].annotation.model_fields
    return list(fields)


def with_new_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """A record's recipe, plain data, with settings by the names that they have now."""
    renamed = {key: value for key, value in data.items() if key not in ("inpaint", "passes")}
    inpaint = data.get("inpaint")
    for key, value in inpaint.items() if isinstance(inpaint, Mapping) else ():
        section, _, name = RENAMED.get(f"inpaint.{key}", f"inpaint.{key}").partition(".")
        renamed[section] = {**renamed.get(section, {}), name: value}
    passes = data.get("passes", [])
    if isinstance(passes, list) and all(isinstance(one, Mapping) for one in passes):
        passes = [with_new_names(one) for one in passes]
    return {**renamed, "passes": passes} if "passes" in data else renamed
