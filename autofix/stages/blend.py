"""blend: a Patch -> the Picture with the patch pasted through its soft mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.polynomial.polynomial import polyvander
from numpy.typing import NDArray

from autofix.imaging.colour import lab_to_rgb, rgb_to_lab
from autofix.imaging.grain import OPPONENT, grain_of, missing_grain, synthesise_grain
from autofix.imaging.harmonic_fill import harmonic_surface
from autofix.settings.region_sections import Blend
from autofix.values import Patch, Picture, SoftMask

Values = NDArray[np.float32]

COLOURLESS, COLOURED = 1.8, 2.6
"""Spread of a crop's a* and b* about what its light tells of them, up to which its picture is grey
or toned, and from which it has colours of its own: a face that fills its crop has 2.5 or more, a
sepia print with grain and JPEG's traces seldom over 2.6."""

COLOUR_LIMIT = 12.0
"""Greatest change of a colour in L*a*b*: more than that is no drift but a wrong patch."""

GAIN_LIMIT = 1.25
"""Greatest change of contrast or saturation, and one over it the least."""

GRID = 64
"""Longer side in px of the grid on which colours are compared: finer, and detail would count."""


def blend(picture: Picture, patch: Patch, settings: Blend) -> Picture:
    """The picture with the patch in it; pixels where the soft mask is 0 are bit-identical.

    The patch must be finite. `match_colour` gives it the colours of the ring around the mask,
    where picture and patch show the same, within COLOUR_LIMIT, and no colour of its own in a
    grey or toned picture; `match_grain` the picture's grain.
    Nothing is rounded before the end.
    """
    mask = _mask_on_picture(patch)
    x0, y0, x1, y1 = mask.box_xyxy
    old = picture.pixels[y0:y1, x0:x1].astype(np.float32)
    new = _match_colours(patch, old / np.float32(255), settings) * np.float32(255)
    if settings.method == "multiband":
        mixed = old + _blend_by_bands(new - old, mask, picture.size_wh)
    else:
        mixed = old + (new - old) * (mask.values[..., None] / np.float32(255))
    if settings.match_grain:
        mixed += _missing_grain(picture, mask, old, new, patch.seed)
    covered = mask.values > 0
    pixels = picture.pixels.copy()
    pixels[y0:y1, x0:x1][covered] = np.rint(mixed[covered]).clip(0, 255).astype(np.uint8)
    return picture.with_pixels(pixels)


def _mask_on_picture(patch: Patch) -> SoftMask:
    """The mask to paste through, on the picture: the region's, or what the patch has left of it."""
    drawn = patch.crop.region.mask
    if patch.mask is None:
        return drawn
    seen = patch.crop.window.uncut(patch.mask[..., None].astype(np.float32), drawn.box_xyxy)
    values = np.rint(seen[..., 0]).clip(0, 255).astype(np.uint8)
    return SoftMask(drawn.box_xyxy, np.where(drawn.values > 0, values, 0).astype(np.uint8))


def _match_colours(patch: Patch, old: Values, settings: Blend) -> Values:
    """The patch on its mask's box of the picture, 0 to 1, in the picture's colours.

    `old` is what is there. What has to change is found on a small grid over the crop, and applied
    to the pixels.
    """
    crop, box = patch.crop, patch.crop.region.mask.box_xyxy
    values = np.clip(patch.pixels, 0, 1)
    pixels = np.clip(crop.window.uncut(values, box), 0, 1)
    before, after = _shrink_to_grid(crop.pixels) / np.float32(255), _shrink_to_grid(values)
    ring = _ring_weights(_shrink_to_grid(patch.paste_mask) / np.float32(255))
    if ring.sum() < 1:  # the mask fills the crop: nothing to go by
        return pixels
    grid = replace(crop.window, size_wh=(ring.shape[1], ring.shape[0]))
    if settings.match_colour:
        gain, offset = _find_colour_drift(rgb_to_lab(before), rgb_to_lab(after), ring)
        after = _shift_colours(after, gain, offset)
        pixels = _shift_colours(pixels, gain, grid.uncut(offset, box))
        tones_of, spread = _fit_tones(crop.pixels)
        if spread < COLOURED:
            keep = max(spread - COLOURLESS, 0) / (COLOURED - COLOURLESS)
            pixels = _fade_colours(pixels, old, tones_of, keep)
    if settings.method == "poisson":
        pixels = pixels + grid.uncut(harmonic_surface(before - after, ring, tension=0.02), box)
    return np.asarray(np.clip(pixels, 0, 1), np.float32)


def _shrink_to_grid(values: NDArray[np.uint8] | Values) -> Values:
    """Brought down to the grid, as float32."""
    height, width = values.shape[:2]
    scale = min(GRID / max(height, width), 1)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    floats = values.astype(np.float32)
    return np.asarray(cv2.resize(floats, size, interpolation=cv2.INTER_AREA), np.float32)


def _ring_weights(alpha: Values) -> Values:
    """How much each point of the grid tells of the colours around the mask, 0 to 1.

    All where the mask has just ended, less and less further out, and on its soft rim what it
    leaves of the picture.
    """
    away = cv2.distanceTransform(np.uint8(alpha == 0), cv2.DIST_L2, 3) / max(alpha.shape)
    return np.asarray((1 - alpha) / (1 + (12 * away) ** 2), np.float32)


