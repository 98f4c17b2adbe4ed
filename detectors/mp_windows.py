"""MediaPipe tasks, run over a pyramid of windows because they see only large things."""

from __future__ import annotations

import os
import threading
import weakref
from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from detectors.base import Closing, Pixels, check_pictures
from detectors.detection import Detection, in_order
from detectors.errors import DetectorError
from detectors.overlap import heaps
from detectors.settings import DetectorSettings
from detectors.tiling import Window, is_cut, pyramid, take

CONFIDENCE = 0.75
IOU = 0.3
# The same thing seen at two scales: one box well inside the other, though their joint area is much
# larger.
SMALLER = 0.6
# A box this near to a window's inner edge (in parts of its side) is probably a part of something.
MARGIN = 0.02

_STDERR = threading.Lock()


class WindowedTask(Closing):
    """A MediaPipe vision task in image mode, run over `pyramid` windows. Not thread-safe.

    Subclasses open the task in `_open`, turn one window's result into detections in `_read`, and
    make one detection of all sightings of one thing in `_merge`. A model's slips are mostly seen
    by a single window, a real thing by several or very surely: a lone sighting must come the part
    `lone` of the way from the confidence asked for to 1.
    """

    lone: float

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
        self._task = self._start(path)
        # MediaPipe's own __del__ complains when it runs as the interpreter ends; this closes
        # before that.
        self._finish = weakref.finalize(self, _close, self._task)

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
        with nullcontext() if self._seen else _quiet():
            found = [self._detect_one(np.ascontiguousarray(pixels)) for pixels in pictures]
        self._seen = self._seen or bool(pictures)
        return found

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        self._finish()

    def _detect_one(self, pixels: Pixels) -> tuple[Detection, ...]:
        size_wh = pixels.shape[1], pixels.shape[0]
        seen: list[Detection] = []
        for window in pyramid(size_wh, smallest=self._smallest):
            seen += self._look(pixels, window)
        lone = self._confidence + (1 - self._confidence) * self.lone
        found = (
            self._merge(heap).clipped(size_wh)
            for heap in heaps(seen, iou_above=self._iou, smaller_above=SMALLER)
            if heap[0].score >= (lone if len(heap) == 1 else self._confidence)
        )
        return in_order([detection for detection in found if detection is not None])

    def _look(self, pixels: Pixels, window: Window) -> Iterator[Detection]:
        """Yield what this window shows whole, in picture coordinates, not yet grown."""
        view_wh = (self._side, self._side)
        size_wh = pixels.shape[1], pixels.shape[0]
        margin = MARGIN * window.size_wh[0]
        for seen in self._read(self._run(take(pixels, window, seen_at_wh=view_wh))):
            found = window.to_picture(seen, seen_at_wh=view_wh)
            if not is_cut(found.box_xyxy, window, size_wh=size_wh, margin_px=margin):
                yield found

    def _run(self, view: Pixels) -> Any:
        import mediapipe

        return self._task.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=view)
        )

    def _start(self, path: Path) -> Any:
        with _quiet():
            try:
                from mediapipe.tasks.python import BaseOptions, vision
            except ImportError as error:
                raise DetectorError(
                    f"{self.name} needs mediapipe, which cannot be imported ({error}): "
                    "pip install 'mediapipe>=0.10.31'"
                ) from error
            try:
                # Read here, because MediaPipe cannot open every path that Python can.
                task = self._open(vision, BaseOptions(model_asset_buffer=path.read_bytes()))
            except (RuntimeError, ValueError, OSError) as error:
                raise DetectorError(
                    f"{path} is not a model that {self.name} can use: {error}"
                ) from error
            self._task = task
            self._run(
                np.zeros((self._side, self._side, 3), dtype=np.uint8)
            )  # its last messages come now
        return task


def _close(task: Any) -> None:
    with _quiet():
        try:
            task.close()
        except RuntimeError:
            # Nobody closed it and the interpreter is ending: MediaPipe's worker thread is gone
            # already. Without its handle, its __del__ keeps still; the system takes back the rest.
            task._handle = None


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Hide what MediaPipe's C++ side writes to stderr; it has no switch for that."""
    with _STDERR:
        try:
            saved = os.dup(2)
        except OSError:  # no stderr at all, as under pythonw
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(null)
            os.close(saved)
