"""choose: detections -> numbered Regions, some marked to be skipped, with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autofix.recipe import Choose
from autofix.values import Picture, Region, SoftMask
from autofix.window import IntBox
from detectors.detection import Detection


def choose(
    picture: Picture, detections: Sequence[Detection], settings: Choose
) -> tuple[Region, ...]:
    """Every detection as a Region, in the stated order; each mask is, for now, its whole box.

    What the filters drop stays in the list with its reason, so that numbers do not depend on
    the filters. A limit marks the smallest or least certain and never changes the order.
    """
    ordered = sorted(detections, key=lambda each: _rank(each, picture.size_wh, settings.sort))
    regions = [
        Region(detection, index, _box_mask(detection, picture.size_wh))
        for index, detection in enumerate(ordered)
    ]
    regions = [_filtered(region, picture.size_wh, settings) for region in regions]
    return tuple(_limited(regions, settings))


def _rank(detection: Detection, size_wh: tuple[int, int], sort: str) -> tuple[float, ...]:
    """The sort key; equal keys keep the detector's order, since sorting is stable."""
    x0, y0, x1, y1 = detection.box_xyxy
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    if sort == "left-right":
        return x0, y0
    if sort == "center-edge":
        return (math.hypot(centre_x - size_wh[0] / 2, centre_y - size_wh[1] / 2),)
    if sort == "area":
        return (-detection.area,)
    return ()


def _filtered(region: Region, size_wh: tuple[int, int], settings: Choose) -> Region:
    ratio = region.detection.area / (size_wh[0] * size_wh[1])
    side = min(region.detection.width, region.detection.height)
    if region.mask.empty:
        return region.skipped("its box lies outside the picture")
    if ratio < settings.min_ratio:
        return region.skipped(f"area ratio {ratio:.4f} is under min_ratio {settings.min_ratio:g}")
    if ratio > settings.max_ratio:
        return region.skipped(f"area ratio {ratio:.4f} is over max_ratio {settings.max_ratio:g}")
    if side < settings.min_side:
        return region.skipped(f"side {side:.0f} px is under min_side {settings.min_side}")
    return region


def _limited(regions: Sequence[Region], settings: Choose) -> list[Region]:
    if not settings.limit:
        return list(regions)
    by_area = settings.limit_by == "area"
    open_ = [region for region in regions if not region.skip]
    open_.sort(key=lambda r: r.detection.area if by_area else r.detection.score, reverse=True)
    over = {region.index for region in open_[settings.limit :]}
    reason = f"over the limit of {settings.limit} by {settings.limit_by}"
    return [region.skipped(reason) if region.index in over else region for region in regions]


def _box_mask(detection: Detection, size_wh: tuple[int, int]) -> SoftMask:
    """Every pixel that the box touches, cut to the picture."""
    x0, y0, x1, y1 = detection.box_xyxy
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    right, bottom = min(math.ceil(x1), size_wh[0]), min(math.ceil(y1), size_wh[1])
    box: IntBox = (left, top, max(right, left), max(bottom, top))
    return SoftMask(box, np.full((box[3] - top, box[2] - left), 255, np.uint8))
