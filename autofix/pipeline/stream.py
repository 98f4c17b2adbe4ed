"""Many pictures through all passes at once: looked at ahead, their faces in full batches."""

from __future__ import annotations

import functools
import itertools
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from autofix.errors import UsageError
from autofix.metadata import GenerationText
from autofix.pipeline.region_graph import Job, Node, Tries, Try, Work
from autofix.values import Outcome, Picture, RegionResult

AT_ONCE, MOST = 8, 64
"""Pictures under way together: the least, and the most where batches are large."""

WAKE_SECONDS = 0.2

LOOK_AT_ONCE = 4
"""Pictures of one size that are looked at together, where so many are waiting."""

Answer = Outcome | Exception | None

Made = TypeVar("Made")
Item = TypeVar("Item", "_Flight", "_Ready")


class Step(Protocol):
    """One pass, as far as the stream must know it. `looker` and `lane`: whose tools are used."""

    def begin(
        self,
        pictures: Sequence[Picture],
        said: Sequence[GenerationText | None],
        *,
        looker: int = 0,
    ) -> list[Work]: ...

    def jobs(self, work: Work, node: Node) -> list[Job]: ...

    def kind(self, job: Job) -> Hashable: ...

    def batch_size(self, job: Job) -> int: ...

    def paint(self, jobs: Sequence[Job], *, width: int = 0, lane: int = 0) -> list[Try]: ...

    def judge(self, tries: Sequence[Tries], *, looker: int = 0) -> list[Tries]: ...

    def settle(self, tries: Tries) -> list[Job]: ...


@dataclass(eq=False)
class _Flight:
    """One picture between its arrival and its answer."""

    number: int
    picture: Picture | None
    said: GenerationText | None = None
    results: tuple[RegionResult, ...] = ()
    seconds: float = 0.0
    step: int = 0
    work: Work | None = None
    answer: Answer = None
    landed: bool = False

    def land(self, answer: Answer) -> None:
        """Nothing more is done with it."""
        self.answer, self.landed = answer, True

    @property
    def flight(self) -> _Flight:
        """Itself: see `_Ready`."""
        return self

    def alike(self, other: _Flight) -> bool:
        """Whether both can be looked at together."""
        a, b = self.picture, other.picture
        same = a is not None and b is not None and a.size_wh == b.size_wh
        return same and self.step == other.step


@dataclass(order=True)
class _Ready:
    """A job that waits for nothing but a batch; the oldest picture's go first."""

    number: int
    count: int
    flight: _Flight = field(compare=False)
    job: Job = field(compare=False)
    tries: Tries = field(compare=False)


class _Threads:
    """Threads of one kind, each with a number while it works, and how many calls they have."""

    def __init__(self, count: int, name: str, *, first: Callable[[], object] = int) -> None:
        self.count, self.busy = count, 0
        self.pool = ThreadPoolExecutor(count, name, initializer=first)
        self._free: SimpleQueue[int] = SimpleQueue()
        for number in range(count):
            self._free.put(number)

    @contextmanager
    def one(self) -> Iterator[int]:
        """The number of this thread, which no other has at the same time."""
        number = self._free.get()
        try:
            yield number
        finally:
            self._free.put(number)


