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
from autofix.values import Outcome, Picture

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
class _Item:
    found: Found
    content: str
    picture: Picture


class Batch:
    """Fixes files one after the other, many at a time. One record a picture, in order."""

    def __init__(
        self, pipeline: Pipeline, destination: Destination, *, force: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.destination = destination
        self.force = force
        engine = pipeline.engine.facts
        text = f"{pipeline.recipe.fingerprint} {engine.identity} {version()}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, found: Sequence[Found]) -> Iterator[Record]:
        """Yields a record as each picture is finished. Never stops at a bad picture.

        Raises UsageError (a recipe, detector or model that cannot work) before any is harmed.
        """
        with Journal(self.destination.journal) as journal:
            for start in range(0, len(found), AT_ONCE):
                items = []
                for each in found[start : start + AT_ONCE]:
                    ready = self._read(each, journal)
                    if isinstance(ready, _Item):
                        items.append(ready)
                    else:
                        yield ready
                yield from self._fix(items, journal)

    def _read(self, found: Found, journal: Journal) -> _Item | Record:
        try:
            content = files.content_key(found.path)
            known = journal.done(
                picture=self._key(found), content=content, fingerprint=self.fingerprint
            )
            if known and not self.force and self.destination.target(found).is_file():
                return self._record(found, "done")
            return _Item(found, content, files.read(found.path, name=found.relative))
        except (AutofixError, OSError) as error:
            return self._record(found, "failed", reason=str(error))

    def _fix(self, items: Sequence[_Item], journal: Journal) -> Iterator[Record]:
        """Fix pictures together; where that fails, each alone, so that one bad one fails alone."""
        started = time.perf_counter()
        try:
            outcomes = self.pipeline.fix([item.picture for item in items])
        except UsageError:
            raise
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    yield from self._fix([item], journal)
            else:
                reason = f"{type(error).__name__}: {error}"
                yield self._record(items[0].found, "failed", reason=reason)
            return
        seconds = (time.perf_counter() - started) / max(len(items), 1)
        for item, outcome in zip(items, outcomes, strict=True):
            yield self._finish(item, outcome, seconds, journal)

    def _finish(self, item: _Item, outcome: Outcome, seconds: float, journal: Journal) -> Record:
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
                fingerprint=self.fingerprint,
            )
        return record

    def _store(self, item: _Item, outcome: Outcome, target: Path) -> None:
        if self.destination.backup is not None and outcome.changed:
            files.copy(item.found.path, self.destination.backup / item.found.relative)
        if outcome.changed:
            files.write(outcome.picture, target)
        else:
            files.copy(item.found.path, target)

    def _key(self, found: Found) -> str:
        """What the journal knows a picture by: in place, relative names need not differ."""
        return str(found.path.absolute()) if self.destination.out is None else found.relative

    def _record(self, found: Found, status: str, **more: Any) -> Record:
        return picture_record(
            input=str(found.path),
            status=status,
            recipe=self.pipeline.recipe.name,
            model=self.pipeline.engine.facts.name,
            **{"output": None, **more},
        )
