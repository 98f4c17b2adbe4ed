"""Boxes that another program or a person made, read from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from detectors.base import Closing, Pixels, check_pictures
from detectors.detection import Detection, in_order
from detectors.errors import DetectorError
from detectors.settings import DEFAULTS, DetectorSettings

_KEYS = {"box", "label", "score", "polygon"}
_EXAMPLE = '{"name.png": [[x0, y0, x1, y1], {"box": [x0, y0, x1, y1], "label": "hand"}]}'


class ScriptedDetector(Closing):
    """Returns the boxes that a JSON file lists for each picture's name.

    path: `{"name.png": [[x0, y0, x1, y1], ...]}`; instead of a plain box, `{"box": [...], "label":
    "hand", "score": 0.9, "polygon": [[x, y], ...]}`, of which all but the box may be left out.
    Coordinates are px of the picture, as in `Detection`; label "face" and score 1 unless given. A
    picture is looked up by its relative path with forward slashes, then by its file name; one that
    is not in the file has no boxes.

    Raises DetectorError for a file that cannot be read, quoting where it goes wrong; and, from
    `detect`, where pictures have no names and for a box that lies wholly outside its picture.
    """

    def __init__(self, path: Path, settings: DetectorSettings = DEFAULTS) -> None:
        self.name = "scripted"
        self._floor = settings.confidence or 0.0
        self._boxes = _read_boxes(path, self.name)
        labels = {found.label for detections in self._boxes.values() for found in detections}
        self.labels = tuple(sorted(labels))

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """Look up each picture's boxes; see `Detector.detect`. Here names are needed."""
        check_pictures(pictures, names)
        if pictures and not names:
            raise DetectorError(
                "scripted boxes are looked up by name: hand over each picture's name"
            )
        return [
            self._boxes_of(name, (pixels.shape[1], pixels.shape[0]))
            for name, pixels in zip(names, pictures, strict=True)
        ]

    def close(self) -> None:
        """There is nothing to give back."""

    def _boxes_of(self, name: str, size_wh: tuple[int, int]) -> tuple[Detection, ...]:
        relative = PurePosixPath(name.replace("\\", "/"))
        listed = self._boxes.get(str(relative), self._boxes.get(relative.name, ()))
        inside: list[Detection] = []
        for detection in listed:
            clipped = detection.clip_to(size_wh)
            if clipped is None:
                raise DetectorError(
                    f"the scripted box {detection.box_xyxy} lies outside {name!r}, which is "
                    f"{size_wh[0]} x {size_wh[1]} px: correct the boxes file"
                )
            if clipped.score >= self._floor:
                inside.append(clipped)
        return in_order(inside)


def _read_boxes(path: Path, detector: str) -> dict[str, tuple[Detection, ...]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DetectorError(f"the boxes file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DetectorError(
            f"the boxes file {path} is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise DetectorError(
            f"the boxes file {path} is not JSON, line {error.lineno} column {error.colno}: "
            f"{error.msg}"
        ) from error
    if not isinstance(content, dict):
        raise DetectorError(f"the boxes file {path} must look like {_EXAMPLE}")
    return {
        str(PurePosixPath(name.replace("\\", "/"))): tuple(
            _read_detection(entry, detector, f"{path}: {name!r}, box {index + 1}")
            for index, entry in enumerate(_checked_list(entries, f"{path}: {name!r}"))
        )
        for name, entries in content.items()
    }


def _checked_list(entries: Any, where: str) -> list[Any]:
    if not isinstance(entries, list):
        raise DetectorError(f"{where}: must be a list of boxes, but is {entries!r}: see {_EXAMPLE}")
    return entries


def _read_detection(entry: Any, detector: str, where: str) -> Detection:
    given: dict[str, Any] = entry if isinstance(entry, dict) else {"box": entry}
    if unknown := sorted(set(given) - _KEYS):
        raise DetectorError(f"{where}: unknown key {unknown[0]!r}; known are {sorted(_KEYS)}")
    label, polygon = given.get("label", "face"), given.get("polygon")
    if not isinstance(label, str):
        raise DetectorError(f"{where}: label must be text, but is {label!r}")
    try:
        return Detection(
            given["box"],
            label,
            given.get("score", 1.0),
            detector,
            polygon=polygon if polygon is None else tuple(polygon),
        )
    except KeyError as error:
        raise DetectorError(f"{where}: has no 'box': see {_EXAMPLE}") from error
    except (TypeError, ValueError) as error:
        raise DetectorError(f"{where}: {error}") from error
