"""Batches, formed of what the pictures in flight ask for at the same time."""

from __future__ import annotations

import itertools
import threading
import time
from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from autofix.pipeline.in_flight import InFlight, Ticket

BATCHES_IN_FLIGHT = 4
"""So many pictures for each item of a full batch are in flight, if memory allows it."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(eq=False)
class _Call(Generic[Made]):
    """What one picture waits for: as many results as it gave items."""

    results: list[Made | None]
    missing: int
    seconds: float = 0.0
    future: Future[list[Made]] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class _Raised:
    error: BaseException


@dataclass(order=True)
class _Item(Generic[Given, Made]):
    """One item in the queue; those of the picture that was submitted first go first."""

    picture: int
    count: int
    given: Given = field(compare=False)
    place: int = field(compare=False)
    call: _Call[Made] = field(compare=False)


class Batcher(Generic[Given, Made]):
    """Makes items in batches, in worker threads of its own. Thread-safe.

    Items of one kind can share a batch. A full batch goes out at once, the one with the oldest
    item first. A batch that is not full goes out too where nothing could join it: with `patient`
    only if nothing is being made, every picture in flight waits for this batcher, and no other is
    about to come; without it whenever a worker is free.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Given]], Sequence[Made]],
        in_flight: InFlight,
        *,
        name: str,
        size: Callable[[Given], int],
        workers: Callable[[], int] = lambda: 1,
        patient: bool = False,
        fatal: tuple[type[BaseException], ...] = (),
        set_up_worker: Callable[[], object] = int,
    ) -> None:
        """`make` takes a batch and gives a result an item, in order.

        Where it raises, each item of the batch is made alone, so that a bad one fails alone; not
        after an exception of `fatal`, which is no item's fault. `size` says how many items like
        this one are a full batch; `workers` how many threads there are, asked at the first item.
        """
        self._make = make
        self._in_flight = in_flight
        self._changed = in_flight.changed
        self._name = name
        self._size = size
        self._workers = workers
        self._patient = patient
        self._fatal = fatal
        self._set_up_worker = set_up_worker
        self._queues: dict[Hashable, list[_Item[Given, Made]]] = {}
        self._sizes: dict[Hashable, int] = {}
        self._counter = itertools.count()
        self._threads: list[threading.Thread] = []
        self._waiting: set[_Call[Made]] = set()
        self._running = 0
        self._closed = False

    def make_all(
        self, ticket: Ticket, items: Sequence[tuple[Hashable, Given]]
    ) -> tuple[list[Made], float]:
        """Wait for the results of a picture's items, each with its kind.

        Also gives the seconds they took: their share of each batch. Raises what `make` raised for
        one of them, and CancelledError where nobody waits for the picture any more.
        """
        ticket.raise_if_cancelled()
        if not items:
            return [], 0.0
        self._start_workers()
        call: _Call[Made] = _Call([None] * len(items), len(items))
        with self._changed:
            if self._closed:
                raise CancelledError
            for place, (kind, given) in enumerate(items):
                item = _Item(ticket.number, next(self._counter), given, place, call)
                insort(self._queues.setdefault(kind, []), item)
            self._waiting.add(call)
            self._changed.notify_all()
        made = call.future.result()
        ticket.raise_if_cancelled()
        return made, call.seconds

    def close(self, *, wait: bool = True) -> None:
        """End the workers, and `wait` until they have; what is still asked for is cancelled."""
        with self._changed:
            self._closed = True
            for call in [*self._waiting]:
                self._end_call(call, CancelledError())
            self._changed.notify_all()
        for thread in self._threads if wait else ():
            thread.join()

    def _start_workers(self) -> None:
        if self._threads:
            return
        count = self._workers()  # outside the lock: it may look into model files
        with self._changed:
            for number in range(count if not self._threads else 0):
                thread = threading.Thread(
                    target=self._work_on_batches, name=f"autofix-{self._name}-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _work_on_batches(self) -> None:
        self._set_up_worker()
        while batch := self._next_batch():
            started = time.perf_counter()
            results = self._make_batch(batch)
            seconds = (time.perf_counter() - started) / len(batch)
            with self._changed:
                self._running -= 1
                for item, result in zip(batch, results, strict=True):
                    self._hand_over(item, result, seconds)
                self._changed.notify_all()

    def _next_batch(self) -> list[_Item[Given, Made]]:
        """The next batch to make, waiting for it; empty once the batcher is closed."""
        while True:
            with self._changed:
                while (queue := self._oldest_queue()) is None:
                    if self._closed:
                        return []
                    self._changed.wait()
                kind, items = queue
                first = items[0]
                if kind in self._sizes:
                    batch = items[: self._sizes[kind]]
                    del items[: len(batch)]
                    self._running += 1
                    return batch
            self._find_size(kind, first)

    def _find_size(self, kind: Hashable, item: _Item[Given, Made]) -> None:
        """How large a batch of this kind is; it may be found by trying, which takes a while."""
        try:
            size = self._size(item.given)
        except BaseException as error:  # it belongs to the picture that waits for the result
            with self._changed:
                self._hand_over(item, _Raised(error), 0.0)
            return
        with self._changed:
            self._sizes[kind] = size
            if self._patient:
                self._in_flight.raise_limit(BATCHES_IN_FLIGHT * size)

    def _oldest_queue(self) -> tuple[Hashable, list[_Item[Given, Made]]] | None:
        """Of the queues that may give a batch now the one with the oldest item."""
        for kind, items in list(self._queues.items()):
            items[:] = [item for item in items if item.call in self._waiting]
            if not items:
                del self._queues[kind]
        partial = not self._patient or self._nothing_can_join()
        ready = [
            (kind, items)
            for kind, items in self._queues.items()
            if partial or len(items) >= self._sizes.get(kind, 0)
        ]
        return min(ready, key=lambda queue: queue[1][0], default=None)

    def _nothing_can_join(self) -> bool:
        everyone_waits = len(self._waiting) == self._in_flight.count
        return not self._running and everyone_waits and not self._in_flight.more_to_come

    def _make_batch(self, batch: Sequence[_Item[Given, Made]]) -> Sequence[Made | _Raised]:
        """A result an item, or what `make` raised."""
        try:
            made = self._make([item.given for item in batch])
            if len(made) != len(batch):
                raise ValueError(f"{self._name} gave {len(made)} results for {len(batch)}")
            return made
        except BaseException as error:  # it belongs to the pictures that wait for the results
            if len(batch) == 1 or isinstance(error, self._fatal):
                return [_Raised(error)] * len(batch)
        return [result for item in batch for result in self._make_batch([item])]

    def _hand_over(self, item: _Item[Given, Made], result: Made | _Raised, seconds: float) -> None:
        """Give an item's result to its call, and the call to its picture once it is complete."""
        call = item.call
        if call not in self._waiting:
            return
        call.seconds += seconds
        call.missing -= 1
        if isinstance(result, _Raised):
            self._end_call(call, result.error)
            return
        call.results[item.place] = result
        if not call.missing:
            self._end_call(call)

    def _end_call(self, call: _Call[Made], error: BaseException | None = None) -> None:
        self._waiting.remove(call)
        if error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(cast("list[Made]", call.results))
