"""The values that flow through autofix: frozen, validated, each holding the one it came from.

A picture is RGB, uint8, height x width x 3, wherever it is inside autofix. Boxes are half-open
pixel edges (x0, y0, x1, y1), x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autofix.geometry import IntBox, Window
from detectors.detection import Detection

Pixels = NDArray[np.uint8]
"""RGB, height x width x 3, 0 to 255."""

MaskValues = NDArray[np.uint8]
"""height x width, 0 (keep the original) to 255 (take the new pixel)."""

Status = Literal["fixed", "kept", "skipped", "failed"]


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same values in a read-only array (a view where it already is contiguous)."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Source:
    """A picture file's metadata, kept to be written again.

    `alpha` is height x width uint8 or None; `deep` are the pixels of a file of 16 bits a channel,
    with alpha, as `sixteen_bit.Deep` has them, turned upright as the picture is; `text` are the PNG
    text chunks, in order; `save` are the encoder options that reproduce the file's kind (JPEG
    quality tables and subsampling, ...).
    `notes` are lines for people on what of the file could not be kept.
    """

    path: Path | None = None
    format: str = "PNG"
    mode: str = "RGB"
    alpha: MaskValues | None = None
    deep: NDArray[np.uint16] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    save: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture: its pixels, its name in a run, and its file's metadata."""

    pixels: Pixels
    name: str = ""
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(
                f"a picture must be uint8 of shape height x width x 3, "
                f"but got {self.pixels.dtype} of shape {shape}"
            )
        object.__setattr__(self, "pixels", read_only(self.pixels))

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same file's picture, of the same size, with other pixels."""
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"must have shape {self.pixels.shape}, but got {pixels.shape}")
        return replace(self, pixels=pixels)


@dataclass(frozen=True, eq=False)
class SoftMask:
    """A soft mask stored beside its own box; outside the box it is zero.

    `box_xyxy` lies inside the picture; `values` has the box's height x width, and may be empty.
    """

    box_xyxy: IntBox
    values: MaskValues

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if self.values.dtype != np.uint8 or self.values.shape != (y1 - y0, x1 - x0):
            raise ValueError(
                f"a mask for box {self.box_xyxy} must be uint8 of shape {(y1 - y0, x1 - x0)}, "
                f"but got {self.values.dtype} of shape {self.values.shape}"
            )
        object.__setattr__(self, "values", read_only(self.values))

    @property
    def empty(self) -> bool:
        """Whether it covers no pixel at all."""
        return not self.values.any()

    @property
    def area(self) -> float:
        """How many pixels it covers; a half covered one counts as one half."""
        return float(self.values.sum(dtype=np.int64)) / 255

    def trim(self) -> SoftMask:
        """The same mask in the smallest box that holds its non-zero values."""
        if self.empty:
            x0, y0 = self.box_xyxy[:2]
            return SoftMask((x0, y0, x0, y0), np.zeros((0, 0), np.uint8))
        rows = np.flatnonzero(self.values.any(axis=1))
        columns = np.flatnonzero(self.values.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        x0, y0 = self.box_xyxy[:2]
        box = (x0 + int(left), y0 + int(top), x0 + int(right), y0 + int(bottom))
        return SoftMask(box, self.values[top:bottom, left:right])

    def within(self, box_xyxy: IntBox) -> MaskValues:
        """The mask as seen through a box, which may reach outside the picture (zero there)."""
        x0, y0, x1, y1 = box_xyxy
        seen = np.zeros((y1 - y0, x1 - x0), np.uint8)
        mx0, my0, mx1, my1 = self.box_xyxy
        left, top, right, bottom = max(x0, mx0), max(y0, my0), min(x1, mx1), min(y1, my1)
        if left < right and top < bottom:
            seen[top - y0 : bottom - y0, left - x0 : right - x0] = self.values[
                top - my0 : bottom - my0, left - mx0 : right - mx0
            ]
        return seen


@dataclass(frozen=True, eq=False)
class Region:
    """A face or hand to inpaint: its Detection, its mask, and all that was decided for it.

    `index` counts from 0 in the picture's stated order, over everything that was found; numbers
    drawn for people count from 1. A region with a `skip` reason is not inpainted. `pass_index` is
    the recipe's pass that it belongs to, from 0.
    """

    detection: Detection
    index: int
    mask: SoftMask
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    strength: float = 0.4
    skip: str = ""
    pass_index: int = 0

    def with_skip(self, reason: str) -> Region:
        """The same region, skipped, with the first reason given."""
        return self if self.skip else replace(self, skip=reason)


@dataclass(frozen=True, eq=False)
class Crop:
    """A Region as the engine sees it: pixels and mask at the window's working size."""

    region: Region
    window: Window
    pixels: Pixels
    mask: MaskValues


@dataclass(frozen=True, eq=False)
class Patch:
    """An inpainted Crop: `pixels` are float32, height x width x 3 at working size, 0 to 1.

    An engine may give values that are not finite; the check stage refuses such a patch. `mask`, if
    given, replaces the crop's mask in pasting: at working size, and 0 wherever the crop's is 0.
    """

    crop: Crop
    pixels: NDArray[np.float32]
    seed: int
    strength: float
    mask: MaskValues | None = None

    def __post_init__(self) -> None:
        if self.pixels.shape != self.crop.pixels.shape or self.pixels.dtype != np.float32:
            raise ValueError(
                f"a patch must be float32 of its crop's shape {self.crop.pixels.shape}, "
                f"but got {self.pixels.dtype} of shape {self.pixels.shape}"
            )
        mask = self.crop.mask if self.mask is None else self.mask
        if mask.shape != self.crop.mask.shape or mask.dtype != np.uint8:
            raise ValueError(
                f"a patch's mask must be uint8 of its crop's shape {self.crop.mask.shape}, "
                f"but got {mask.dtype} of shape {mask.shape}"
            )

    @property
    def paste_mask(self) -> MaskValues:
        """The mask that it is pasted through, at working size: its own, else its crop's."""
        return self.crop.mask if self.mask is None else self.mask


@dataclass(frozen=True)
class Finding:
    """One test of the check stage: its name, what it measured, its bound, and whether it held."""

    name: str
    value: float
    threshold: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True, eq=False)
class RegionResult:
    """What became of one Region, and why. `window` is None where no crop was cut.

    `candidates` are the picture's pixels as they would be with each candidate, best first, where
    they were to be kept.
    """

    region: Region
    status: Status
    reason: str = ""
    window: Window | None = None
    findings: tuple[Finding, ...] = ()
    candidates: tuple[Picture, ...] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """The final Picture, and for every Region what became of it.

    No result at all means that nothing was found, which is not a failure. `seconds` is the time
    spent on it, its share of each batch.
    """

    picture: Picture
    results: tuple[RegionResult, ...] = ()
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether any region was inpainted."""
        return any(result.status == "fixed" for result in self.results)

    @property
    def failed(self) -> bool:
        """Whether any region could not be inpainted at all."""
        return any(result.status == "failed" for result in self.results)
