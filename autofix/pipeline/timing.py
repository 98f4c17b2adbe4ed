"""Where a run's time goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Timing:
    """Seconds by stage, added up over all threads: decode, detect, inpaint, check, blend, encode.

    Stages overlap, so their sum may exceed the time of the run.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.started = time.perf_counter()
        self._lock = threading.Lock()

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """What happens inside counts for this stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - started

    @property
    def wall_seconds(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self.started


class PictureTime:
    """Seconds spent on one picture: in its own thread, and its share of each batch."""

    def __init__(self, timing: Timing) -> None:
        self.seconds = 0.0
        self._timing = timing

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """What happens inside counts for this picture and this stage."""
        started = time.perf_counter()
        try:
            with self._timing.time_stage(stage):
                yield
        finally:
            self.seconds += time.perf_counter() - started
