"""crop: a Region of a Picture -> what the engine is shown of it, and how large."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autofix.geometry import Window, crop_box, enclosing_size, expand_box, grow_box
from autofix.settings.region_sections import PADDING, CropSection
from autofix.settings.units import Share
from autofix.values import Crop, Picture, Pixels, Region, SoftMask
from detectors.detection import Detection

SDXL_NATIVE = 1024
SDXL_SIZES = (
    (1024, 1024),
    (1152, 896),
    (896, 1152),
    (1216, 832),
    (832, 1216),
    (1344, 768),
    (768, 1344),
    (1536, 640),
    (640, 1536),
)
"""Those that SDXL was trained on and ADetailer's Strict chooses from."""

LEAN = 15.0
"""Degrees by which the eyes lean before the crop is cut turned."""

LEAST_SIDE, MOST_SIDE = 64, 4096
"""Of the working size of a whole picture, px: what `crop.size` itself takes."""

REFLECTED, AT_ONCE = 4, 2**26
"""A crop of more px than this, and more than so many times the picture's, shows next to nothing
but reflections and fills the memory with them."""

Upscale = Callable[[Pixels, tuple[int, int]], Pixels]
"""Pixels and a larger width and height -> the same at that size."""


def crop(
    picture: Picture,
    region: Region,
    settings: CropSection,
    window: Window,
    *,
    upscale: Upscale | None = None,
) -> Crop:
    """What the window shows, pixels and mask; scaled by `upscale` where it has to grow.

    Of a whole picture the mask is doubled, cut at 255, as AUTOMATIC1111 does: the inner half of
    its soft rim is all new.
    """
    if settings.area == "whole-picture":
        doubled = np.minimum(region.mask.values.astype(np.uint16) * 2, 255).astype(np.uint8)
        region = replace(region, mask=SoftMask(region.mask.box_xyxy, doubled))
    if upscale is not None and window.scale > 1:
        seen = replace(window, size_wh=window.box_wh).cut(picture.pixels)
        pixels = upscale(seen, window.size_wh)
    else:
        pixels = window.cut(picture.pixels)
    mask = window.cut_mask(region.mask.within(window.bounds_xyxy))
    return Crop(region=region, window=window, pixels=pixels, mask=mask)


