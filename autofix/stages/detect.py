"""detect: pictures -> what the detectors found in each."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.settings.region_sections import Detect
from autofix.values import Picture
from detectors.base import Detector
from detectors.detection import Detection
from detectors.overlap import suppress_overlaps


def detect(
    pictures: Sequence[Picture], detectors: Sequence[Detector], settings: Detect
) -> list[tuple[Detection, ...]]:
    """One tuple of detections a picture, the detectors' answers one after the other.

    Where two detectors find the same thing (one label, boxes overlapping by more than
    `settings.overlap`), the more certain answer stays.
    """
    pixels = [picture.pixels for picture in pictures]
    names = [picture.name for picture in pictures]
    found: list[list[Detection]] = [[] for _ in pictures]
    for detector in detectors:
        for place, detections in zip(found, detector.detect(pixels, names=names), strict=True):
            place.extend(detections)
    if len(detectors) == 1:
        return [tuple(each) for each in found]
    return [suppress_overlaps(each, iou_above=settings.overlap) for each in found]
