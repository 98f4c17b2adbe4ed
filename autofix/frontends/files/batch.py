"""Files of pictures in, files of fixed pictures out.

`Batch.fix_file` is the way of one picture from its file to its result's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from autofix.errors import AutofixError, UsageError
from autofix.frontends.files.journal import Journal
from autofix.imagefiles import files
from autofix.imagefiles.files import Found
from autofix.pipeline.fingerprint import files_identity
from autofix.pipeline.in_flight import MOST_IN_FLIGHT
from autofix.pipeline.pipeline import Pipeline
from autofix.records import outcome_record, picture_record, version
from autofix.settings.recipe import Recipe
from autofix.values import Outcome, Picture, Region

READERS = 2
READ_AHEAD = 4
"""Threads that read pictures, and how many pictures they may be ahead."""

WRITERS = 2
WRITE_BEHIND = 6
"""Threads that write results, and how many pictures they may be behind."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Destination:
    """Where results go: a folder that mirrors the inputs, or the inputs' own places.

    `journal` is the folder that holds .autofix/. With `out` None pictures are fixed in place,
    each copied to `backup` first if that is given.
    """

    out: Path | None
    journal: Path
    backup: Path | None = None

    def target(self, found: Found) -> Path:
        """The file a picture's result goes to."""
        return found.path if self.out is None else self.out / found.relative


@dataclass(frozen=True)
class Item:
    """A picture that was read: what its file was like before, its content key, its pixels."""

    found: Found
    stamp: files.Stamp
    content: str
    picture: Picture


