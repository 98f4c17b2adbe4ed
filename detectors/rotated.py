"""A detector around another one: looks at turned copies of each picture too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from detectors.base import Pixels, WrappingDetector
from detectors.detection import Detection, Point
from detectors.overlap import suppress_overlaps

IOU = 0.4
"""Sightings of a face, upright and turned, above this IoU are one face; the best score stays."""


class RotatedDetector(WrappingDetector):
    """Finds what `detector` finds in a picture and in its copies turned by 90, 180 and 270 degrees.

    Boxes, polygons and landmarks are in coordinates of the upright picture. A detector that goes by
    names (scripted) should not be wrapped so: it would find its boxes four times.
    """

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """See `Detector.detect`."""
        found = [list(seen) for seen in self._detector.detect(pictures, names=names)]
        for quarters in (1, 2, 3):
            copies = [np.ascontiguousarray(np.rot90(pixels, quarters)) for pixels in pictures]
            sightings = self._detector.detect(copies, names=names)
            for seen, pixels, turned in zip(found, pictures, sightings, strict=True):
                back = _map_back(quarters, (pixels.shape[1], pixels.shape[0]))
                seen += [_turned_back(detection, back) for detection in turned]
        return [suppress_overlaps(seen, iou_above=IOU) for seen in found]


def _map_back(quarters: int, size_wh: tuple[int, int]) -> Callable[[Point], Point]:
    """How points map from a copy that numpy.rot90 turned (counter-clockwise) to the picture."""
    width, height = size_wh
    if quarters == 1:
        return lambda point: (width - point[1], point[0])
    if quarters == 2:
        return lambda point: (width - point[0], height - point[1])
    return lambda point: (point[1], height - point[0])


def _turned_back(detection: Detection, back: Callable[[Point], Point]) -> Detection:
    x0, y0, x1, y1 = detection.box_xyxy
    (ax, ay), (bx, by) = back((x0, y0)), back((x1, y1))
    polygon = detection.polygon and tuple(back(point) for point in detection.polygon)
    return replace(
        detection,
        box_xyxy=(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)),
        polygon=polygon,
        landmarks=tuple((name, back(point)) for name, point in detection.landmarks),
    )
