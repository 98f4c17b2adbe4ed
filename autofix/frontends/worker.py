"""One thread that owns the models, behind a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from autofix.errors import BusyError
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.stream import AT_ONCE, Answer
from autofix.values import Picture


class Work(Protocol):
    """What is to be done with items. Waiting items whose works are equal are done together."""

    def do(self, pipeline: Pipeline, items: Sequence[Any]) -> Sequence[Any]:
        """An answer an item, in order; an Exception stands for an item that failed."""
        ...


@dataclass(frozen=True, eq=False)
class _Job:
    work: Work
    item: Any
    answer: Future[Any] = field(default_factory=Future)


class Worker:
    """Does what is submitted, oldest first, in a thread of its own.

    No other thread may use the pipeline while the worker is entered. `waiting` is how many items
    may wait. After `idle_seconds` without work the models are dropped, which frees the card for
    others; the next item loads them again.
    """

    def __init__(
        self, pipeline: Pipeline, *, waiting: int = 64, idle_seconds: float | None = None
    ) -> None:
        self.pipeline = pipeline
        self._limit = waiting
        self._idle_seconds = idle_seconds
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="autofix-worker", daemon=True)

    def __enter__(self) -> Worker:
        """Start, and open the detectors. Raises DetectorSetupError or ModelError."""
        self._thread.start()
        try:
            self.submit(_Prepare(), None, wait=True).result()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(wait=kind is not KeyboardInterrupt)

    @property
    def lent(self) -> Pipeline:
        """The pipeline for another thread: what it fixes it fixes in this one, in its turn."""
        return _Lent(self)

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._jobs)

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return self.waiting >= self._limit

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    def submit(self, work: Work, item: Any, *, wait: bool = False) -> Future[Any]:
        """The answer to come. Raises BusyError where the queue is full (`wait`: waits for room).

        An answer that is cancelled before its turn is not worked on.
        """
        job = _Job(work, item)
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: not self.full or self._stopped)
            if self._stopped:
                raise _stopping()
            if self.full:
                raise BusyError(f"{self.waiting} pictures wait already", "try again in a while")
            self._jobs.append(job)
            self._changed.notify_all()
        return job.answer

    def stop(self, *, wait: bool = True) -> None:
        """Finish what is in hand, refuse what waits, and end; `wait` until that is done."""
        with self._changed:
            self._stopped = True
            refused = [*self._jobs]
            self._jobs.clear()
            self._changed.notify_all()
        for job in refused:
            if job.answer.set_running_or_notify_cancel():
                job.answer.set_exception(_stopping())
        if wait:
            self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            running = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            try:
                items = [job.item for job in running]
                answers = jobs[0].work.do(self.pipeline, items) if items else ()
            except Exception as error:
                answers = [error] * len(running)
            for job, answer in zip(running, answers, strict=True):
                if isinstance(answer, Exception):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(answer)

    def _next(self) -> list[_Job]:
        """The oldest job and those that can be done with it; empty when all is over."""
        with self._changed:
            idle = self._idle_seconds
            while not self._jobs and not self._stopped:
                if not self._changed.wait(idle):
                    self.pipeline.toolbox.close()
                    idle = None
            if self._stopped:
                return []
            work = self._jobs[0].work
            taken = [job for job in self._jobs if job.work == work][:AT_ONCE]
            self._jobs = deque(job for job in self._jobs if job not in taken)
            self._changed.notify_all()
            return taken


class _Lent(Pipeline):
    """A pipeline that fixes in its worker's thread."""

    def __init__(self, worker: Worker) -> None:
        given = worker.pipeline
        super().__init__(given.recipe, given.toolbox, keep_candidates=given.keep_candidates)
        self._worker = worker

    def stream(
        self, pictures: Iterable[Picture | None], *, repeatable: bool = False
    ) -> Iterator[Answer]:
        yield from self._worker.submit(_Fix(), list(pictures), wait=True).result()


@dataclass(frozen=True)
class _Prepare:
    def do(self, pipeline: Pipeline, items: Sequence[None]) -> Sequence[None]:
        pipeline.prepare()
        return items


@dataclass(frozen=True, eq=False)
class _Fix:
    def do(
        self, pipeline: Pipeline, items: Sequence[Sequence[Picture | None]]
    ) -> Sequence[list[Answer]]:
        return [list(pipeline.stream(pictures)) for pictures in items]


def _stopping() -> BusyError:
    return BusyError("autofix is stopping", "start it again")
