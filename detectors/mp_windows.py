"""MediaPipe tasks, run over a pyramid of windows because they see only large things."""

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
from detectors.overlap import heaps
from detectors.settings import DetectorSettings
from detectors.tiling import SizeWh, Window, around, halves, is_cut, pyramid, take

CONFIDENCE = 0.75
IOU = 0.3
# The same thing seen at two scales: one box well inside the other, though their joint area is much
# larger.
SMALLER = 0.6
SUPPORT = 0.5
"""Least score of a sighting that counts for another one, where the confidence asked for is more."""

# A box this near to a window's inner edge (in parts of its side) is probably a part of something.
MARGIN = 0.02


class WindowedTask(Closing):
    """A MediaPipe vision task in image mode, run over `pyramid` windows. Not thread-safe.

    Subclasses open the task in `_open`, turn one window's result into detections in `_read`, and
    make one detection of all sightings of one thing in `_merge`. A model's slips are mostly seen
    by a single window, a real thing by several or very surely: a lone sighting must come the part
    `lone` of the way from the confidence asked for to 1, unless the picture is so small that one
    window is all there is.

    Without `closer`, windows down to the smallest that is allowed see everything well. With it they
    are fewer, no smaller than `search` times that, and only hint at small things: at each thing
    hinted at one more window looks, so near that it takes up the part `closer` of the view.
    """

    lone: float
    shrink, overlap = 1.6, 0.5
    search = 1.0
    closer: float | None = None

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
        self._task = MediapipeTask(lambda: self._start(path), side=side)
        self._task.open()
        # MediaPipe's own __del__ complains when it runs as the interpreter ends; this closes
        # before that.
        self._finish = weakref.finalize(self, self._task.close)

    @abstractmethod
    def _open(self, vision: Any, options: Any) -> Any:
        """Create the task from mediapipe's vision module and the BaseOptions of the model file."""

    @abstractmethod
    def _read(self, result: Any) -> Iterator[Detection]:
        """Yield what the task found, in px of the view it was given (side x side)."""

    @abstractmethod
    def _merge(self, sightings: tuple[Detection, ...]) -> Detection:
        """Make one detection of all sightings of one thing, at least one, best first."""

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """Find things in each picture; see `Detector.detect`."""
        check_pictures(pictures, names)
        if not self._finish.alive:
            raise DetectorError(f"the detector {self.name} was closed: open it again")
        # It complains once of how a view lies in memory: with its first views, or never. Later on
        # nothing is hidden, for other threads may have something to say.
        with nullcontext() if self._seen else quiet_stderr():
            found = [self._detect_one(np.ascontiguousarray(pixels)) for pixels in pictures]
        self._seen = self._seen or bool(pictures)
        return found

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        self._finish()

    def _detect_one(self, pixels: Pixels) -> tuple[Detection, ...]:
        size_wh = pixels.shape[1], pixels.shape[0]
        halved = halves(pixels)
        windows = pyramid(
            size_wh,
            smallest=round(self._smallest * self.search),
            shrink=self.shrink,
            overlap=self.overlap,
            even=self.closer is not None,
        )
        seen = self._look(halved, windows)
        if self.closer is not None:
            things = self._heaps(seen)
            closer = dict.fromkeys(self._close_to(thing[0], size_wh) for thing in things)
            seen += self._look(halved, [window for window in closer if window not in windows])
        seen = [each for each in seen if each.score >= min(self._confidence, SUPPORT)]
        lone = self._confidence + (1 - self._confidence) * (self.lone if len(windows) > 1 else 0)
        found = (
            self._merge(heap).clipped(size_wh)
            for heap in self._heaps(seen)
            if heap[0].score >= (lone if len(heap) == 1 else self._confidence)
        )
        return in_order([detection for detection in found if detection is not None])

    def _heaps(self, seen: Sequence[Detection]) -> tuple[tuple[Detection, ...], ...]:
        return heaps(seen, iou_above=self._iou, smaller_above=SMALLER)

    def _close_to(self, hint: Detection, size_wh: SizeWh) -> Window:
        """The window for a closer look at what was hinted at."""
        assert self.closer is not None
        side = round(max(hint.width, hint.height) / self.closer)
        return around(hint.box_xyxy, min(max(side, self._smallest), max(size_wh)), size_wh=size_wh)

    def _look(self, halved: Sequence[Pixels], windows: Iterable[Window]) -> list[Detection]:
        """What these windows show whole, in picture coordinates, not yet grown."""
        view_wh = (self._side, self._side)
        size_wh = halved[0].shape[1], halved[0].shape[0]
        found = []
        for window in windows:
            margin = MARGIN * window.size_wh[0]
            for seen in self._read(self._task.detect(take(halved, window, seen_at_wh=view_wh))):
                there = window.to_picture(seen, seen_at_wh=view_wh)
                if not is_cut(there.box_xyxy, window, size_wh=size_wh, margin_px=margin):
                    found.append(there)
        return found

    def _start(self, path: Path) -> Any:
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
            return self._open(vision, BaseOptions(model_asset_buffer=path.read_bytes()))
        except (RuntimeError, ValueError, OSError) as error:
            raise DetectorError(
                f"{path} is not a model that {self.name} can use: {error}"
            ) from error
