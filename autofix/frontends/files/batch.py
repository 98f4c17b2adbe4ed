"""Folders of pictures in, fixed pictures out."""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofix.errors import AutofixError
from autofix.frontends.files.journal import Journal
from autofix.frontends.files.prefetch import ahead
from autofix.imagefiles import files
from autofix.imagefiles.files import Found
from autofix.pipeline.fingerprint import files_identity
from autofix.pipeline.pipeline import Pipeline
from autofix.records import outcome_records, picture_record, version
from autofix.values import Outcome, Picture, Region

READERS, READ_AHEAD = 2, 4
"""Threads that read pictures, and how many pictures they may be ahead."""

WRITERS, WRITE_BEHIND = 2, 6
"""Threads that write results, and how many pictures they may be behind."""

Record = dict[str, Any]
_Finished = tuple[Record, dict[str, Any]]


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
    """Fixes files, many under way at once. One record a picture, in order.

    `run` is for files that are there; those that see to the arrival of pictures `read` each and
    `fix` those that could be read.
    """

    def __init__(
        self, pipeline: Pipeline, destination: Destination, *, force: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.destination = destination
        self.force = force
        self.outdated = 0
        models = " ".join(engine.facts.identity for engine in pipeline.engines)
        files = files_identity(pipeline.recipe)
        text = f"{pipeline.recipe.fingerprint} {models} {files} {version()}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, found: Iterable[Found]) -> Iterator[Record]:
        """Yields a record as each picture is finished. Never stops at a bad picture.

        Files are read ahead and results written behind, in threads. `outdated` counts the pictures
        that are done again because the recipe, the model or autofix itself changed. Raises
        UsageError (a recipe, detector or model that cannot work) before any picture is harmed.
        """
        with Journal(self.destination.journal) as journal:
            read = functools.partial(self.read, journal=journal)
            items = ahead(read, found, threads=READERS, window=READ_AHEAD)
            yield from self._fix(items, journal, repeatable=True)

    def read(self, found: Found, journal: Journal) -> Item | Record:
        """A picture to be fixed; or the record of one that is done, or that cannot be read."""
        name = {"picture": self._key(found), "fingerprint": self.fingerprint}
        try:
            stamp = files.stamp(found.path)
            there = not self.force and self.destination.target(found).is_file()
            if there and journal.untouched(stamp=stamp, **name):
                return self._record(found, "done")
            content = files.content_key(found.path)
            if there and journal.done(content=content, **name):
                return self._record(found, "done")
            self.outdated += there and journal.outdated(content=content, **name)
            with self.pipeline.timing.spent("decode"):
                picture = files.read(found.path, name=found.relative)
            return Item(found, stamp, content, picture)
        except (AutofixError, OSError) as error:
            return self._record(found, "failed", reason=str(error))

    def fix(self, items: Sequence[Item], journal: Journal) -> Iterator[Record]:
        """Fix pictures that were read. Of nothing, opens the detectors. Raises UsageError."""
        yield from self._fix(items, journal)

    def _fix(
        self, items: Iterable[Item | Record], journal: Journal, *, repeatable: bool = False
    ) -> Iterator[Record]:
        """The records of all, in order; those that are records already pass by."""
        places: deque[Item | Record] = deque()

        def pictures() -> Iterator[Picture | None]:
            for each in items:
                places.append(each)
                yield each.picture if isinstance(each, Item) else None

        writing: deque[Record | Future[_Finished]] = deque()
        with ThreadPoolExecutor(WRITERS, "autofix-write") as pool:
            try:
                for answer in self.pipeline.stream(pictures(), repeatable=repeatable):
                    place = places.popleft()
                    writing.append(
                        pool.submit(self._finish, place, answer)
                        if isinstance(place, Item)
                        else place
                    )
                    while writing and (len(writing) > WRITE_BEHIND or _over(writing[0])):
                        yield self._noted(writing.popleft(), journal)
            except BaseException:
                for each in writing:  # what was written shall not be done again
                    self._noted(each, journal)
                raise
            while writing:
                yield self._noted(writing.popleft(), journal)

    def _noted(self, written: Record | Future[_Finished], journal: Journal) -> Record:
        """The record of a picture, which the journal has from now on."""
        if not isinstance(written, Future):
            return written
        record, note = written.result()
        if note:
            journal.add(record, **note)
        return record

    def _finish(self, item: Item, answer: Outcome | Exception | None) -> _Finished:
        """In a writer's thread: the record, and what the journal is to know beside it."""
        if not isinstance(answer, Outcome):
            reason = f"{type(answer).__name__}: {answer}"
            return self._record(item.found, "failed", reason=reason), {}
        outcome, target = answer, self.destination.target(item.found)
        try:
            with self.pipeline.timing.spent("encode"):
                self._store(item, outcome, target)
        except (AutofixError, OSError) as error:
            return self._record(item.found, "failed", reason=str(error)), {}
        failed = "; ".join(r.reason for r in outcome.results if r.status == "failed")
        status = "failed" if failed else "fixed" if outcome.changed else "unchanged"
        record = self._record(
            item.found,
            status,
            reason=failed,
            notes=outcome.picture.source.notes if outcome.changed else (),
            regions=outcome_records(outcome),
            seconds=outcome.seconds,
            output=str(target),
        )
        if failed:
            return record, {}
        in_place = self.destination.out is None
        return record, {
            "picture": self._key(item.found),
            # In place the next run meets the fixed file, not this one.
            "content": files.content_key(target) if in_place else item.content,
            "stamp": files.stamp(target) if in_place else item.stamp,
            "fingerprint": self.fingerprint,
        }

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

    def _record(self, found: Found, status: str, **more: Any) -> Record:
        return picture_record(
            input=str(found.path),
            status=status,
            recipe=self.pipeline.recipe.name,
            model=self.pipeline.model,
            **{"output": None, **more},
        )


def _over(written: Record | Future[_Finished]) -> bool:
    return not isinstance(written, Future) or written.done()


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
