"""Reads picture files, has them fixed, and writes the results.

`Batch.fix_file` is the way of one picture from its file to the file of its result.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofix.errors import AutofixError, UsageError
from autofix.frontends.files.journal import Journal
from autofix.imagefiles import files
from autofix.imagefiles.files import FoundFile
from autofix.pipeline.fingerprint import files_identity
from autofix.pipeline.in_flight import MOST_IN_FLIGHT
from autofix.pipeline.pipeline import Pipeline
from autofix.records import outcome_record, picture_record, version
from autofix.settings.recipe import Recipe
from autofix.values import Outcome, Picture, Region

READERS = 2
"""Threads that read pictures at the same time."""

READ_AHEAD = 4
"""Pictures that may be read before there is room to fix them."""

WRITERS = 2
"""Threads that write results at the same time."""

WRITE_BEHIND = 6
"""Fixed pictures whose results may wait to be written."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Destination:
    """Where results go: a folder that mirrors the inputs, or in place of the inputs.

    `journal` is the folder that holds .autofix/. With `out` None pictures are fixed in place,
    each copied to `backup` first if that is given.
    """

    out: Path | None
    journal: Path
    backup: Path | None = None

    def result_path(self, found: FoundFile) -> Path:
        """The file a picture's result goes to."""
        return found.path if self.out is None else self.out / found.relative


@dataclass(frozen=True)
class Item:
    """A picture that was read: its file's stamp before that, its content key, its pixels."""

    found: FoundFile
    stamp: files.Stamp
    content: str
    picture: Picture


class Batch:
    """Fixes files, many at a time, into one destination. A context manager, used from one thread.

    While it is entered the destination's journal is open. `run` fixes files that are there; a
    caller that waits for pictures calls `read_picture` and `submit` for each.
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
        infos = [one.info for one in pipeline.passes_of(self.recipe)]
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
        self.pipeline.open_models(self.recipe)
        self._journal = Journal(self.destination.journal)
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel what is not fixed yet; wait until results are written."""
        with self._lock:
            self._closed = True
            unfinished = [*self._fixing]
        for future in unfinished:
            future.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._journal.close()

    def run(self, found: Iterable[FoundFile]) -> Iterator[Record]:
        """Yields a record a file, in order, as each is finished. Never stops at a bad picture.

        `outdated` counts the pictures that are done again because the recipe, the model or autofix
        itself changed. Raises UsageError: a recipe, detector or model that cannot work.
        """
        records = self.pipeline.in_flight.feed_pictures(
            lambda one: self._threads.submit(self.fix_file, one),
            found,
            room=lambda: READ_AHEAD + self.pipeline.most_in_flight + WRITE_BEHIND,
        )
        yield from (record.result() for record in records)

    def fix_file(self, found: FoundFile) -> Record:
        """Read, fix and write one picture, in a thread of its own."""
        with self.pipeline.in_flight.expect_more():
            with self._readers:
                item = self.read_picture(found)
            if not isinstance(item, Item):
                return item
            fixing = self._submit_item(item)
        return self._write_result(item, fixing)

    def read_picture(self, found: FoundFile) -> Item | Record:
        """A picture to fix; or the record of one that is done or cannot be read."""
        name = {"picture": self._journal_key(found), "fingerprint": self.fingerprint}
        try:
            stamp = files.file_stamp(found.path)
            has_result = not self.force and self.destination.result_path(found).is_file()
            if has_result and self._journal.has_stamp(stamp=stamp, **name):
                return self._unfixed_record(found, "done")
            content = files.content_key(found.path)
            if has_result and self._journal.has_content(content=content, **name):
                return self._unfixed_record(found, "done")
            if has_result and self._journal.is_outdated(content=content, **name):
                with self._lock:
                    self.outdated += 1
            with self.pipeline.timing.time_stage("decode"):
                picture = files.read(found.path, name=found.relative)
            return Item(found, stamp, content, picture)
        except (AutofixError, OSError) as error:
            return self._unfixed_record(found, "failed", reason=str(error))

    def submit(self, item: Item) -> Future[Record]:
        """Fix a picture that was read, and write its result."""
        fixing = self._submit_item(item)
        return self._threads.submit(self._write_result, item, fixing)

    def _submit_item(self, item: Item) -> Future[Outcome]:
        with self._lock:
            if self._closed:
                raise CancelledError
            fixing = self.pipeline.submit(item.picture, self.recipe)
            self._fixing.add(fixing)
        return fixing

    def _write_result(self, item: Item, fixing: Future[Outcome]) -> Record:
        """Wait until a picture is fixed, write the result, and note it in the journal."""
        found, target = item.found, self.destination.result_path(item.found)
        try:
            outcome = fixing.result()
        except (UsageError, CancelledError):
            raise
        except Exception as error:
            return self._unfixed_record(found, "failed", reason=f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._fixing.discard(fixing)
        try:
            with self._writers, self.pipeline.timing.time_stage("encode"):
                self._write_files(item, outcome, target)
            record = outcome_record(outcome, **self._common_fields(found), output=str(target))
            if not outcome.failed:
                self._add_to_journal(item, record, target)
        except (AutofixError, OSError) as error:
            return self._unfixed_record(found, "failed", reason=str(error))
        return record

    def _add_to_journal(self, item: Item, record: Record, target: Path) -> None:
        """Add a finished picture to the journal."""
        in_place = self.destination.out is None
        # In place, the next run finds the fixed file, not the original.
        content = files.content_key(target) if in_place else item.content
        stamp = files.file_stamp(target) if in_place else item.stamp
        with self._lock:
            self._journal.add(
                record,
                picture=self._journal_key(item.found),
                content=content,
                stamp=stamp,
                fingerprint=self.fingerprint,
            )

    def _write_files(self, item: Item, outcome: Outcome, target: Path) -> None:
        backup, out = self.destination.backup, self.destination.out
        if backup is not None and outcome.changed:
            files.copy(item.found.path, _free_path(backup / item.found.relative), inside=backup)
        if outcome.changed:
            files.write(outcome.picture, target, inside=out)
        else:
            files.copy(item.found.path, target, content=item.content, inside=out)
        for result in outcome.results:
            for number, candidate in enumerate(result.candidates, start=1):
                files.write(candidate, _candidate_path(target, result.region, number), inside=out)

    def _journal_key(self, found: FoundFile) -> str:
        """The picture's name in the journal: in place, relative names may be the same."""
        return str(found.path.absolute()) if self.destination.out is None else found.relative

    def _unfixed_record(self, found: FoundFile, status: str, *, reason: str = "") -> Record:
        """The record of a picture that was not fixed."""
        return picture_record(
            status=status, reason=reason, output=None, **self._common_fields(found)
        )

    def _common_fields(self, found: FoundFile) -> Record:
        """What every record of a picture says."""
        return {"input": str(found.path), "recipe": self.recipe.name, "model": self._model}


def _free_path(path: Path) -> Path:
    """The path, with a number if it exists already: no earlier backup is overwritten."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free


def _candidate_path(target: Path, region: Region, number: int) -> Path:
    """Beside the result: group.face2.candidate1.png is the best one of the second face."""
    label = f"{region.detection.label}{region.index + 1}"
    return target.with_name(f"{target.stem}.{label}.candidate{number}{target.suffix}")
