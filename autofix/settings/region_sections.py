"""The settings of a face's or hand's way: detect, choose, mask, crop, blend, check.

The defaults are ADetailer's unless the field's description gives a reason. A length is either
pixels of the picture (`4`) or a share of the box's longer side (`"4%"`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autofix.settings.section import Auto, Length, Padding, Part, Section, Signed, Size
from autofix.settings.units import Share

PADDING = Share(0.32, True)
"""What `crop.padding` is where it is auto and the model asks for no other."""


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
    """Which of the things found are inpainted, and in what order they are numbered."""

    min_ratio: Part = Field(0.0, description="Least box area as a share of the picture's area.")
    max_ratio: Part = Field(1.0, description="Greatest box area as a share of the picture's area.")
    min_side: int = Field(0, ge=0, description="Least shorter side of a box, in px.")
    faces: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="Inpaint only these numbers, as `autofix detect` draws them: [1, 3], of what "
        "the other settings here leave. Empty: all.",
    )
    limit: int = Field(0, ge=0, description="Inpaint at most so many a picture. 0: all.")
    limit_by: Literal["area", "confidence"] = Field(
        "area", description="Which ones stay within the limit. Never changes the order."
    )
    sort: Literal["none", "left-right", "center-edge", "area"] = Field(
        "left-right",
        description="The order in which things are numbered and given prompts. ADetailer's none is "
        "the detector's own order, which differs from model to model.",
    )


class Mask(Section):
    """Which pixels around a thing are inpainted."""

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
        description="merge: inpaint all things together, through one mask and with the first "
        "one's number. merge-invert: inpaint everything but them.",
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
        "further is skipped, since inpainting would cost it detail. 0: inpaint every one.",
    )


class Blend(Section):
    """How the inpainted crop goes back."""

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
    """What an inpainted crop must hold before it is pasted. docs/checks.md: how it was measured."""

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
        "draws freely may redraw an eye that was wrong. off: none of these is asked, for prompts "
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
