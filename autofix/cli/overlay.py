"""Draws regions on their picture, for `autofix detect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autofix.geometry import Window
from autofix.values import Picture, Region

FIXED_COLOUR = (80, 220, 100)
"""Of regions that would be inpainted, as RGB."""

SKIPPED_COLOUR = (150, 150, 150)
"""Of regions that are skipped."""


def draw_overlay(
    picture: Picture, regions: Sequence[Region], windows: Sequence[Window | None]
) -> Image.Image:
    """The picture with each region's soft mask, box, crop and number; skipped regions are grey."""
    pixels = picture.pixels.astype(np.float32)
    for region in regions:
        x0, y0, x1, y1 = region.mask.box_xyxy
        alpha = region.mask.values[..., None].astype(np.float32) / 255 * 0.35
        part = pixels[y0:y1, x0:x1]
        part += (np.array(_region_colour(region), np.float32) - part) * alpha
    image = Image.fromarray(pixels.round().astype(np.uint8))
    draw = ImageDraw.Draw(image)
    unit = max(min(image.size) / 700, 1.0)
    font = ImageFont.load_default(size=15 * unit)
    for region, window in zip(regions, windows, strict=True):
        colour = _region_colour(region)
        if window is not None and not region.skip:
            draw.polygon(window.corners, outline=(255, 255, 255), width=1)
        draw.rectangle(region.detection.box_xyxy, outline=colour, width=round(2 * unit))
        _draw_label(draw, region, colour, font)
    return image


def _draw_label(
    draw: ImageDraw.ImageDraw, region: Region, colour: tuple[int, int, int], font: Any
) -> None:
    number = f"{region.pass_index + 1}/" * (region.pass_index > 0) + f"{region.index + 1}"
    text = f"{number} {region.detection.label} {region.detection.score:.2f}"
    x0, y0 = region.detection.box_xyxy[:2]
    left, top, right, bottom = draw.textbbox((x0, y0), text, font=font, anchor="lb")
    down = max(0, -top)
    draw.rectangle((left - 2, top + down - 1, right + 2, bottom + down + 1), fill=colour)
    draw.text((x0, y0 + down), text, fill=(0, 0, 0), font=font, anchor="lb")


def _region_colour(region: Region) -> tuple[int, int, int]:
    return SKIPPED_COLOUR if region.skip else FIXED_COLOUR
