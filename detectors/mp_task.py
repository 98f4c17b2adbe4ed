"""A MediaPipe task that writes nothing to stderr and reports nothing to its maker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from detectors.base import Pixels
from detectors.isolation import kept_from_network

LIFE_SECONDS = 40.0
"""How long a task stays open. MediaPipe 1.2 reports its use when a task is closed, and from a
thread of its own a minute after it was opened: so it is closed before, without network. Opening it
again takes some 20 ms."""

_STDERR = threading.Lock()


class MediapipeTask:
    """A task in image mode, opened when it is used and closed after a while. Thread-safe."""

    def __init__(self, open_task: Callable[[], Any], *, side: int) -> None:
        """`open_task` makes MediaPipe's own task; it is warmed up with a view of `side` px."""
        self._open_task = open_task
        self._side = side
        self._lock = threading.Lock()
        self._task: Any = None
        self._timer: threading.Timer | None = None

    def open(self) -> None:
        """Open it now, so that a faulty model shows. Raises what `open_task` raises."""
        with self._lock:
            self._reopen_task()

    def detect(self, view: Pixels) -> Any:
        """MediaPipe's result for a view, RGB."""
        with self._lock:
            if self._task is None:
                self._reopen_task()
            return _detect_view(self._task, view)

    def close(self) -> None:
        """Give back what MediaPipe holds, until the next use."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            task, self._task, self._timer = self._task, None, None
            if task is not None:
                _close_task(task)

    def _reopen_task(self) -> None:
        with quiet_stderr(), kept_from_network():
            self._task = self._open_task()
            # MediaPipe's last messages come with the first view.
            _detect_view(self._task, np.zeros((self._side, self._side, 3), dtype=np.uint8))
        self._timer = threading.Timer(LIFE_SECONDS, self.close)
        self._timer.daemon = True
        self._timer.start()


def _detect_view(task: Any, view: Pixels) -> Any:
    import mediapipe

    return task.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=view))


def _close_task(task: Any) -> None:
    with quiet_stderr(), kept_from_network():
        try:
            task.close()
        except RuntimeError:
            # The interpreter is ending, and MediaPipe's worker thread is gone already. Without its
            # handle, the task's __del__ does nothing; the system frees the rest.
            task._handle = None


@contextmanager
def quiet_stderr() -> Generator[None, None, None]:
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
