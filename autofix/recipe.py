"""Everything a user can set: one frozen section per stage. Unknown names are refused.

The defaults are ADetailer's unless the field's description gives a reason. A length is either
pixels of the picture (`4`) or a share of the box's longer side (`"4%"`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from autofix.errors import RecipeError
from autofix.units import Share, parse_length, parse_share, parse_size

Auto = Literal["auto"]


def _show_length(length: Share) -> str | float:
    return str(length) if length.relative else length.value


def _show_size(size: tuple[int, int] | str) -> str:
    return size if isinstance(size, str) else f"{size[0]}x{size[1]}"


Signed = Annotated[Share, BeforeValidator(parse_share), PlainSerializer(_show_length)]
Length = Annotated[Share, BeforeValidator(parse_length), PlainSerializer(_show_length)]
Side = Annotated[int, Field(ge=64, le=4096)]
Size = Annotated[Auto | tuple[Side, Side], BeforeValidator(parse_size), PlainSerializer(_show_size)]
Part = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One stage's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Detect(Section):
    """What is looked for, and by what."""

    detectors: tuple[str, ...] = Field(
        ("blazeface",),
        min_length=1,
        description="Names from `autofix weights list`, model files (.pt .onnx), "
        "or scripted:boxes.json. Several add up.",
    )
    confidence: Auto | Part = Field(
        "auto",
        description="Least score of a detection. "
        "auto: 0.3 for YOLO, 0.75 for BlazeFace, whose scores run higher.",
    )
    classes: tuple[str, ...] = Field(
        (), description="Keep only these class names of a model with many. Empty: all."
    )
    image_size: int = Field(
        640, ge=32, le=4096, description="Side in px at which a YOLO model sees the picture."
    )
    tile: int = Field(
        0,
        ge=0,
        le=8192,
        description="Let YOLO look at tiles of this side in px too, for tiny faces. 0: off.",
    )
    trust_pickle: bool = Field(
        False,
        description="Load a .pt that holds more than model weights. It can run any code: only for "
        "files whose maker you trust.",
    )
    overlap: Part = Field(
        0.5, description="Two boxes of one label that overlap more than this (IoU) are one thing."
    )


class Choose(Section):
    """Which of the things found are repainted, and in what order they are numbered."""

    min_ratio: Part = Field(0.0, description="Least box area as a share of the picture's area.")
    max_ratio: Part = Field(1.0, description="Greatest box area as a share of the picture's area.")
    min_side: int = Field(0, ge=0, description="Least shorter side of a box, in px.")
    limit: int = Field(0, ge=0, description="Repaint at most so many a picture. 0: all.")
    limit_by: Literal["area", "confidence"] = Field(
        "area", description="Which ones stay within the limit. Never changes the order."
    )
    sort: Literal["none", "left-right", "center-edge", "area"] = Field(
        "left-right",
        description="The order in which things are numbered and given prompts. ADetailer's none is "
        "the detector's own order, which differs from model to model.",
    )


class Mask(Section):
    """Which pixels around a thing are repainted."""

    shape: Literal["box", "ellipse", "outline"] = Field(
        "box", description="outline: the model's own segmentation where it gives one, else the box."
    )
    dilate: Signed = Field(
        Share(0.04, True),
        description="Grow (or, negative, shrink) the mask by this much in all, half on each side. "
        "ADetailer's 4 px suit a face of 100 px; as a share they suit every face.",
        validate_default=True,
    )
    blur: Length = Field(
        Share(0.04, True),
        description="Mask blur: the Gaussian's sigma. ADetailer's 4 px at a face of 100 px.",
        validate_default=True,
    )


class CropSection(Section):
    """How much of the picture around the mask the model sees, and how large."""

    padding: Length = Field(
        Share(0.32, True),
        description="Only masked padding: context on each side of the mask. ADetailer's 32 px at a "
        "face of 100 px: in px it is nearly the whole of a small face and nothing to a large one.",
        validate_default=True,
    )
    size: Size = Field(
        "auto", description="Working size, 512 or 832x1216. auto: the model's native size, square."
    )
    min_scale: float = Field(
        0.75,
        ge=0,
        le=8,
        description="Least working pixels for one of the picture. A crop that would be shrunk "
        "further is skipped, since repainting would cost it detail. 0: repaint every one.",
    )


class Inpaint(Section):
    """What repaints, and how."""

    model: str = Field(
        "builtin", description="builtin, null (paints nothing), or a diffusers folder."
    )
    prompt: str = Field("", description="What to paint. The built-in face model does not read it.")
    negative_prompt: str = Field("", description="What not to paint.")
    strength: Auto | Part = Field(
        "auto",
        description="Denoising strength: 0 keeps everything, 1 starts from noise. "
        "auto: the model's own, else 0.4.",
    )
    steps: Auto | Annotated[int, Field(ge=1, le=1000)] = Field(
        "auto",
        description="Sampling steps at strength 1; strength takes its share of them. "
        "auto: the model's own, else 28.",
    )
    cfg: float = Field(7.0, ge=0, le=100, description="CFG scale. 1 or less: no negative prompt.")
    sampler: str = Field(
        "auto",
        description="A sampler by A1111's name. auto: the model's own, else DPM++ 2M Karras.",
    )
    batch_size: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="How many faces, of any pictures, are repainted at once."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: float16 on cuda and mps, float32 on the CPU."
    )


class Blend(Section):
    """How the repainted crop goes back."""

    match_colour: bool = Field(
        True, description="Shift the patch so that its ring has the colour of the picture's ring."
    )


class Check(Section):
    """What a repainted crop must hold before it is pasted."""

    enabled: bool = Field(True, description="false: paste whatever comes out.")
    min_iou: Part = Field(
        0.5, description="The face must be found again where it was, with at least this IoU."
    )
    min_spread: float = Field(
        2.0,
        ge=0,
        le=255,
        description="Least standard deviation of a patch, in levels: less is flat or black.",
    )
    retries: int = Field(
        1,
        ge=0,
        le=10,
        description="Tries after a refusal, each with another seed and 3/4 of the strength.",
    )


class Recipe(Section):
    """All settings of a run."""

    name: str = Field("face", description="What this recipe is called.")
    description: str = Field("", description="What it is for.")
    seed: int = Field(
        0, ge=0, lt=2**63, description="Region n of a picture is painted with seed + n."
    )
    detect: Detect = Detect()
    choose: Choose = Choose()
    mask: Mask = Mask()
    crop: CropSection = CropSection()
    inpaint: Inpaint = Inpaint()
    blend: Blend = Blend()
    check: Check = Check()

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when any setting changes that can change a pixel."""
        settings = self.model_dump(mode="json", exclude={"name": True, "description": True})
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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
        return parse(data, origin="the options")


def parse(data: Mapping[str, Any], *, origin: str) -> Recipe:
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
    if problem["type"] == "extra_forbidden":
        known = _known(tuple(place[:-1]))
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


def _known(place: tuple[str, ...]) -> list[str]:
    fields: Any = Recipe.model_fields
    for part in place:
        fields = fields[part].annotation.model_fields
    return list(fields)
