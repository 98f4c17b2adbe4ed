"""The pictures in flight: each is fixed in a thread of its own, as many at once as batches need."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

from autofix.errors import BusyError
from autofix.values import Outcome

LEAST_IN_FLIGHT = 8
"""Pictures in flight at least, where so many are submitted."""

MOST_IN_FLIGHT = 64
"""Pictures in flight at most, however large the batches are: so memory has a bound."""

WAKE_SECONDS = 0.2
"""A main thread that waits longer without a pause would miss a signal that another thread got."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Ticket:
    """One picture's place among all that were submitted, and the future of its outcome."""

    number: int
    future: Future[Outcome] = field(default_factory=Future)

    def raise_if_cancelled(self) -> None:
        """Raises CancelledError where nobody waits for this picture any more."""
        if self.future.cancelled():
            raise CancelledError


class InFlight:
    """Runs one function a picture, each in a thread of its own. Thread-safe.

    `changed` guards and announces every change that a batch may wait for: of the counts here, and
    of the queues of the batchers. `limit` is how many pictures may be in flight.
    """

    def __init__(
        self, *, idle_seconds: float = 0.0, on_idle: Callable[[], object] = lambda: None
    ) -> None:
        """`on_idle` is called once nothing was in flight for `idle_seconds`, if those are not 0."""
        self.changed = threading.Condition()
        self.limit = LEAST_IN_FLIGHT
        self.count = 0
        self._submitted = 0
        self._expecting: list[Callable[[], bool]] = []
        self._numbers = count()
        self._threads = ThreadPoolExecutor(MOST_IN_FLIGHT, "autofix-picture")
        self._idle_seconds, self._on_idle = idle_seconds, on_idle
        self._timer: threading.Timer | None = None
        self.closed = False

    @property
    def more_to_come(self) -> bool:
        """Whether another picture will soon be in flight. To be asked while holding `changed`."""
        submitted = self._submitted > 0 and not self.closed
        expected = submitted or any(expects() for expects in self._expecting)
        return self.count < self.limit and expected

    def raise_limit(self, count: int) -> None:
        """Let so many pictures be in flight, within the bounds, if it is more than now."""
        with self.changed:
            self.limit = min(max(self.limit, count), MOST_IN_FLIGHT)
            self.changed.notify_all()

    @contextmanager
    def expect_more(self, expects: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """While this lasts, and `expects` says so, batches wait for a picture about to come."""
        with self.changed:
            self._expecting.append(expects)
        try:
            yield
        finally:
            with self.changed:
                self._expecting.remove(expects)
                self.changed.notify_all()

    def feed_pictures(
        self,
        start: Callable[[Given], Future[Made]],
        given: Iterable[Given],
        *,
        room: Callable[[], int],
    ) -> Iterator[Future[Made]]:
        """Start each, at most `room()` ahead; yield the futures in order, each once it is done.

        Where this is closed before its end, what is not done is cancelled.
        """
        source, pending, more = iter(given), deque[Future[Made]](), True

        def has_room() -> bool:
            return more and len(pending) < room()

        try:
            while more or pending:
                with self.expect_more(has_room):
                    while has_room():
                        try:
                            future = start(next(source))
                        except StopIteration:
                            more = False
                        else:
                            future.add_done_callback(self._announce_change)
                            pending.append(future)
                    self.wait_until(lambda: not pending or pending[0].done() or has_room())
                if pending and pending[0].done():
                    yield pending.popleft()
        finally:
            for future in pending:
                future.cancel()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is so, asking at every change; signals are noticed meanwhile."""
        with self.changed:
            while not ready():
                self.changed.wait(WAKE_SECONDS)

    def start_picture(self, fix: Callable[[Ticket], Outcome]) -> Future[Outcome]:
        """Call `fix` as soon as there is room. The future can be cancelled until it is done.

        Raises BusyError once this is closed.
        """
        ticket = Ticket(next(self._numbers))
        with self.changed:
            if self.closed:
                raise BusyError("autofix is stopping", "start it again")
            self._submitted += 1
            if self._timer is not None:
                self._timer.cancel()
            done = self._threads.submit(self._run_in_thread, ticket, fix)
        ticket.future.add_done_callback(self._announce_change)
        done.add_done_callback(partial(_pass_on, ticket.future))
        return ticket.future

    def start_idle_timer(self) -> None:
        """Begin to count idle seconds, if nothing is in flight."""
        with self.changed:
            if self._idle_seconds and not self.count and not self._submitted and not self.closed:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = threading.Timer(self._idle_seconds, self._call_on_idle)
                self._timer.daemon = True
                self._timer.start()

    def close(self, *, wait: bool = True) -> None:
        """Start no more pictures, and `wait` for those in flight."""
        with self.changed:
            self.closed = True
        self._threads.shutdown(wait=wait, cancel_futures=True)
        if self._timer is not None:
            self._timer.cancel()

    def _run_in_thread(self, ticket: Ticket, fix: Callable[[Ticket], Outcome]) -> Outcome:
        with self.changed:
            self.changed.wait_for(lambda: self.count < self.limit)
            self._submitted -= 1
            self.count += 1
        try:
            ticket.raise_if_cancelled()
            return fix(ticket)
        finally:
            with self.changed:
                self.count -= 1
                self.changed.notify_all()
                self.start_idle_timer()

    def _announce_change(self, done: Future[Any]) -> None:
        with self.changed:
            self.changed.notify_all()

    def _call_on_idle(self) -> None:
        with self.changed:
            if not self.count and not self._submitted:
                self._on_idle()


def _pass_on(to: Future[Made], done: Future[Made]) -> None:
    """Give one future what another has, unless nobody waits for it any more."""
    if done.cancelled():
        to.cancel()
    if to.set_running_or_notify_cancel():
        if (error := done.exception()) is not None:
            to.set_exception(error)
        else:
            to.set_result(done.result())
