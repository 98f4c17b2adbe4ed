"""Fixes pictures in folders, then each new one once it is complete, until it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from autofix.frontends.files.batch import Batch, Item, Record
from autofix.frontends.files.output_lock import locked_output
from autofix.frontends.watch.arrivals import Arrivals, folders_of
from autofix.frontends.watch.notifications import ChangeListener, Notice
from autofix.imagefiles import files
from autofix.imagefiles.files import FoundFile
from autofix.pipeline.in_flight import WAKE_SECONDS

SCAN_SECONDS = 10.0
"""Between scans of all folders, where the system reports changes."""

POLL_SECONDS = 1.0
"""Between scans where the system does not report changes."""

SCAN_SHARE = 0.05
"""Scans take at most this part of the time, however many files there are."""


class Watcher:
    """Fixes the pictures in folders, then each new one, until `stop`.

    It scans the folders again and again and compares them with the journal; notices of changes only
    make that happen sooner, so that a lost notice costs seconds and no picture. A picture that
    changes is fixed again; a failed one is left alone until it changes, or until the next watcher.
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

        `existing`: fix the pictures that are there at the start; `poll`: scan, without notices;
        `patience`: seconds until a picture that cannot be read is given up; `note` gets a text
        about what the watcher does. Raises UsageError for folders that cannot be watched together;
        see `folders_of`.
        """
        assert batch.destination.out is not None
        self.out = batch.destination.out
        self.arrivals = Arrivals(folders_of(folders, self.out), self.out, patience=patience)
        self._batch = batch
        self._existing = existing
        self._poll = poll
        self._note = note
        self._inbox: SimpleQueue[Notice | None] = SimpleQueue()
        self._in_hand: list[tuple[FoundFile, Future[Record]]] = []
        self._stopping = False
        self._next_scan = self._next_scan_if_asked = 0.0
        self._problems: dict[str, str] = {}

    def stop(self) -> None:
        """End `run` once the pictures in hand are finished; safe in signal handlers and threads."""
        self._stopping = True
        self._end_wait()

    def run(self) -> Iterator[Record]:
        """Yields a record for each picture that is finished, has failed, or was done earlier.

        Raises UsageError while another autofix has the same folder for its results, and for a
        recipe, detector or model that cannot work.
        """
        with ExitStack() as stack:
            stack.enter_context(locked_output(self.out))
            files.remove_temporaries(self.out)
            stack.enter_context(self._batch)
            listener = None
            if not self._poll:
                real = [folder.real for folder in self.arrivals.folders]
                listener = stack.enter_context(ChangeListener(real, self._inbox.put))
            if not self._existing:
                self.arrivals.scan_folders(take=True)
            yield from self._watch_folders(listener)
            while self._in_hand:
                self._read_notices(WAKE_SECONDS)
                yield from self._finished_records()
        self._note("stopped")

    def _watch_folders(self, listener: ChangeListener | None) -> Iterator[Record]:
        idle = False
        while not self._stopping:
            self._scan_if_due(listener)
            taken = self.arrivals.take_arrived(
                self._batch.pipeline.most_in_flight - len(self._in_hand)
            )
            yield from self._start_fixes(taken)
            yield from self._finished_records()
            was_idle, idle = idle, not taken and not self._in_hand
            if idle and not was_idle:
                self._note("waiting for pictures")
            self._read_notices(0.0 if taken else self._wait_seconds())

    def _start_fixes(self, taken: Sequence[FoundFile]) -> Iterator[Record]:
        """Read pictures that have arrived, and submit them; records of those that are done."""
        for found in taken:
            if self._stopping:
                return
            read = self._batch.read_picture(found)
            if isinstance(read, Item):
                self.arrivals.mark_readable(found)
                fixing = self._batch.submit(read)
                fixing.add_done_callback(lambda _: self._end_wait())
                self._in_hand.append((found, fixing))
                continue
            if read["status"] != "failed":
                self.arrivals.mark_readable(found)
                self.arrivals.release_picture(found)
                yield read
            elif self.arrivals.mark_unreadable(found):
                yield read

    def _finished_records(self) -> Iterator[Record]:
        """The records of pictures in hand that are finished."""
        for picture in [picture for picture in self._in_hand if picture[1].done()]:
            self._in_hand.remove(picture)
            found, fixing = picture
            self.arrivals.release_picture(found)
            record = fixing.result()
            # A changed picture comes again, and one that is gone cannot be fixed.
            if record["status"] != "failed" or not self.arrivals.has_changed(found):
                yield record

    def _scan_if_due(self, listener: ChangeListener | None) -> None:
        """Scan all folders if it is time, which is sooner where notices may be missing."""
        start = time.monotonic()
        if start < self._next_scan:
            return
        if listener is not None:
            listener.restart_if_needed()  # first, so that no change falls between scan and watch
        problems = self.arrivals.scan_folders()
        if listener is not None and listener.problem and not problems:
            problems["changes"] = listener.problem
        end = time.monotonic()
        usual = POLL_SECONDS if listener is None or listener.problem else SCAN_SECONDS
        self._next_scan = end + max(usual, (end - start) / SCAN_SHARE)
        self._next_scan_if_asked = end + (end - start)
        for what in problems.keys() - self._problems.keys():
            self._note(f"cannot see {files.printable(what)} ({problems[what]}); tries again")
        for what in self._problems.keys() - problems.keys():
            self._note(f"sees {files.printable(what)} again")
        self._problems = problems

    def _end_wait(self) -> None:
        self._inbox.put(None)  # the only way that is safe in a signal handler

    def _wait_seconds(self) -> float:
        """Seconds until there is something to do if no notice comes."""
        ready = self.arrivals.seconds_until_due()
        if ready is None or len(self._in_hand) >= self._batch.pipeline.most_in_flight:
            ready = WAKE_SECONDS
        return max(0.0, min(WAKE_SECONDS, self._next_scan - time.monotonic(), ready))

    def _read_notices(self, seconds: float) -> None:
        """Handle all notices that have come; wait at most so long for the first."""
        with suppress(Empty):
            self._handle_notice(self._inbox.get(timeout=seconds))
            for _ in range(self._inbox.qsize()):
                self._handle_notice(self._inbox.get_nowait())

    def _handle_notice(self, notice: Notice | None) -> None:
        if notice is None:
            return
        if not notice.folder:
            self.arrivals.look_at(notice.path, complete=notice.complete)
        elif self.arrivals.covers_folder(notice.path):
            self._next_scan = min(self._next_scan, self._next_scan_if_asked)
