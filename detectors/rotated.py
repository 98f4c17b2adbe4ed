"""Any detector, looking at turned copies of a picture too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from detectors.base import Closing, Detector, Pixels
from detectors.detection import Detection, Point
from detectors.overlap import suppress

OVERLAP = 0.4
"""A face seen upright and turned is one face from this IoU on; the more certain sighting stays."""


class Turned(Closing):
    """Finds what `detector` finds in a picture and in its copies turned by 90, 180 and 270 degrees.

    Boxes, polygons and landmarks are those of the picture as it is. A detector that goes by names
    (scripted) should not be turned: it would find its boxes four times.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @property
    def name(self) -> str:
        return self._detector.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self._detector.labels

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """See `Detector.detect`."""
        found = [list(each) for each in self._detector.detect(pictures, names=names)]
        for quarters in (1, 2, 3):
            copies = [np.ascontiguousarray(np.rot90(pixels, quarters)) for pixels in pictures]
            sightings = self._detector.detect(copies, names=names)
            for seen, pixels, turned in zip(found, pictures, sightings, strict=True):
                back = _back(quarters, (pixels.shape[1], pixels.shape[0]))
                seen += [_turned_back(detection, back) for detection in turned]
        return [suppress(each, iou_above=OVERLAP) for each in found]

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        self._detector.close()


def _back(quarters: int, size_wh: tuple[int, int]) -> Callable[[Point], Point]:
    """The map from a copy that numpy.rot90 turned (counter-clockwise) to the picture."""
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
