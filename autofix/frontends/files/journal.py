"""The journal of finished pictures, from which a run resumes. Lines are only ever added."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from autofix.imagefiles.files import Stamp
from autofix.imagefiles.own_files import FOLDER, open_own_file

NAME = "journal.jsonl"
"""Of the journal, in the folder of autofix's own files."""


class Journal:
    """OUT/.autofix/journal.jsonl: one JSON object a finished picture, each on disk before the next.

    An entry has the picture's name in the run, the sha256 of its content, and the fingerprint of
    recipe and model; the last entry of a picture counts. A line that a killed run left half written
    is ignored.
    """

    def __init__(self, out: Path) -> None:
        """Raises UsageError where the file or its folder is not what autofix made."""
        self.path = out / FOLDER / NAME
        self._out = out
        self._last = dict(_read_journal(out))
        self._file: IO[bytes] | None = None

    def close(self) -> None:
        """Close the file. Closing again does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def has_content(self, *, picture: str, content: str, fingerprint: str) -> bool:
        """Whether the picture was last finished with this content and this fingerprint."""
        return self._last.get(picture, ())[:2] == (content, fingerprint)

    def has_stamp(self, *, picture: str, stamp: Stamp, fingerprint: str) -> bool:
        """Whether the picture was last finished with this stamp and this fingerprint."""
        return self._last.get(picture, ())[1:] == (fingerprint, stamp)

    def is_outdated(self, *, picture: str, content: str, fingerprint: str) -> bool:
        """Whether the picture was last finished with this content, but another fingerprint."""
        known = self._last.get(picture, (content, fingerprint))
        return known[0] == content and known[1] != fingerprint

    def add(
        self,
        record: dict[str, Any],
        *,
        picture: str,
        content: str,
        fingerprint: str,
        stamp: Stamp | None = None,
    ) -> None:
        """Add a finished picture; its stamp is that of the file before its content was read."""
        entry = {
            "picture": picture,
            "content": content,
            "fingerprint": fingerprint,
            "stamp": stamp,
            "record": record,
        }
        if self._file is None:
            self._file = open_own_file(self._out, NAME, add=True)
            assert self._file is not None
            if _is_torn(self._file):
                self._file.write(b"\n")
        self._file.write(json.dumps(entry).encode("ascii") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._last[picture] = content, fingerprint, stamp


def _read_journal(out: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Each entry: picture -> (content, fingerprint, stamp). Damaged lines are left out."""
    file = open_own_file(out, NAME)
    if file is None:
        return
    with file:
        for line in file:
            try:
                entry = json.loads(line)
                picture, content, fingerprint = (
                    entry[key] for key in ("picture", "content", "fingerprint")
                )
                stamp = None if entry.get("stamp") is None else tuple(entry["stamp"])
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                continue
            if all(isinstance(value, str) for value in (picture, content, fingerprint)):
                yield picture, (content, fingerprint, stamp)


def _is_torn(file: IO[bytes]) -> bool:
    """Whether the last line has no line end, as where a run was killed."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