class Batch:
    """Fixes files, many at a time, into one destination. A context manager, used from one thread.

    While it is entered the destination's journal is open. `run` is for files that are there; those
    that see to the arrival of pictures `read` each and `submit` those that could be read.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        destination: Destination,
        *,
        recipe: Recipe | None = None,
        force: bool = False,
    ) -> None:
        """`recipe` takes the place of the pipeline's own. Raises UsageError."""
        self.pipeline = pipeline
        self.recipe = recipe or pipeline.recipe
        self.destination = destination
        self.force = force
        self.outdated = 0
        infos = [one.info for one in pipeline.passes(self.recipe)]
        models = " ".join(info.identity for info in infos)
        text = f"{self.recipe.fingerprint} {models} {files_identity(self.recipe)} {version()}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._model = " + ".join(dict.fromkeys(info.name for info in infos))
        self._threads = ThreadPoolExecutor(
            READ_AHEAD + MOST_IN_FLIGHT + WRITE_BEHIND, "autofix-file"
        )
        self._readers = threading.Semaphore(READERS)
        self._writers = threading.Semaphore(WRITERS)
        self._lock = threading.Lock()
        self._fixing: set[Future[Outcome]] = set()
        self._closed = False

    def __enter__(self) -> Batch:
        """Open the detectors and the journal. Raises UsageError for what is missing."""
        self.pipeline.prepare(self.recipe)
        self._journal = Journal(self.destination.journal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what is not fixed yet; wait for what is being written."""
        with self._lock:
            self._closed = True
            unfinished = [*self._fixing]
        for future in unfinished:
            future.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._journal.close()

    def run(self, found: Iterable[Found]) -> Iterator[Record]:
        """Yields a record a file, in order, as each is finished. Never stops at a bad picture.

        `outdated` counts the pictures that are done again because the recipe, the model or autofix
        itself changed. Raises UsageError: a recipe, detector or model that cannot work.
        """
        yield from (
            each.result()
            for each in self.pipeline.in_flight.feed(
                lambda one: self._threads.submit(self.fix_file, one),
                found,
                room=lambda: READ_AHEAD + self.pipeline.room + WRITE_BEHIND,
            )
        )

    def fix_file(self, found: Found) -> Record:
        """The way of one picture from its file to its result's, in a thread of its own."""
        with self.pipeline.in_flight.expecting():
            with self._readers:
                item = self.read(found)
            if not isinstance(item, Item):
                return item
            fixing = self._start(item)
        return self._finish(item, fixing)

    def read(self, found: Found) -> Item | Record:
        """A picture to be fixed; or the record of one that is done, or that cannot be read."""
        name = {"picture": self._key(found), "fingerprint": self.fingerprint}
        try:
            stamp = files.stamp(found.path)
            there = not self.force and self.destination.target(found).is_file()
            if there and self._journal.untouched(stamp=stamp, **name):
                return self._record(found, "done")
            content = files.content_key(found.path)
            if there and self._journal.done(content=content, **name):
                return self._record(found, "done")
            if there and self._journal.outdated(content=content, **name):
                with self._lock:
                    self.outdated += 1
            with self.pipeline.timing.spent("decode"):
                picture = files.read(found.path, name=found.relative)
            return Item(found, stamp, content, picture)
        except (AutofixError, OSError) as error:
            return self._record(found, "failed", reason=str(error))

    def submit(self, item: Item) -> Future[Record]:
        """Fix a picture that was read, and write its result."""
        fixing = self._start(item)
        return self._threads.submit(self._finish, item, fixing)

    def _start(self, item: Item) -> Future[Outcome]:
        with self._lock:
            if self._closed:
                raise CancelledError
            fixing = self.pipeline.submit(item.picture, self.recipe)
            self._fixing.add(fixing)
        return fixing

    def _finish(self, item: Item, fixing: Future[Outcome]) -> Record:
        """Wait until a picture is fixed, write the result, and note it in the journal."""
        found, target = item.found, self.destination.target(item.found)
        try:
            outcome = fixing.result()
        except (UsageError, CancelledError):
            raise
        except Exception as error:
            return self._record(found, "failed", reason=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._fixing.discard(fixing)
        try:
            with self._writers, self.pipeline.timing.spent("encode"):
                self._store(item, outcome, target)
            record = outcome_record(outcome, **self._known(found), output=str(target))
            if not outcome.failed:
                self._note(item, record, target)
        except (AutofixError, OSError) as error:
            return self._record(found, "failed", reason=str(error))
        return record

    def _note(self, item: Item, record: Record, target: Path) -> None:
        """Have the journal know a finished picture."""
        in_place = self.destination.out is None
        # In place the next run meets the fixed file, not this one.
        content = files.content_key(target) if in_place else item.content
        stamp = files.stamp(target) if in_place else item.stamp
        with self._lock:
            self._journal.add(
                record,
                picture=self._key(item.found),
                content=content,
                stamp=stamp,
                fingerprint=self.fingerprint,
            )

    def _store(self, item: Item, outcome: Outcome, target: Path) -> None:
        backup, out = self.destination.backup, self.destination.out
        if backup is not None and outcome.changed:
            files.copy(item.found.path, _free(backup / item.found.relative), inside=backup)
        if outcome.changed:
            files.write(outcome.picture, target, inside=out)
        else:
            files.copy(item.found.path, target, content=item.content, inside=out)
        for result in outcome.results:
            for number, candidate in enumerate(result.candidates, start=1):
                files.write(candidate, _candidate_path(target, result.region, number), inside=out)

    def _key(self, found: Found) -> str:
        """What the journal knows a picture by: in place, relative names need not differ."""
        return str(found.path.absolute()) if self.destination.out is None else found.relative

    def _record(self, found: Found, status: str, *, reason: str = "") -> Record:
        """The record of a picture that was not fixed."""
        return picture_record(status=status, reason=reason, output=None, **self._known(found))

    def _known(self, found: Found) -> Record:
        """What every record of a picture says."""
        return {"input": str(found.path), "recipe": self.recipe.name, "model": self._model}


def _free(path: Path) -> Path:
    """The path, or with a number where there is such a file: an earlier backup is never lost."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free


def _candidate_path(target: Path, region: Region, number: int) -> Path:
    """Beside the output: group.face2.candidate1.png, the best first."""
    label = f"{region.detection.label}{region.index + 1}"
    return target.with_name(f"{target.stem}.{label}.candidate{number}{target.suffix}")
