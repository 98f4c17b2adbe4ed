"""crop: a Region of a Picture -> what the engine is shown of it."""

from __future__ import annotations

import math

from autofix.recipe import CropSection
from autofix.values import Crop, Picture, Region
from autofix.window import Window, crop_box, expand_box


def crop(
    picture: Picture, region: Region, settings: CropSection, *, size_wh: tuple[int, int]
) -> Crop:
    """The Region's surroundings at `size_wh`, pixels and mask.

    As AUTOMATIC1111's "only masked": the soft mask's box, grown by the padding, then along its
    short axis to the aspect of `size_wh`. Where the picture ends first, it is reflected.
    """
    window = frame(picture.size_wh, region, settings, size_wh=size_wh)
    return Crop(
        region=region,
        window=window,
        pixels=window.cut(picture.pixels),
        mask=window.cut_mask(region.mask.within(window.box_xyxy)),
    )


def frame(
    picture_wh: tuple[int, int],
    region: Region,
    settings: CropSection,
    *,
    size_wh: tuple[int, int],
) -> Window:
    """The window alone, without a look at the pixels."""
    side = max(region.detection.width, region.detection.height)
    pad_px = math.floor(settings.padding.px(side) + 0.5)
    box = crop_box(region.mask.box_xyxy, pad_px=pad_px, picture_wh=picture_wh)
    return Window(expand_box(box, aspect_wh=size_wh, picture_wh=picture_wh), size_wh)
