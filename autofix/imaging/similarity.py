"""Measures of how similar a crop and its patch are; their bounds are in the check's settings.

All are taken on L*a*b* at a size at which the detection's box is at most `WIDTH_PX` wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autofix.imaging.colour import Lab, ciede2000, rgb_to_lab
from autofix.values import Patch

WIDTH_PX = 100
"""Width at which everything is measured: enough detail, and the same work at any working size."""

CELLS = 16
"""Parts of the box's width. What is coarser must stay as it is in the picture; what is finer is the
patch's to choose: a generated face that is worth fixing has no true detail beyond that."""

COLOUR_CELLS = 12
"""Parts of the box's width at which colours are compared."""

SECTORS = 8
"""Parts of a mask's rim, by direction from its centre."""

DRIFT_RING_PART = 0.15
"""Width of the ring outside the mask in which colour drift is measured, as part of the box's."""

Plane = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pair:
    """A crop before and after inpainting, L*a*b*, with the mask's `alpha` of 0 to 1.

    `width` of the box and `pixel` of one pixel of the picture are in px of this pair. `after` is
    the patch alone, everywhere; `pasted` is the result of pasting it.
    """

    before: Lab
    after: Lab
    alpha: Plane
    width: float
    pixel: float

    @cached_property
    def pasted(self) -> Lab:
        """The crop with the patch in it, through the mask."""
        return self.before + (self.after - self.before) * self.alpha[..., None]

    def unit(self, cells: int) -> float:
        """The side of one of so many parts of the box's width, at least a pixel's."""
        return max(self.width / cells, self.pixel, 1.0)

    def shift_colour(self, change: Lab) -> Pair:
        """The pair with a colour added to all of the patch."""
        return Pair(self.before, self.after + change, self.alpha, self.width, self.pixel)


def measured_pair(patch: Patch, width_px: float) -> tuple[Pair, float]:
    """The pair of a finite patch whose box is `width_px` wide at working size, and its scale."""
    scale = min(1.0, WIDTH_PX / max(width_px, 1.0))
    before = _scale_down(patch.crop.pixels.astype(np.float32) / np.float32(255), scale)
    after = _scale_down(np.clip(patch.pixels, 0, 1), scale)
    alpha = _scale_down(patch.paste_mask.astype(np.float32) / np.float32(255), scale)
    pixel = patch.crop.window.scale * scale
    return Pair(rgb_to_lab(before), rgb_to_lab(after), alpha, width_px * scale, pixel), scale


def colour_drift(pair: Pair) -> tuple[Lab, float]:
    """The change that gives the patch its mean colour back, and the size of it (CIEDE2000).

    It is measured in the ring just outside the mask, where both show the same content; zero where
    there is no such ring.
    """
    reach = 2 * round(DRIFT_RING_PART * pair.width) + 3
    near = cv2.dilate(np.uint8(pair.alpha > 0), np.ones((reach, reach), np.uint8)) > 0
    ring = near & (pair.alpha == 0)
    if ring.sum() < 16:
        return np.zeros(3, np.float32), 0.0
    before, after = (each[ring].mean(axis=0) for each in (pair.before, pair.after))
    return np.asarray(before - after, np.float32), float(ciede2000(before, after))


def rim_difference(pair: Pair) -> float:
    """The mean colour of the mask's rim, crop against patch, CIEDE2000: the worst of eight
    sectors round the mask. 0 where the mask has no rim in the crop.
    """
    rim = _Rim(pair.alpha)
    if not rim.sectors:
        return 0.0
    before, after = (rim.means(each) for each in (pair.before, pair.after))
    return float(ciede2000(before, after).max())


def seam_step(pair: Pair) -> float:
    """The step that the paste adds along the rim, over the picture's own gradients there.

    The change's slope across the rim, its mean along each of eight sectors (so that texture, which
    has no direction, cancels), the worst of them; the picture's own slopes are half a unit of L*
    a px at least.
    """
    rim = _Rim(pair.alpha)
    if not rim.sectors:
        return 0.0
    (slope_x, slope_y), light = _gradients(pair.alpha), pair.before[..., 0]
    step_x, step_y = _gradients(pair.pasted[..., 0] - light)
    across = (step_x * slope_x + step_y * slope_y) / np.maximum(np.hypot(slope_x, slope_y), 1e-6)
    own = rim.means(np.hypot(*_gradients(light))[..., None])
    return float((np.abs(rim.means(across[..., None])) / (own + 0.5)).max())


