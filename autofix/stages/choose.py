"""choose: detections -> numbered Regions, some marked to be skipped, with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autofix.settings.region_sections import Choose
from autofix.values import Picture, Region, SoftMask
from detectors.detection import Detection


def choose(
    picture: Picture, detections: Sequence[Detection], settings: Choose
) -> tuple[Region, ...]:
    """Every detection as a Region, in the stated order; each mask is, for now, its whole box.

    Boxes are cut to the picture first. What is dropped stays in the list with its reason, so that
    numbers do not depend on the filters. `faces` picks among what the filters left, and a limit
    marks the smallest or least certain of those; neither changes the order.
    """
    size_wh = picture.size_wh
    inside = [each.clip_to(size_wh) or each for each in detections]
    ordered = sorted(inside, key=lambda each: _sort_key(each, size_wh, settings.sort))
    regions = [
        Region(detection, index, _box_mask(detection, size_wh))
        for index, detection in enumerate(ordered)
    ]
    regions = [_filter_region(region, size_wh, settings) for region in regions]
    return tuple(_limit_regions(_pick_numbers(regions, settings.faces), settings))


def _sort_key(detection: Detection, size_wh: tuple[int, int], sort: str) -> tuple[float, ...]:
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


def _filter_region(region: Region, size_wh: tuple[int, int], settings: Choose) -> Region:
    ratio = region.detection.area / (size_wh[0] * size_wh[1])
    side = min(region.detection.width, region.detection.height)
    if region.mask.empty:
        return region.with_skip("its box lies outside the picture")
    if ratio < settings.min_ratio:
        return region.with_skip(f"area ratio {ratio:.4f} is under min_ratio {settings.min_ratio:g}")
    if ratio > settings.max_ratio:
        return region.with_skip(f"area ratio {ratio:.4f} is over max_ratio {settings.max_ratio:g}")
    if side < settings.min_side:
        return region.with_skip(f"side {side:.0f} px is under min_side {settings.min_side}")
    return region


def _pick_numbers(regions: Sequence[Region], faces: Sequence[int]) -> list[Region]:
    """Those of the chosen numbers, which count from 1 as they are drawn; all where none is."""
    if not faces:
        return list(regions)
    absent = [str(number) for number in sorted(set(faces)) if number > len(regions)]
    note = f"; there is no {', '.join(absent)}" if absent else ""
    reason = f"not among the chosen numbers {', '.join(map(str, faces))}{note}"
    return [each if each.index + 1 in faces else each.with_skip(reason) for each in regions]


def _limit_regions(regions: Sequence[Region], settings: Choose) -> list[Region]:
    if not settings.limit:
        return list(regions)
    by_area = settings.limit_by == "area"
    open_ = [region for region in regions if not region.skip]
    open_.sort(key=lambda r: r.detection.area if by_area else r.detection.score, reverse=True)
    over = {region.index for region in open_[settings.limit :]}
    reason = f"over the limit of {settings.limit} by {settings.limit_by}"
    return [region.with_skip(reason) if region.index in over else region for region in regions]


def _box_mask(detection: Detection, size_wh: tuple[int, int]) -> SoftMask:
    """Every pixel that the box touches, cut to the picture; none where it lies outside."""
    x0, y0, x1, y1 = detection.box_xyxy
    left, right = (min(max(edge, 0), size_wh[0]) for edge in (math.floor(x0), math.ceil(x1)))
    top, bottom = (min(max(edge, 0), size_wh[1]) for edge in (math.floor(y0), math.ceil(y1)))
    return SoftMask(
        (left, top, right, bottom), np.full((bottom - top, right - left), 255, np.uint8)
    )
