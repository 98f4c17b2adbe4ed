"""What has been done: an append-only record of pictures, from which a run resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from autofix.files import Stamp

FOLDER = ".autofix"


class Journal:
    """OUT/.autofix/journal.jsonl: one JSON object a finished picture, each on disk before the next.

    A picture is known by its name in the run, its content's sha256, and the fingerprint of recipe
    and model; what counts is how it was finished last. A line that a killed run left half written
    is ignored.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / FOLDER / "journal.jsonl"
        self._last = {entry["picture"]: _key(entry) for entry in _read(self.path)}
        self._file: IO[str] | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def done(self, *, picture: str, content: str, fingerprint: str) -> bool:
        """Whether this very content was the last to be finished under this path, and with this."""
        return self._last.get(picture, ())[:2] == (content, fingerprint)

    def untouched(self, *, picture: str, stamp: Stamp, fingerprint: str) -> bool:
        """Whether what was last finished under this path, with this fingerprint, had this stamp."""
        return self._last.get(picture, ())[1:] == (fingerprint, stamp)

    def outdated(self, *, picture: str, content: str, fingerprint: str) -> bool:
        """Whether this very content was finished under this path, but not with this."""
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
        """Note a finished picture; its stamp is that of the file before its content was read."""
        entry = {
            "picture": picture,
            "content": content,
            "fingerprint": fingerprint,
            "stamp": stamp,
            "record": record,
        }
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")
            self._file = self.path.open("a", encoding="ascii")
            if torn and self.path.stat().st_size:
                self._file.write("\n")
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._last[picture] = _key(entry)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"picture", "content", "fingerprint"} <= entry.keys():
            entries.append(entry)
    return entries


def _key(entry: dict[str, Any]) -> tuple[object, ...]:
    stamp = entry.get("stamp")
    return entry["content"], entry["fingerprint"], tuple(stamp) if stamp else None
