"""Everything a user can set: one frozen section per stage. Unknown names are refused.

The defaults are ADetailer's unless the field's description gives a reason. A length is either
pixels of the picture (`4`) or a share of the box's longer side (`"4%"`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from autofix.errors import RecipeError
from autofix.settings.units import Share, parse_length, parse_padding, parse_share, parse_size

Auto = Literal["auto"]

PADDING = Share(0.32, True)
"""What `crop.padding` is where it is auto and the model asks for no other."""


def _show_length(length: Share | str) -> str | float:
    if isinstance(length, str):
        return length
    return str(length) if length.relative else length.value


def _show_size(size: tuple[int, int] | str) -> str:
    return size if isinstance(size, str) else f"{size[0]}x{size[1]}"


Signed = Annotated[Share, BeforeValidator(parse_share), PlainSerializer(_show_length)]
Length = Annotated[Share, BeforeValidator(parse_length), PlainSerializer(_show_length)]
Padding = Annotated[Share | Auto, BeforeValidator(parse_padding), PlainSerializer(_show_length)]
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
        description="Load a .pt whole, not its data alone. It can run any code: only for files "
        "whose maker you trust. A recipe file cannot set it: give --trust-pickle.",
    )
    turns: bool = Field(
        False,
        description="Look at copies turned by 90, 180 and 270 degrees too, for faces that lie on "
        "their side or stand on their head. Four times the work.",
    )
    overlap: Part = Field(
        0.5, description="Two boxes of one label that overlap more than this (IoU) are one thing."
    )


class Choose(Section):
    """Which of the things found are repainted, and in what order they are numbered."""

    min_ratio: Part = Field(0.0, description="Least box area as a share of the picture's area.")
    max_ratio: Part = Field(1.0, description="Greatest box area as a share of the picture's area.")
    min_side: int = Field(0, ge=0, description="Least shorter side of a box, in px.")
    faces: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="Repaint only these numbers, as `autofix detect` draws them: [1, 3], of what "
        "the other settings here leave. Empty: all.",
    )
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
        "box",
        description="outline: the model's own segmentation where it gives one, of a face found "
        "with landmarks its contour, of a hand the hull of its points; else the box.",
    )
    offset_x: Signed = Field(
        Share(0.0, False),
        description="Move the mask to the right by so much. What leaves the picture is cut off.",
        validate_default=True,
    )
    offset_y: Signed = Field(
        Share(0.0, False),
        description="Move the mask upwards by so much, as ADetailer does.",
        validate_default=True,
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
    merge: Literal["none", "merge", "merge-invert"] = Field(
        "none",
        description="merge: repaint all things together, through one mask and with the first "
        "one's number. merge-invert: repaint everything but them.",
    )


class CropSection(Section):
    """How much of the picture around the mask the model sees, and how large."""

    area: Literal["only-masked", "whole-picture"] = Field(
        "only-masked",
        description="Inpaint area: the mask with its padding, or the whole picture, which is "
        "never stretched: what its shape lacks is reflected.",
    )
    padding: Padding = Field(
        "auto",
        description="Only masked padding: context on each side of the mask. auto: 8% of the box "
        "with the built-in model, else 32%, which is ADetailer's 32 px at a face of 100 px. In px "
        "it is nearly the whole of a small face and nothing to a large one.",
    )
    size: Size = Field(
        "auto",
        description="Working size, 512 or 832x1216. auto: the model's native size, square; of a "
        "whole picture its own shape with as many pixels, if it has them.",
    )
    match: Literal["off", "strict", "free"] = Field(
        "off",
        description="Give the working size the box's aspect where size is auto. strict: the "
        "nearest of SDXL's own sizes, for models of native 1024. free: any, with about the native "
        "size's number of pixels and no side under half of it.",
    )
    align: Literal["off", "auto"] = Field(
        "auto",
        description="auto: where the eyes lean more than 15 degrees the crop is cut turned, so "
        "that the model sees an upright face. Needs a detector that finds eyes, as blazeface.",
    )
    upscaler: str = Field(
        "lanczos",
        description="What scales the crop up: lanczos, or the file of an ESRGAN-type model "
        "(.safetensors, or .pth with --trust-pickle). Needs pip install 'autofix[upscale]'.",
    )
    min_scale: float = Field(
        0.75,
        ge=0,
        le=8,
        description="Least working pixels for one of the picture. A crop that would be shrunk "
        "further is skipped, since repainting would cost it detail. 0: repaint every one.",
    )


_CONTROL = re.compile(r"(?P<model>.+?)(:(?P<module>[a-zA-Z][\w+]*))?(:(?P<weight>[\d.]+))?")


class Control(Section):
    """One ControlNet: it steers the repaint by a control image made from the crop.

    Also a text: MODEL, MODEL:MODULE, MODEL:WEIGHT or MODEL:MODULE:WEIGHT.
    """

    model: str = Field(
        description="A ControlNet: a diffusers folder, a .safetensors file, or a name found in the "
        "ControlNet folder of [models]."
    )
    module: str = Field(
        "auto",
        description="What makes the control image: tile_resample, canny, inpaint_only; with the "
        "control extra also lineart, openpose, depth, scribble. none: the crop itself. auto: what "
        "the ControlNet's name says, as ADetailer guesses, else none.",
    )
    weight: float = Field(1.0, ge=0, le=2, description="How much it steers.")
    start: Part = Field(0.0, description="From this share of the steps on.")
    end: Part = Field(1.0, description="Up to this share of the steps.")
    down_sampling: float = Field(
        1.0, ge=1, le=8, description="tile_resample: make the crop so many times smaller first."
    )
    low: float = Field(100.0, ge=1, le=255, description="canny: the low threshold.")
    high: float = Field(200.0, ge=1, le=255, description="canny: the high threshold.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        parts = _CONTROL.fullmatch(given) if isinstance(given, str) else None
        return {k: v for k, v in parts.groupdict().items() if v} if parts else given

    @model_validator(mode="after")
    def _acts(self) -> Control:
        if self.end < self.start:
            raise ValueError(f"end ({self.end}) must not be less than start ({self.start})")
        return self


class Inpaint(Section):
    """What repaints, and how."""

    model: str = Field(
        "builtin",
        description="builtin, null (paints nothing), a diffusers folder, a checkpoint or "
        "face-restoration file, a name from [models], or a hub id (owner/name).",
    )
    revision: str = Field("", description="Hub id: the branch, tag or commit. Empty: the newest.")
    trust_pickle: bool = Field(
        False,
        description="Load checkpoints (.ckpt .pt .pth .bin) that can run code. A recipe file "
        "cannot set it: give --trust-pickle.",
    )
    vae: str = Field(
        "",
        description="A VAE in place of the model's own: a diffusers folder, a .safetensors file, "
        "or a name found in the VAE folder of [models].",
    )
    clip_skip: int = Field(
        1, ge=1, le=12, description="CLIP skip, as A1111 counts: 1 is CLIP's last layer."
    )
    control: tuple[Control, ...] = Field((), description="ControlNets, several at once.")
    visibility: Part = Field(
        1.0, description="Face-restoration networks: how much of their picture shows."
    )
    codeformer_weight: Part = Field(
        0.5, description="CodeFormer: 0 restores most, 1 keeps closest to the face."
    )
    prompt: str = Field(
        "",
        description="What to paint; [SEP] parts the prompts of face 1, 2, ..., [PROMPT] is the "
        "picture's own prompt, [SKIP] leaves a face alone. Empty: the picture's own, else one that "
        "suits the label. The built-in face model does not read it.",
    )
    negative_prompt: str = Field(
        "", description="What not to paint, with the same grammar. Empty: the picture's own."
    )
    wildcards: str = Field(
        "", description="Folder of NAME.txt files, one choice a line, for __NAME__ in a prompt."
    )
    same_seed: bool = Field(
        False,
        description="Paint all things of a picture with one seed, so that {a|b} and __NAME__ in a "
        "prompt are drawn alike for all of them.",
    )
    strength: Auto | Part | Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
        "auto",
        description="Denoising strength: 0 keeps everything, 1 starts from noise. A list is one "
        "for each cycle, the last repeated. auto: what suits the model and the face's size.",
    )
    dynamic_power: float = Field(
        0.0,
        ge=-10,
        le=10,
        description="ADetailer's dynamic denoising: strength times (1 - box area / picture area) "
        "to this power, kept within 0 and 1. 0: off.",
    )
    cycles: int = Field(
        1, ge=1, le=10, description="Repaint so many times, each starting from the last."
    )
    candidates: int = Field(
        1,
        ge=1,
        le=64,
        description="Repaint each thing so many times with different seeds; the check's score "
        "picks the best.",
    )
    masked_content: Literal["original", "fill", "latent-noise", "latent-nothing"] = Field(
        "original",
        description="What the masked pixels start from: themselves, the colours around the mask, "
        "noise, or nothing. Only original works with the built-in face model.",
    )
    soft: bool = Field(
        False,
        description="Soft inpainting: a mask that is soft in latent space too (differential "
        "diffusion).",
    )
    soft_bias: float = Field(
        1.0, ge=0, le=8, description="Soft inpainting's schedule bias: above 1, the original "
        "holds more in the first, noisy steps; below 1, more in the last.",
    )  # fmt: skip
    soft_preservation: float = Field(
        0.5, ge=0, le=8, description="Soft inpainting's preservation strength: how much of the "
        "original a half covered pixel keeps at each step.",
    )  # fmt: skip
    soft_contrast: float = Field(
        4.0, ge=1, le=32, description="Soft inpainting's transition contrast boost: how sharply "
        "original and new content part where they differ.",
    )  # fmt: skip
    soft_mask_influence: float = Field(
        0.0, ge=0, le=1, description="Soft inpainting: how much the drawn mask bounds the final "
        "paste. 0: only what changed inside it decides.",
    )  # fmt: skip
    soft_threshold: float = Field(
        0.5, ge=0, le=8, description="Soft inpainting's difference threshold: a smaller change "
        "of the latents shows at half opacity or less.",
    )  # fmt: skip
    soft_difference_contrast: float = Field(
        2.0, ge=0, le=8, description="Soft inpainting's difference contrast: how sharply that "
        "threshold cuts.",
    )  # fmt: skip
    steps: Auto | Annotated[int, Field(ge=1, le=1000)] = Field(
        "auto",
        description="Sampling steps at strength 1; strength takes its share of them. "
        "auto: the model's own, else 28.",
    )
    step_count: Literal["auto", "a1111", "diffusers", "exact"] = Field(
        "auto",
        description="How many of the steps are done. a1111: the whole part of strength times "
        "steps, and one more; diffusers: the whole part alone; exact: all steps, whatever the "
        "strength. auto: the model's own, else a1111.",
    )
    noise_multiplier: float = Field(
        1.0, ge=0, le=1.5, description="Multiplies the noise that a repaint starts from."
    )
    min_guidance_sigma: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Negative Guidance minimum sigma: below this noise level the negative prompt "
        "is skipped at every second step, which is faster. 0: off.",
    )
    guidance_start: Part = Field(0.0, description="CFG only from this share of the steps on.")
    guidance_end: Part = Field(1.0, description="CFG only up to this share of the steps.")
    cfg: Auto | Annotated[float, Field(ge=0, le=100)] = Field(
        "auto",
        description="CFG scale. 1 or less: no negative prompt. auto: the model's own, else 7.",
    )
    sampler: str = Field(
        "auto",
        description="A sampler by A1111's name. auto: the model's own, else DPM++ 2M Karras.",
    )
    batch_size: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="How many faces, of any pictures, are repainted at once."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="auto: float16 on cuda and mps (bfloat16 for SD3, Flux and their like, where "
        "the card has it), float32 on the CPU.",
    )
    vram: Literal["auto", "low", "min"] = Field(
        "auto",
        description="auto: all of the model stays on the device. low: only the part at work, and "
        "the VAE in slices and tiles. min: layer by layer, slow.",
    )
    compile: bool = Field(
        False, description="torch.compile: a slow start, then faster on a GPU; for long runs."
    )


class Blend(Section):
    """How the repainted crop goes back."""

    method: Literal["alpha", "multiband", "poisson"] = Field(
        "alpha",
        description="alpha: through the soft mask. multiband: coarse structure over a wider rim "
        "than fine. poisson: the patch's gradients, the picture's colours at the rim, however far "
        "off the patch's are.",
    )
    match_colour: bool = Field(
        True,
        description="Give the patch's ring the colours of the picture's ring: mean and spread, "
        "then place by place. By 12 units of L*a*b* at most.",
    )
    match_grain: bool = Field(
        True, description="Give the patch the grain that the picture has around it and had in it."
    )


LOOSE_STRUCTURE = 0.3


class Check(Section):
    """What a repainted crop must hold before it is pasted. docs/checks.md: how it was measured."""

    enabled: bool = Field(True, description="false: paste whatever comes out.")
    min_spread: float = Field(
        2.0,
        ge=0,
        le=255,
        description="Least standard deviation of a patch, in levels: less is flat or black.",
    )
    max_clipped: Part = Field(
        0.1, description="Greatest share of values newly at either end of the range."
    )
    max_drift: float = Field(
        12.0,
        ge=0,
        le=100,
        description="Greatest difference of colour (CIEDE2000) around the mask, where nothing "
        "should change. Less than that blend.match_colour mends.",
    )
    max_ring: float = Field(
        6.0,
        ge=0,
        le=100,
        description="Greatest difference of colour (CIEDE2000) that is left in the mask's rim.",
    )
    max_seam: float = Field(
        0.15,
        ge=0,
        le=100,
        description="Greatest step across the mask's rim, in parts of the picture's own gradients "
        "there.",
    )
    likeness: Literal["auto", "strict", "loose", "off"] = Field(
        "auto",
        description="How like the original a face must stay. strict: max_colour, min_structure, "
        "max_peak, max_eyes and max_landmarks as they stand. loose: far less, since a model that "
        "paints freely may redraw an eye that was wrong. off: none of these is asked, for prompts "
        "and strengths that make another person. auto: strict with a model that is shown the whole "
        "crop, as the built-in one is, else loose.",
    )
    max_colour: float = Field(
        11.0,
        ge=0,
        le=100,
        description="Greatest difference of colour (CIEDE2000) of any part of a face.",
    )
    min_structure: float = Field(
        0.74,
        ge=-1,
        le=1,
        description="Least agreement of light and dark in a face, as coarsely as the original "
        "showed it: 1 is the same, 0 unrelated.",
    )
    max_peak: float = Field(
        3.7,
        ge=0,
        le=100,
        description="How far the greatest change of any part of a face may stand out of its usual "
        "change.",
    )
    max_eyes: float = Field(
        0.5,
        ge=0,
        le=100,
        description="Greatest error of light and dark around the eyes, in parts of their contrast.",
    )
    min_iou: Part = Field(
        0.5, description="The face must be found again where it was, with at least this IoU."
    )
    max_score_drop: Part = Field(
        0.05, description="How much less sure of it the detector may be than of the original."
    )
    max_landmarks: float = Field(
        0.15,
        ge=0,
        le=100,
        description="How far eyes, nose and mouth may move, in distances between the eyes.",
    )
    min_identity: Part = Field(
        0.3,
        description="Least cosine of both faces' embeddings, where a caller from Python gives an "
        "embedding model; none ships.",
    )
    retries: int = Field(
        1,
        ge=0,
        le=10,
        description="Tries after a refusal, each with another seed and 3/4 of the strength.",
    )

    def for_model(self, *, faithful: bool) -> Check:
        """The bounds that hold for a model: as they stand, or loosened as `likeness` says."""
        if self.likeness in ("strict", "off") or (self.likeness == "auto" and faithful):
            return self
        return self.model_copy(
            update={
                "max_colour": 2 * self.max_colour,
                "min_structure": min(self.min_structure, LOOSE_STRUCTURE),
                "max_peak": 2 * self.max_peak,
                "max_eyes": 3 * self.max_eyes,
                "max_landmarks": 2 * self.max_landmarks,
            }
        )


class Recipe(Section):
    """All settings of a run."""

    name: str = Field("face", description="What this recipe is called.")
    description: str = Field("", description="What it is for.")
    seed: Auto | Annotated[int, Field(ge=0, lt=2**63)] = Field(
        "auto",
        description="Thing n of a picture is painted with seed + n - 1. auto: the seed that the "
        "picture's own text names, else 0.",
    )
    detect: Detect = Detect()
    choose: Choose = Choose()
    mask: Mask = Mask()
    crop: CropSection = CropSection()
    inpaint: Inpaint = Inpaint()
    blend: Blend = Blend()
    check: Check = Check()
    passes: tuple[dict[str, Any], ...] = Field(
        (),
        description="Several passes over each picture, one after the other, each with the sections "
        "above as far as they differ, as ADetailer's tabs. Empty: one pass.",
    )

    @model_validator(mode="after")
    def _passes_hold(self) -> Recipe:
        _ = self.each
        return self

    @property
    def each(self) -> tuple[Recipe, ...]:
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
            parse(_merged(base, changes), origin=f"pass {number} of recipe {self.name!r}")
            for number, changes in enumerate(self.passes, start=1)
        )

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
            # What is asked for here holds in every pass.
            for each in data["passes"] if dotted != "passes" else ():
                for section in sections:
                    each = each.get(section, {})
                each.pop(key, None)
        return parse(data, origin="the options")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _merged(known, value)
        merged[key] = value
    return merged


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