def colour_difference(pair: Pair) -> float:
    """The greatest CIEDE2000 difference of any part inside the mask."""
    inside = pair.alpha > 0.5
    if not inside.any():
        return 0.0
    before, after = (
        _blur_to_unit(each, pair.unit(COLOUR_CELLS))[inside] for each in _before_and_after(pair)
    )
    return float(ciede2000(before[::3], after[::3]).max())


def peak_difference(pair: Pair) -> float:
    """How far the greatest difference of any part exceeds what is usual in this patch.

    Distances in L*a*b* at `CELLS` parts of the box's width: the greatest over their root mean
    square and one unit. An eye lost or a mouth too many in an otherwise faithful patch peaks.
    """
    inside = pair.alpha > 0.5
    if not inside.any():
        return 0.0
    unit = pair.unit(CELLS)
    squares = (_blur_to_unit(pair.pasted - pair.before, unit)[inside] ** 2).sum(axis=-1)
    return float(np.sqrt(squares.max()) / (np.sqrt(squares.mean()) + 1))


def least_structure(pair: Pair) -> float:
    """How well light and dark agree where they agree least: the lowest local SSIM of lightness.

    1 is the same, 0 unrelated, -1 the reverse. Seen at `CELLS` parts of the box's width, or at
    the picture's own pixels where those are coarser: once both are blurred to what the picture
    really showed, a good patch agrees with it everywhere, and one with an eye lost, moved or
    doubled, or with another face, does not. (Z. Wang et al., "Image quality assessment", 2004.)
    """
    inside = pair.alpha > 0.5
    if not inside.any():
        return 1.0
    unit = pair.unit(CELLS)
    a, b = (_blur_to_unit(each[..., 0], unit) for each in _before_and_after(pair))

    def mean(values: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), unit), np.float32)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    unseen = 3.0  # a variance that nobody sees
    return float(((2 * both + unseen) / (var_a + var_b + unseen))[inside].min())


def eyes_error(pair: Pair, eyes: Points) -> float:
    """How far lightness around the eyes (2 x 2: x, y) is off, as a share of its own spread there.

    The root of the mean squared difference over the standard deviation, at `CELLS` parts.
    """
    apart = max(float(np.linalg.norm(eyes[0] - eyes[1])), 1.0)
    ys, xs = np.mgrid[: pair.alpha.shape[0], : pair.alpha.shape[1]]
    weight = np.zeros(pair.alpha.shape)
    for x, y in eyes:
        weight += np.exp(-((xs + 0.5 - x) ** 2 + (ys + 0.5 - y) ** 2) / (2 * (0.28 * apart) ** 2))
    weight *= pair.alpha
    if weight.sum() < 1:
        return 0.0
    a, b = (_blur_to_unit(each[..., 0], pair.unit(CELLS)) for each in _before_and_after(pair))
    spread = np.average((a - np.average(a, weights=weight)) ** 2, weights=weight)
    return float(np.sqrt(np.average((b - a) ** 2, weights=weight) / (spread + 4)))


def _before_and_after(pair: Pair) -> tuple[Lab, Lab]:
    """The crop before, and with the patch pasted."""
    return pair.before, pair.pasted


class _Rim:
    """Where a mask falls off, in eight sectors round its centre; nearly empty ones are left out.

    A point counts by how steeply the mask falls there.
    """

    def __init__(self, alpha: Plane) -> None:
        steep = np.hypot(*_gradients(alpha))
        self._where = np.nonzero(steep)
        ys, xs = self._where
        self._weight = steep[self._where]
        inside_y, inside_x = np.nonzero(alpha > 0.5)
        if len(inside_y) == 0:
            self.sectors: list[int] = []
            return
        turn = np.arctan2(ys - inside_y.mean(), xs - inside_x.mean()) / (2 * np.pi) + 0.5
        self._sector = np.minimum((turn * SECTORS).astype(int), SECTORS - 1)
        self._total = self._sector_sums(self._weight)
        self.sectors = [index for index in range(SECTORS) if self._total[index] >= 4]

    def means(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The mean of values (height x width x channels) in each sector: sectors x channels."""
        there = values[self._where]
        sums = [self._sector_sums(self._weight * channel) for channel in there.T]
        return np.stack([(each / self._total)[self.sectors] for each in sums], axis=-1)

    def _sector_sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(self._sector, values, minlength=SECTORS), np.float64)


def _blur_to_unit(values: Plane, unit: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 0.6 * unit), np.float32)


def _gradients(values: Plane) -> tuple[Plane, Plane]:
    down, across = np.gradient(values)
    return np.asarray(across), np.asarray(down)


def _scale_down(values: Plane, scale: float) -> Plane:
    if scale >= 1:
        return values
    size = max(round(values.shape[1] * scale), 1), max(round(values.shape[0] * scale), 1)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