def _find_colour_drift(before: Values, after: Values, ring: Values) -> tuple[Values, Values]:
    """The gain of each channel and the offset at each point that take `after` to `before`.

    Mean and spread of the ring first, then what still differs from place to place, which is
    carried inwards as a membrane. Where both show different things there is no colour to match.
    """
    apart = before - after
    usual = np.median(apart[ring > ring.max() / 2], axis=0)
    trust = ring / (1 + ((apart - usual) ** 2).sum(axis=-1) / 6**2) ** 2
    mean, spread = zip(*(_mean_and_variance(each, trust) for each in (before, after)), strict=True)
    # A flat ring says nothing of contrast: three units of spread on both sides speak for gain 1.
    gain = np.sqrt((spread[0] + 9) / (spread[1] + 9)).clip(1 / GAIN_LIMIT, GAIN_LIMIT)
    offset = mean[0] - gain * mean[1]
    return gain, offset + harmonic_surface(before - gain * after - offset, trust, tension=0.2)


def _mean_and_variance(values: Values, weight: Values) -> tuple[Values, Values]:
    """Mean and variance of each channel."""
    share = (weight / weight.sum())[..., None]
    mean = (share * values).sum(axis=(0, 1))
    return mean, (share * (values - mean) ** 2).sum(axis=(0, 1))


def _shift_colours(rgb: Values, gain: Values, offset: Values) -> Values:
    """Colours with gain and offset applied in L*a*b*, none changed by more than the limit."""
    lab = rgb_to_lab(rgb)
    change = gain * lab + offset - lab
    length = np.sqrt((change**2).sum(axis=-1, keepdims=True))
    return lab_to_rgb(lab + change * (COLOUR_LIMIT / np.maximum(length, COLOUR_LIMIT)))


def _fit_tones(pixels: NDArray[np.uint8]) -> tuple[Callable[[Values], Values], float]:
    """L* -> a* and b* as nearly as a cubic tells them, and how far the pixels' lie from that.

    Some of the pixels are looked at: an average would lose the colour of grain.
    """
    step = max(max(pixels.shape[:2]) // GRID, 1)
    lab = rgb_to_lab(pixels[::step, ::step].reshape(-1, 3).astype(np.float32) / np.float32(255))
    light, colours = lab[:, 0], lab[:, 1:]
    cubic = np.linalg.lstsq(polyvander(light / 100, 3), colours, rcond=None)[0]

    def tones_of(asked: Values) -> Values:
        seen = np.clip(asked, light.min(), light.max())
        return np.asarray(polyvander(seen / 100, 3) @ cubic, np.float32)

    return tones_of, float(np.sqrt(((colours - tones_of(light)) ** 2).mean(axis=0).sum()))


def _fade_colours(
    rgb: Values, old: Values, tones_of: Callable[[Values], Values], keep: float
) -> Values:
    """The same light in the tones_of of what was there, with so much of its own colour kept."""
    lab, was = rgb_to_lab(rgb), rgb_to_lab(old)
    toned = was[..., 1:] + tones_of(lab[..., 0]) - tones_of(was[..., 0])
    lab[..., 1:] = toned + keep * (lab[..., 1:] - toned)
    return lab_to_rgb(lab)


def _blend_by_bands(change: Values, mask: SoftMask, picture_wh: tuple[int, int]) -> Values:
    """A change let in octave by octave: detail through the mask, coarser structure over a rim as
    wide as itself, inwards from where the mask ends.

    After Burt and Adelson (1983), but with bands of the change: nothing happens outside.
    """
    alpha = mask.values[..., None] / np.float32(255)
    depth = _mask_depth(mask, picture_wh)[..., None]
    size, deepest = (change.shape[1], change.shape[0]), float(depth.max())
    total, coarse, rim = np.zeros_like(change), change, 1.0
    while 2 * rim < deepest and min(coarse.shape[:2]) > 2:
        coarse = cv2.pyrDown(coarse)
        low = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        total += _ease_in(depth / rim) * (change - low)
        change, rim = low, 2 * rim
    return np.asarray(alpha * (total + _ease_in(depth / rim) * change), np.float32)


def _ease_in(x: Values) -> Values:
    """From 0 at 0 to 1 at 1 and beyond, without a kink."""
    x = np.minimum(x, 1)
    return x * x * (3 - 2 * x)


def _mask_depth(mask: SoftMask, picture_wh: tuple[int, int]) -> Values:
    """How far each pixel of the mask's box lies inside the mask, in px; the picture's own edge
    ends no mask.
    """
    x0, y0, x1, y1 = mask.box_xyxy
    left, top = max(x0 - 1, 0), max(y0 - 1, 0)
    seen = mask.within((left, top, min(x1 + 1, picture_wh[0]), min(y1 + 1, picture_wh[1])))
    depth = cv2.distanceTransform(np.uint8(seen > 0), cv2.DIST_L2, 5)
    return np.asarray(depth[y0 - top :, x0 - left :][: y1 - y0, : x1 - x0], np.float32)


def _missing_grain(picture: Picture, mask: SoftMask, old: Values, new: Values, seed: int) -> Values:
    """The grain that the paste would lose, in levels; zero where the picture has none."""
    grain = grain_of(picture.pixels, mask)
    if len(grain) == 0:
        return np.zeros_like(old)
    more = synthesise_grain(grain, (old.shape[1], old.shape[0]), seed)
    return np.asarray((more * missing_grain(grain, old, new, mask.values)) @ OPPONENT.T, np.float32)