def crop_window(
    picture_wh: tuple[int, int],
    region: Region,
    settings: CropSection,
    *,
    native: int,
    multiple: int = 8,
    padding: Share = PADDING,
) -> Window:
    """The window alone, without a look at the pixels; for `native` and `multiple` see SizeRule.

    `padding` is what an "auto" in the settings means.

    Only masked is AUTOMATIC1111's: the soft mask's box, grown by the padding, then along its short
    axis to the aspect of the working size. Where the picture ends first, it is reflected. A
    leaning face is framed turned: with half the padding where `min_scale` forbids more room, and
    upright where it forbids that too.
    The whole picture is never stretched either: where its aspect is another, it is reflected.
    """
    detection = region.detection
    rule = {"native": native, "multiple": multiple}
    padding = padding if settings.padding == "auto" else settings.padding
    pad_px = math.floor(padding.px(max(detection.width, detection.height)) + 0.5)
    degrees = lean_degrees(detection) if settings.align == "auto" else 0.0
    if degrees and settings.area == "only-masked":
        for pad in (pad_px, pad_px // 2):
            turned = _turned_window(picture_wh, region.mask, settings, degrees, pad, rule)
            if turned.scale >= settings.min_scale:
                return turned
    size_wh = working_size((detection.width, detection.height), picture_wh, settings, **rule)
    if settings.area == "only-masked":
        box = crop_box(region.mask.box_xyxy, pad_px=pad_px, picture_wh=picture_wh)
        return Window(expand_box(box, aspect_wh=size_wh, picture_wh=picture_wh), size_wh)
    whole = (0, 0, *picture_wh)
    if settings.size == "auto" and picture_wh[0] <= size_wh[0] and picture_wh[1] <= size_wh[1]:
        return Window(grow_box(whole, least_wh=size_wh, picture_wh=picture_wh), size_wh)
    return Window(expand_box(whole, aspect_wh=size_wh, picture_wh=picture_wh), size_wh)


def unfit_reason(window: Window, picture_wh: tuple[int, int], settings: CropSection) -> str:
    """Why a crop through this window would do no good; empty where it would."""
    (wide, high), (to_wide, to_high) = window.box_wh, window.size_wh
    if window.scale < settings.min_scale:
        return (
            f"its crop of {wide}x{high} px would be shrunk to {to_wide}x{to_high} and lose detail; "
            f"crop.min_scale = 0 repaints it all the same"
        )
    if wide * high > max(AT_ONCE, REFLECTED * picture_wh[0] * picture_wh[1]):
        return (
            f"its crop of {wide}x{high} px would show little but reflections of a picture of "
            f"{picture_wh[0]}x{picture_wh[1]} px; set a crop.size nearer to its shape"
        )
    return ""


def working_size(
    thing_wh: tuple[float, float],
    picture_wh: tuple[int, int],
    settings: CropSection,
    *,
    native: int,
    multiple: int = 8,
) -> tuple[int, int]:
    """Width and height at which the model sees a thing of that size, multiples of `multiple`.

    A size that is set is taken, rounded up. Else, of the whole picture: its aspect, with the native
    size's number of pixels or, if that is fewer, its own. Else `match`, by the thing's own aspect
    (not that of the crop with its padding, as ADetailer's): strict is ADetailer's list for a model
    of native 1024 and nothing to others; free has about the native number of pixels and no side
    under half the native one, where ADetailer's longer side is the native one and the other as
    short as it comes: 344x512 for a box of 200x300, ours 416x624. Else the native square.
    """
    wide, high = float(native), float(native)
    if settings.size != "auto":
        wide, high = settings.size
    elif settings.area == "whole-picture":
        room = native / math.sqrt(picture_wh[0] * picture_wh[1])
        scale = min(room, MOST_SIDE / max(picture_wh), 1.0)
        wide, high = (max(side * scale, LEAST_SIDE) for side in picture_wh)
    elif settings.match == "free":
        narrow = min(max(math.sqrt(thing_wh[0] / thing_wh[1]), 0.5), 2.0)
        least = -(-native // (2 * multiple)) * multiple
        wide, high = (
            max(round(side / multiple) * multiple, least)
            for side in (native * narrow, native / narrow)
        )
    elif settings.match == "strict" and native == SDXL_NATIVE:
        wide, high = _strict_size(thing_wh)
    return math.ceil(wide / multiple) * multiple, math.ceil(high / multiple) * multiple


def lean_degrees(detection: Detection) -> float:
    """By how many degrees a face leans clockwise, -180 to 180; 0 up to `LEAN`, or without eyes.

    The person's right eye is on the left of an upright face, so one on its head has 180. Where
    the mouth is known too it steadies the eyes, which are next to each other in a profile: what
    comes out is the turn of the upright triangle that fits best by least squares.
    """
    right, left = detection.landmark("right_eye"), detection.landmark("left_eye")
    mouth = detection.landmark("mouth_center")
    if right is None or left is None:
        return 0.0
    x, y = left[0] - right[0], left[1] - right[1]
    if mouth is not None:
        x += mouth[1] - (right[1] + left[1]) / 2
        y -= mouth[0] - (right[0] + left[0]) / 2
    degrees = math.degrees(math.atan2(y, x))
    return degrees if abs(degrees) > LEAN else 0.0


def _strict_size(thing_wh: tuple[float, float]) -> tuple[int, int]:
    """ADetailer's choice: of the sizes that hold the thing, the one nearest to its aspect."""
    aspect = thing_wh[0] / thing_wh[1]
    holding = [size for size in SDXL_SIZES if size[0] >= thing_wh[0] and size[1] >= thing_wh[1]]
    return min(holding, key=lambda size: abs(size[0] / size[1] - aspect), default=SDXL_SIZES[0])


def _turned_window(
    picture_wh: tuple[int, int],
    mask: SoftMask,
    settings: CropSection,
    degrees: float,
    pad_px: int,
    rule: Mapping[str, int],
) -> Window:
    """The window that leans by so much and holds what the mask covers, with its padding."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = _mask_outline(mask)
    along, down = points @ (cos, sin), points @ (-sin, cos)
    thing_wh = float(np.ptp(along)), float(np.ptp(down))
    size_wh = working_size(thing_wh, picture_wh, settings, **rule)
    # One px more on each side: the window's corners lie on whole pixels, its middle need not.
    room = 2 * pad_px + 2
    held_wh = math.ceil(thing_wh[0] - 1e-6) + room, math.ceil(thing_wh[1] - 1e-6) + room
    wide, high = enclosing_size(held_wh, size_wh)
    u, v = (along.min() + along.max()) / 2, (down.min() + down.max()) / 2
    left, top = round(cos * u - sin * v - wide / 2), round(sin * u + cos * v - high / 2)
    return Window((left, top, left + wide, top + high), size_wh, degrees)


def _mask_outline(mask: SoftMask) -> NDArray[np.float64]:
    """The corners of each row's first and last covered pixel, n x 2: their hull is the mask's."""
    covered = mask.values > 0
    rows = np.flatnonzero(covered.any(axis=1))
    first = covered[rows].argmax(axis=1)
    last = covered.shape[1] - covered[rows, ::-1].argmax(axis=1)
    xs, ys = (
        np.concatenate([first, last, first, last]),
        np.concatenate([rows, rows, rows + 1, rows + 1]),
    )
    return np.stack([xs + mask.box_xyxy[0], ys + mask.box_xyxy[1]], axis=1).astype(np.float64)
