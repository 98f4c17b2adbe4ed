"""Folders of pictures in, fixed pictures out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofix import files
from autofix.errors import AutofixError, UsageError
from autofix.files import Found
from autofix.journal import Journal
from autofix.pipeline import Pipeline
from autofix.record import outcome_records, picture_record, version
from autofix.values import Outcome, Picture, Region

AT_ONCE = 8
"""Pictures decoded together, so that their crops share batches."""

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
    """Fixes files one after the other, many at a time. One record a picture, in order.

    `run` is for files that are there; those that see to the arrival of pictures `read` each and
    `fix` those that could be read, at most AT_ONCE together.
    """

    def __init__(
        self, pipeline: Pipeline, destination: Destination, *, force: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.destination = destination
        self.force = force
        models = " ".join(engine.facts.identity for engine in pipeline.engines)
        text = f"{pipeline.recipe.fingerprint} {models} {version()}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, found: Sequence[Found]) -> Iterator[Record]:
        """Yields a record as each picture is finished. Never stops at a bad picture.

        Raises UsageError (a recipe, detector or model that cannot work) before any is harmed.
        """
        with Journal(self.destination.journal) as journal:
            for start in range(0, len(found), AT_ONCE):
                items = []
                for each in found[start : start + AT_ONCE]:
                    ready = self.read(each, journal)
                    if isinstance(ready, Item):
                        items.append(ready)
                    else:
                        yield ready
                yield from self.fix(items, journal)

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
            return Item(found, stamp, content, files.read(found.path, name=found.relative))
        except (AutofixError, OSError) as error:
            return self._record(found, "failed", reason=str(error))

    def fix(self, items: Sequence[Item], journal: Journal) -> Iterator[Record]:
        """Fix pictures together; where that fails, each alone, so that one bad one fails alone.

        Of nothing, opens the detectors. Raises UsageError.
        """
        started = time.perf_counter()
        try:
            outcomes = self.pipeline.fix([item.picture for item in items])
        except UsageError:
            raise
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    yield from self.fix([item], journal)
            else:
                reason = f"{type(error).__name__}: {error}"
                yield self._record(items[0].found, "failed", reason=reason)
            return
        seconds = (time.perf_counter() - started) / max(len(items), 1)
        for item, outcome in zip(items, outcomes, strict=True):
            yield self._finish(item, outcome, seconds, journal)

    def _finish(self, item: Item, outcome: Outcome, seconds: float, journal: Journal) -> Record:
        target = self.destination.target(item.found)
        try:
            self._store(item, outcome, target)
        except (AutofixError, OSError) as error:
            return self._record(item.found, "failed", reason=str(error))
        failed = "; ".join(r.reason for r in outcome.results if r.status == "failed")
        status = "failed" if failed else "fixed" if outcome.changed else "unchanged"
        record = self._record(
            item.found,
            status,
            reason=failed,
            notes=outcome.picture.source.notes if outcome.changed else (),
            regions=outcome_records(outcome),
            seconds=seconds,
            output=str(target),
        )
        if not failed:
            in_place = self.destination.out is None
            journal.add(
                record,
                picture=self._key(item.found),
                # In place the next run meets the fixed file, not this one.
                content=files.content_key(target) if in_place else item.content,
                stamp=files.stamp(target) if in_place else item.stamp,
                fingerprint=self.fingerprint,
            )
        return record

    def _store(self, item: Item, outcome: Outcome, target: Path) -> None:
        if self.destination.backup is not None and outcome.changed:
            files.copy(item.found.path, _free(self.destination.backup / item.found.relative))
        if outcome.changed:
            files.write(outcome.picture, target)
        else:
            files.copy(item.found.path, target, content=item.content)
        for result in outcome.results:
            for number, candidate in enumerate(result.candidates, start=1):
                files.write(candidate, _candidate_path(target, result.region, number))

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
