"""MediaPipe tasks, run over a pyramid of windows, as they find only what is large in the view."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from detectors.base import Closing, Pixels, check_pictures
from detectors.detection import Detection, in_order
from detectors.errors import DetectorError
from detectors.isolation import light_imports
from detectors.mp_task import MediapipeTask, quiet_stderr
from detectors.overlap import cluster_detections
from detectors.settings import DetectorSettings
from detectors.tiling import (
    SizeWh,
    Window,
    cut_view,
    halve_repeatedly,
    is_cut,
    pyramid_windows,
    window_around,
)

CONFIDENCE = 0.75
"""Least score of a detection, by default."""

IOU = 0.3
"""Sightings that overlap more than this are one thing, by default."""

SMALLER = 0.6
"""The same by `overlap_of_smaller`: seen at two scales, one box of a thing may lie in the other."""

SUPPORT = 0.5
"""Least score of a sighting that counts for another one, where the confidence asked for is more."""

MARGIN = 0.02
"""A box this near to a window's inner edge, in parts of its side, is probably part of a thing."""


class WindowedTask(Closing):
    """A MediaPipe vision task in image mode, run over `pyramid_windows` windows. Not thread-safe.

    Subclasses open the task in `_open_task`, turn one window's result into detections in
    `_read_detections`, and make one detection of all sightings of one thing in `_merge_sightings`.
    Windows shrink and overlap as in `pyramid_windows`.

    single_view_margin: a false detection is mostly seen by one window, a real thing by several or
        with a high score. So a thing that one of several windows saw needs a score this part of the
        way from the confidence asked for to 1.
    zoom_fill: None searches with windows down to the smallest that is allowed. Otherwise windows
        are no smaller than `search` times that and only hint at small things, and one more window
        is laid around each hint, of which the hinted thing fills this part.
    """

    single_view_margin: float
    shrink = 1.6
    overlap = 0.5
    search = 1.0
    zoom_fill: float | None = None

    def __init__(
        self,
        path: Path,
        settings: DetectorSettings,
        *,
        name: str,
        label: str,
        side: int,
        smallest: int,
    ) -> None:
        if not path.is_file():
            raise DetectorError(f"no model file at {path}: check the detector's path")
        self.name = name
        self.labels = (label,)
        self._settings = settings
        self._side = side
        self._smallest = settings.smallest_window or smallest
        self._confidence = CONFIDENCE if settings.confidence is None else settings.confidence
        self._iou = IOU if settings.iou is None else settings.iou
        self._seen = False
        self._task = MediapipeTask(lambda: self._create_task(path), side=side)
        self._task.open()
        # MediaPipe's own __del__ fails when it runs as the interpreter ends; this closes before.
        self._finish = weakref.finalize(self, self._task.close)

    @abstractmethod
    def _open_task(self, vision: Any, options: Any) -> Any:
        """Create the task from mediapipe's vision module and the BaseOptions of the model file."""

    @abstractmethod
    def _read_detections(self, result: Any) -> Iterator[Detection]:
        """Yield what the task found, in px of the view it was given (side x side)."""

    @abstractmethod
    def _merge_sightings(self, sightings: tuple[Detection, ...]) -> Detection:
        """Make one detection of all sightings of one thing, at least one, best first."""

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """Find things in each picture; see `Detector.detect`."""
        check_pictures(pictures, names)
        if not self._finish.alive:
            raise DetectorError(f"the detector {self.name} was closed: open it again")
        # MediaPipe may log a layout warning with its first views, so stderr is silent for these
        # alone: other threads write to it too.
        with nullcontext() if self._seen else quiet_stderr():
            found = [self._detect_one(np.ascontiguousarray(pixels)) for pixels in pictures]
        self._seen = self._seen or bool(pictures)
        return found

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        self._finish()

    def _detect_one(self, pixels: Pixels) -> tuple[Detection, ...]:
        size_wh = pixels.shape[1], pixels.shape[0]
        halved = halve_repeatedly(pixels)
        windows = pyramid_windows(
            size_wh,
            smallest=round(self._smallest * self.search),
            shrink=self.shrink,
            overlap=self.overlap,
            even=self.zoom_fill is not None,
        )
        seen = self._look_through(halved, windows)
        if self.zoom_fill is not None:
            things = self._cluster_sightings(seen)
            closer = dict.fromkeys(self._zoom_window(thing[0], size_wh) for thing in things)
            seen += self._look_through(
                halved, [window for window in closer if window not in windows]
            )
        seen = [sighting for sighting in seen if sighting.score >= min(self._confidence, SUPPORT)]
        margin = self.single_view_margin if len(windows) > 1 else 0
        single_view_floor = self._confidence + (1 - self._confidence) * margin
        found = (
            self._merge_sightings(thing).clip_to(size_wh)
            for thing in self._cluster_sightings(seen)
            if thing[0].score >= (single_view_floor if len(thing) == 1 else self._confidence)
        )
        return in_order([detection for detection in found if detection is not None])

    def _cluster_sightings(self, seen: Sequence[Detection]) -> tuple[tuple[Detection, ...], ...]:
        return cluster_detections(seen, iou_above=self._iou, smaller_above=SMALLER)

    def _zoom_window(self, hint: Detection, size_wh: SizeWh) -> Window:
        """The window for a closer look at a hint."""
        assert self.zoom_fill is not None
        side = round(max(hint.width, hint.height) / self.zoom_fill)
        return window_around(
            hint.box_xyxy, min(max(side, self._smallest), max(size_wh)), size_wh=size_wh
        )

    def _look_through(self, halved: Sequence[Pixels], windows: Iterable[Window]) -> list[Detection]:
        """What lies wholly in one of these windows, in picture coordinates."""
        view_wh = (self._side, self._side)
        size_wh = halved[0].shape[1], halved[0].shape[0]
        found = []
        for window in windows:
            margin = MARGIN * window.size_wh[0]
            for seen in self._read_detections(
                self._task.detect(cut_view(halved, window, seen_at_wh=view_wh))
            ):
                there = window.to_picture(seen, seen_at_wh=view_wh)
                if not is_cut(there.box_xyxy, window, size_wh=size_wh, margin_px=margin):
                    found.append(there)
        return found

    def _create_task(self, path: Path) -> Any:
        """Raises DetectorError where mediapipe is missing or the file is no such model."""
        try:
            with light_imports():
                from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise DetectorError(
                f"{self.name} needs mediapipe, which cannot be imported ({error}): "
                "pip install 'mediapipe>=0.10.31'"
            ) from error
        try:
            # Read here, because MediaPipe cannot open every path that Python can.
            return self._open_task(vision, BaseOptions(model_asset_buffer=path.read_bytes()))
        except (RuntimeError, ValueError, OSError) as error:
            raise DetectorError(
                f"{path} is not a model that {self.name} can use: {error}"
            ) from error
