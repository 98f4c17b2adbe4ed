"""Folders in which pictures arrive: each is fixed once it is complete, until told to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from autofix.frontends.files.batch import Batch, Item, Record
from autofix.frontends.files.output_lock import held
from autofix.frontends.watch.arrivals import Arrivals, folders_of
from autofix.frontends.watch.notifications import Notice, Notices
from autofix.imagefiles import files
from autofix.imagefiles.files import Found

SCAN_SECONDS, POLL_SECONDS = 10.0, 1.0
"""Between looks at everything: where the system tells of changes, and where it does not."""

SCAN_SHARE = 0.05
"""A look at everything takes at most this part of the time, however many files there are."""

LONGEST_NAP = 1.0 if os.name == "nt" else SCAN_SECONDS
"""On Windows a signal does not wake who waits."""


class Watcher:
    """Fixes the pictures in folders, then each as it arrives, until `stop`.

    What is to be done is found by comparing the folders with the journal, again and again; notices
    of changes only make that happen sooner, so that a lost one costs seconds and no picture. A
    picture that changes is fixed again; one that failed is left alone until it changes, or until
    the next watcher.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        batch: Batch,
        *,
        existing: bool = True,
        poll: bool = False,
        patience: float = 30.0,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`batch` has a folder for results, which may lie in a watched one.

        `existing`: fix what is there at first; `poll`: only look, and do not listen; `patience`:
        seconds until a picture that cannot be read is given up; `note` is told in words what the
        watcher is at. Raises UsageError for folders that cannot be watched together; see
        `folders_of`.
        """
        assert batch.destination.out is not None
        self.out = batch.destination.out
        self.arrivals = Arrivals(folders_of(folders, self.out), self.out, patience=patience)
        self._batch = batch
        self._existing = existing
        self._poll = poll
        self._note = note
        self._inbox: SimpleQueue[Notice | None] = SimpleQueue()
        self._in_hand: list[tuple[Found, Future[Record]]] = []
        self._stopping = False
        self._next_scan = self._next_scan_if_asked = 0.0
        self._troubles: dict[str, str] = {}

    def stop(self) -> None:
        """End `run` once what is in hand is finished. For signal handlers and other threads."""
        self._stopping = True
        self._wake()

    def run(self) -> Iterator[Record]:
        """Yields a record as each picture is finished, has failed, or is known to be done.

        Raises UsageError while another autofix has the same folder for its results, and for a
        recipe, detector or model that cannot work.
        """
        with ExitStack() as stack:
            stack.enter_context(held(self.out))
            files.sweep(self.out)
            stack.enter_context(self._batch)
            notices = None
            if not self._poll:
                real = [folder.real for folder in self.arrivals.folders]
                notices = stack.enter_context(Notices(real, self._inbox.put))
            if not self._existing:
                self.arrivals.scan(take=True)
            yield from self._loop(notices)
            while self._in_hand:
                self._hear(LONGEST_NAP)
                yield from self._finished()
        self._note("stopped")

    def _loop(self, notices: Notices | None) -> Iterator[Record]:
        idle = False
        while not self._stopping:
            self._scan_if_due(notices)
            took = self.arrivals.take(self._batch.pipeline.room - len(self._in_hand))
            yield from self._begin(took)
            yield from self._finished()
            was_idle, idle = idle, not took and not self._in_hand
            if idle and not was_idle:
                self._note("waiting for pictures")
            self._hear(0.0 if took else self._nap())

    def _begin(self, took: Sequence[Found]) -> Iterator[Record]:
        """Read pictures that have arrived, and submit them; records of those that are done."""
        for found in took:
            if self._stopping:
                return
            read = self._batch.read(found)
            if isinstance(read, Item):
                self.arrivals.complete(found)
                fixing = self._batch.submit(read)
                fixing.add_done_callback(lambda _: self._wake())
                self._in_hand.append((found, fixing))
                continue
            if read["status"] != "failed":
                self.arrivals.complete(found)
                self.arrivals.release(found)
                yield read
            elif self.arrivals.incomplete(found):
                yield read

    def _finished(self) -> Iterator[Record]:
        """The records of pictures in hand that are finished."""
        for each in [each for each in self._in_hand if each[1].done()]:
            self._in_hand.remove(each)
            found, fixing = each
            self.arrivals.release(found)
            record = fixing.result()
            # What has changed meanwhile comes again, and what is gone cannot be mended.
            if record["status"] != "failed" or not self.arrivals.changed(found):
                yield record

    def _scan_if_due(self, notices: Notices | None) -> None:
        """Look at everything now and then, and sooner where notices may be missing."""
        start = time.monotonic()
        if start < self._next_scan:
            return
        if notices is not None:
            notices.refresh()  # first: nothing may fall between looking and listening
        troubles = self.arrivals.scan()
        if notices is not None and notices.trouble and not troubles:
            troubles["changes"] = notices.trouble
        end = time.monotonic()
        usual = POLL_SECONDS if notices is None or notices.trouble else SCAN_SECONDS
        self._next_scan = end + max(usual, (end - start) / SCAN_SHARE)
        self._next_scan_if_asked = end + (end - start)
        for what in troubles.keys() - self._troubles.keys():
            self._note(f"cannot see {files.shown(what)} ({troubles[what]}); tries again")
        for what in self._troubles.keys() - troubles.keys():
            self._note(f"sees {files.shown(what)} again")
        self._troubles = troubles

    def _wake(self) -> None:
        self._inbox.put(None)  # the one way of waking somebody that is safe in a signal handler

    def _nap(self) -> float:
        """Seconds until there is something to do if nobody tells of a change."""
        ready = self.arrivals.seconds()
        if ready is None or len(self._in_hand) >= self._batch.pipeline.room:
            ready = LONGEST_NAP
        return max(0.0, min(LONGEST_NAP, self._next_scan - time.monotonic(), ready))

    def _hear(self, seconds: float) -> None:
        """Take in what is told, waiting so long for the first."""
        with suppress(Empty):
            self._take_in(self._inbox.get(timeout=seconds))
            for _ in range(self._inbox.qsize()):
                self._take_in(self._inbox.get_nowait())

    def _take_in(self, notice: Notice | None) -> None:
        if notice is None:
            return
        if not notice.folder:
            self.arrivals.look(notice.path, whole=notice.whole)
        elif self.arrivals.covers(notice.path):
            self._next_scan = min(self._next_scan, self._next_scan_if_asked)