class Stream:
    """Takes in pictures as they are asked for, and gives their answers in their order.

    The caller's thread alone decides and changes anything; looking (detect, mask, check, blend)
    and repainting happen in threads of their own, beside each other. At most MOST pictures are
    under way, so memory does not grow with their number.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        lookers: int,
        lanes: Callable[[], int] | None = None,
        said: Callable[[Picture], GenerationText | None],
    ) -> None:
        """`said` tells what a picture's file says of how it was made.

        `lanes` says, once there is something to repaint, how many batches are repainted side by
        side, torch's threads parted among them; it makes short batches filled up. Without it one
        batch has all threads.
        """
        self._steps = steps
        self._count_lanes = lanes
        self._said = said
        self._flights: deque[_Flight] = deque()
        self._waiting: deque[_Flight] = deque()
        self._ready: dict[Hashable, list[_Ready]] = {}
        self._count = itertools.count()
        self._looks = _Threads(lookers, "autofix-look")
        self._paints: _Threads | None = None
        self._events: SimpleQueue[Future[Any]] = SimpleQueue()
        self._then: dict[Future[Any], Callable[[Future[Any]], None]] = {}
        self._restore: Callable[[], object] = int
        self._largest = 1
        self._ended = False

    def run(self, pictures: Iterable[Picture | None]) -> Iterator[Answer]:
        """An Outcome a picture, or what went wrong with it; None for None. Raises UsageError."""
        source = enumerate(pictures)
        more = True
        try:
            while more or self._flights:
                while self._flights and self._flights[0].landed:
                    yield self._flights.popleft().answer
                if more and not self._full:
                    number, picture = next(source, (-1, None))
                    more = number >= 0
                    if more:
                        self._take_in(number, picture)
                self._look()
                waits = not more or self._full
                self._paint(last=waits)
                wait = waits and not (self._flights and self._flights[0].landed)
                while self._then and (wait or not self._events.empty()):
                    future = self._next_event()
                    self._then.pop(future)(future)
                    wait = False
        except KeyboardInterrupt:
            self._end(wait=False)  # whoever is that impatient shall not wait for a batch
            raise
        finally:
            self._end(wait=True)

    def _next_event(self) -> Future[Any]:
        """What is over next. Waiting without end would miss a signal that another thread got."""
        while True:
            with suppress(Empty):
                return self._events.get(timeout=WAKE_SECONDS)

    def _end(self, *, wait: bool) -> None:
        if self._ended:
            return
        self._ended = True
        for threads in filter(None, (self._looks, self._paints)):
            threads.pool.shutdown(wait=wait, cancel_futures=True)
        self._restore()

    def _do(
        self,
        where: _Threads,
        call: Callable[[Sequence[Item]], Sequence[Made]],
        group: Sequence[Item],
        then: Callable[[Sequence[Item], Sequence[Made]], None],
    ) -> None:
        """Call it with a group in a thread, and `then` with the answers in the caller's.

        Where that fails each is done alone, so that a bad picture fails alone.
        """

        def timed() -> tuple[Sequence[Made], float]:
            started = time.perf_counter()
            return call(group), time.perf_counter() - started

        def over(future: Future[tuple[Sequence[Made], float]]) -> None:
            where.busy -= 1
            if (error := _failure(future)) is None:
                made, seconds = future.result()
                for each in group:
                    each.flight.seconds += seconds / len(group)
                then(group, made)
            elif len(group) == 1:
                group[0].flight.land(error)
            else:
                for each in group:
                    self._do(where, call, [each], then)

        where.busy += 1
        future = where.pool.submit(timed)
        self._then[future] = over
        future.add_done_callback(self._events.put)

    @property
    def _full(self) -> bool:
        """Whether enough pictures are under way to fill the next batches."""
        return len(self._flights) >= min(max(AT_ONCE, 4 * self._largest), MOST)

    def _size(self, ready: _Ready) -> int:
        size = self._steps[ready.flight.step].batch_size(ready.job)
        self._largest = max(self._largest, size)
        return size

    def _take_in(self, number: int, picture: Picture | None) -> None:
        flight = _Flight(number, picture)
        self._flights.append(flight)
        if picture is None:
            flight.land(None)
        else:
            flight.said = self._said(picture)
            self._enter(flight)

    def _enter(self, flight: _Flight) -> None:
        """On to the flight's pass, or its end."""
        assert flight.picture is not None
        if flight.step == len(self._steps):
            flight.land(Outcome(flight.picture, flight.results, flight.seconds))
        else:
            self._waiting.append(flight)

    def _look(self) -> None:
        """Look at pictures that wait, while a thread is free for it."""
        while self._waiting and self._looks.busy < self._looks.count:
            group = [self._waiting.popleft()]
            for other in list(self._waiting):
                if len(group) < LOOK_AT_ONCE and other.alike(group[0]):
                    group.append(other)
                    self._waiting.remove(other)
            self._do(self._looks, self._begin, group, self._begun)

    def _begin(self, group: Sequence[_Flight]) -> list[Work]:
        """In a looker's thread: what there is to do in each picture."""
        pictures = [flight.picture for flight in group if flight.picture is not None]
        with self._looks.one() as looker:
            said = [flight.said for flight in group]
            return self._steps[group[0].step].begin(pictures, said, looker=looker)

    def _begun(self, group: Sequence[_Flight], works: Sequence[Work]) -> None:
        for flight, work in zip(group, works, strict=True):
            flight.work = work
            self._open(flight, work.start())

    def _open(self, flight: _Flight, nodes: Sequence[Node]) -> None:
        """Make these repaints ready; where nothing is left to do, on to the next pass."""
        work, step = flight.work, self._steps[flight.step]
        assert work is not None
        waiting = deque(nodes)
        while waiting:
            node = waiting.popleft()
            if jobs := step.jobs(work, node):
                self._add(flight, jobs)
            else:
                waiting.extend(work.finish(node))
        if work.done:
            outcome = work.outcome()
            flight.picture, flight.results = outcome.picture, flight.results + outcome.results
            flight.work = None
            flight.step += 1
            self._enter(flight)

    def _add(self, flight: _Flight, jobs: Sequence[Job]) -> None:
        """The jobs of one repaint, one a candidate, become ready."""
        step = self._steps[flight.step]
        tries = Tries(jobs[0], len(jobs))
        for job in jobs:
            ready = _Ready(flight.number, next(self._count), flight, job, tries)
            insort(self._ready.setdefault((flight.step, step.kind(job)), []), ready)

    def _paint(self, *, last: bool) -> None:
        """Hand the device full batches; if these are the `last` for now, one that is not full.

        One more than are at work, so that it never waits for the next.
        """
        while self._ready and (self._paints is None or self._paints.busy <= self._paints.count):
            others = self._looks.busy or self._waiting or (self._paints and self._paints.busy)
            batch = self._next_batch(partial=last and not others)
            if not batch:
                return
            self._paints = self._paints or self._open_lanes()
            self._do(self._paints, self._repaint, batch, self._painted)

    def _open_lanes(self) -> _Threads:
        lanes = self._count_lanes() if self._count_lanes else 1
        if lanes == 1:
            return _Threads(1, "autofix-paint")
        import torch

        threads = torch.get_num_threads()
        self._restore = functools.partial(torch.set_num_threads, threads)
        each = max(1, threads // lanes)
        return _Threads(
            lanes, "autofix-paint", first=functools.partial(torch.set_num_threads, each)
        )

    def _next_batch(self, *, partial: bool) -> list[_Ready]:
        """The batch with the oldest job; only full ones, unless partial ones are let pass."""
        best: list[_Ready] = []
        for kind, group in list(self._ready.items()):
            group[:] = [ready for ready in group if not ready.flight.landed]
            if not group:
                del self._ready[kind]
                continue
            full = len(group) >= self._size(group[0])
            if (partial or full) and (not best or group[0] < best[0]):
                best = group
        size = self._size(best[0]) if best else 0
        batch = best[:size]
        del best[:size]
        return batch

    def _repaint(self, batch: Sequence[_Ready]) -> list[Try]:
        """In a lane's thread."""
        assert self._paints is not None
        width = self._size(batch[0]) if self._count_lanes else 0
        step = self._steps[batch[0].flight.step]
        with self._paints.one() as lane:
            return step.paint([ready.job for ready in batch], width=width, lane=lane)

    def _painted(self, batch: Sequence[_Ready], made: Sequence[Try]) -> None:
        complete = []
        for ready, one in zip(batch, made, strict=True):
            ready.tries.made.append(one)
            if ready.tries.complete and not ready.flight.landed:
                complete.append(ready)
        if complete:
            self._do(self._looks, self._judge, complete, self._judged)

    def _judge(self, complete: Sequence[_Ready]) -> list[Tries]:
        """In a looker's thread: the check's findings."""
        with self._looks.one() as looker:
            step = self._steps[complete[0].flight.step]
            return step.judge([ready.tries for ready in complete], looker=looker)

    def _judged(self, complete: Sequence[_Ready], judged: Sequence[Tries]) -> None:
        for ready, tries in zip(complete, judged, strict=True):
            again = replace(ready, tries=tries)
            self._do(self._looks, self._settle, [again], self._settled)

    def _settle(self, judged: Sequence[_Ready]) -> list[list[Job]]:
        """In a looker's thread: the best is blended; the jobs of those to be tried again."""
        return [self._steps[each.flight.step].settle(each.tries) for each in judged]

    def _settled(self, settled: Sequence[_Ready], again: Sequence[list[Job]]) -> None:
        for ready, jobs in zip(settled, again, strict=True):
            flight = ready.flight
            if flight.landed:
                continue
            if jobs:
                self._add(flight, jobs)
            else:
                assert flight.work is not None
                self._open(flight, flight.work.finish(ready.job.node))


def _failure(future: Future[Any]) -> Exception | None:
    """What went wrong with pictures. Raises what is wrong with the run: UsageError, Ctrl-C."""
    error = future.exception()
    if error is None or (isinstance(error, Exception) and not isinstance(error, UsageError)):
        return error
    raise error
