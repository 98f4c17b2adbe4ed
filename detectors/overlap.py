"""Which of several overlapping detections to keep. Pure functions on boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from detectors.detection import Box, Detection, in_order


def intersection_area(a: Box, b: Box) -> float:
    """Area in square px that two boxes (left, top, right, bottom) share; 0 if they only touch."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def iou(a: Box, b: Box) -> float:
    """Shared area over joint area, 0 to 1: 1 for equal boxes, 0 for boxes that share nothing."""
    shared = intersection_area(a, b)
    joint = _box_area(a) + _box_area(b) - shared
    return min(shared / joint, 1.0) if joint > 0 else 0.0


def overlap_of_smaller(a: Box, b: Box) -> float:
    """Shared area over the smaller box's area, 0 to 1: 1 where one box lies inside the other."""
    smaller = min(_box_area(a), _box_area(b))
    return min(intersection_area(a, b) / smaller, 1.0) if smaller > 0 else 0.0


def cluster_detections(
    detections: Iterable[Detection], *, iou_above: float, smaller_above: float = 1.0
) -> tuple[tuple[Detection, ...], ...]:
    """Group detections of one thing into clusters; clusters and their members are `in_order`.

    Going from the best score down, a detection joins the first cluster whose best one has the same
    label and overlaps it: `iou` above iou_above, or `overlap_of_smaller` above smaller_above (the
    default of 1.0 switches this one off). If there is none it starts a cluster. Each detection is
    in exactly one cluster, and the result does not depend on the input's order.
    """
    clusters: list[list[Detection]] = []
    for candidate in in_order(detections):
        for cluster in clusters:
            best = cluster[0]
            if best.label == candidate.label and (
                iou(best.box_xyxy, candidate.box_xyxy) > iou_above
                or overlap_of_smaller(best.box_xyxy, candidate.box_xyxy) > smaller_above
            ):
                cluster.append(candidate)
                break
        else:
            clusters.append([candidate])
    return tuple(map(tuple, clusters))


def suppress_overlaps(
    detections: Iterable[Detection], *, iou_above: float, smaller_above: float = 1.0
) -> tuple[Detection, ...]:
    """Keep the best of each cluster: non-maximum suppression, label by label."""
    clusters = cluster_detections(detections, iou_above=iou_above, smaller_above=smaller_above)
    return tuple(cluster[0] for cluster in clusters)


def mean_of(detections: Sequence[Detection]) -> Detection:
    """Return the first with the mean box and landmarks of them all, weighted by score.

    There must be at least one, all with the same landmark names in the same order. The polygon
    is left out.
    """
    first = detections[0]
    weights = [max(d.score, 1e-6) for d in detections]
    x0, y0, x1, y1 = np.average([d.box_xyxy for d in detections], axis=0, weights=weights)
    spots = [[spot for _, spot in d.landmarks] for d in detections]
    names = [name for name, _ in first.landmarks]
    mean = np.average(spots, axis=0, weights=weights) if names else ()
    return replace(
        first,
        box_xyxy=(x0, y0, x1, y1),
        polygon=None,
        landmarks=tuple(zip(names, ((x, y) for x, y in mean), strict=True)),
    )


def _box_area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
