"""Which pictures in folders have arrived: are new or changed, and complete."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from autofix.errors import PictureError, UsageError
from autofix.imagefiles import files
from autofix.imagefiles.discovery import PICTURE_SUFFIXES, walk
from autofix.imagefiles.files import Found, Stamp, shown

SETTLE_SECONDS = 0.5
"""A file that nobody said to be complete is taken for it after so long without a change."""

_TOLD = float("-inf")


@dataclass(frozen=True)
class Folder:
    """A watched folder: as it was given, where it really is, and how its results' names begin."""

    path: Path
    real: str
    prefix: str

    def found(self, real_path: str) -> Found | None:
        """A file in the folder or below it, unless it is hidden."""
        below = real_path.removeprefix(self.real.rstrip(os.sep) + os.sep)
        parts = below.split(os.sep)
        if below == real_path or any(part.startswith(".") for part in parts):
            return None
        return Found(self.path.joinpath(*parts), self.prefix + "/".join(parts))


def folders_of(paths: Sequence[Path], out: Path) -> tuple[Folder, ...]:
    """The folders to watch; of several, each has its results below its own name in `out`.

    Raises UsageError for what is no folder, for folders within each other or of one name, and for
    an `out` that is one of them or holds one: results would be taken for pictures that arrive.
    """
    real_out = os.path.realpath(out)
    folders: list[Folder] = []
    for path in dict.fromkeys(paths):
        real = os.path.realpath(path)
        if not os.path.isdir(real):
            raise UsageError(f"{shown(path)} is no folder", "name a folder that exists")
        if _inside(real, real_out):
            raise UsageError(
                f"{shown(path)} is the output folder or lies in it, so that results would be "
                "taken for new pictures",
                "name another folder with -o; one inside the watched folder will do",
            )
        name = os.path.basename(real)
        for other in folders:
            if _inside(real, other.real) or _inside(other.real, real):
                raise UsageError(
                    f"of {shown(other.path)} and {shown(path)} one holds the other",
                    "name the outer one alone: all below it is watched",
                )
            if other.prefix == f"{name}/":
                raise UsageError(
                    f"{shown(other.path)} and {shown(path)} are both called {shown(name)}, "
                    "as would be their folders of results",
                    "give each its own watch and -o",
                )
        folders.append(Folder(path, real, f"{name}/"))
    return tuple(folders) if len(folders) > 1 else (Folder(folders[0].path, folders[0].real, ""),)


@dataclass
class _Waiting:
    """A picture that came or changed: its stamp, and since when (by the clock) it has it."""

    found: Found
    stamp: Stamp
    since: float
    whole: bool = False
    doubted: bool = False


class Arrivals:
    """Keeps apart what is new and complete, what is still being written, and what was taken.

    It goes by the files' stamps alone, so that nothing it is told, or not told, can make it wrong:
    `look` and `scan` may come at any time and in any order. A picture can be taken once it was said
    to be whole (closed, or renamed into place), or its stamp stayed as it is for SETTLE_SECONDS.
    Whether it can be decoded is found out by whoever takes it, who says `complete` or `incomplete`:
    then it waits until it changes, and is given up where it does not become complete within
    `patience` seconds. `clock` counts seconds.
    """

    def __init__(
        self,
        folders: Sequence[Folder],
        out: Path,
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folders = tuple(folders)
        self.patience = patience
        self._out = out
        self._real_out = os.path.realpath(out)
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._taken: dict[str, Stamp] = {}
        self._in_hand: set[str] = set()
        self._deadlines: dict[str, float] = {}

    def __len__(self) -> int:
        """How many pictures wait."""
        return len(self._waiting)

    def look(self, real_path: str, *, whole: bool = False) -> None:
        """See whether a file is a new or changed picture; `whole`: it was just completed."""
        found = self._found(real_path)
        picture = real_path.lower().endswith(PICTURE_SUFFIXES)
        if found is not None and picture and os.path.isfile(found.path):
            self._look(found, whole=whole)

    def covers(self, real_path: str) -> bool:
        """Whether a folder is one in which pictures are looked for."""
        watched = any(real_path == folder.real for folder in self.folders)
        return watched or self._found(real_path) is not None

    def scan(self, *, take: bool = False) -> dict[str, str]:
        """Look at everything; with `take`, leave all that is there alone until it changes.

        Returns the folders that could not be listed, with the reason.
        """
        troubles: dict[str, str] = {}

        def note(path: str, error: OSError) -> None:
            # A folder may well go while its parent is walked, but a watched one should be there.
            if os.path.isdir(path) or path in map(os.fspath, (each.path for each in self.folders)):
                troubles[path] = error.strerror or type(error).__name__

        for folder in self.folders:
            for each in walk(folder.path, out=self._out, on_error=note):
                found = Found(each.path, folder.prefix + each.relative)
                if take:
                    self._taken[found.relative] = _stamp(found) or (0, 0, 0)
                else:
                    self._look(found, whole=False)
        return troubles

    def take(self, count: int) -> list[Found]:
        """At most so many pictures that have arrived, the first to come first.

        One that was taken is not taken again before its `release`, even if it changes.
        """
        taken: list[Found] = []
        while names := list(islice(self._due_now(), count - len(taken))):
            for name in names:
                waiting = self._waiting.pop(name)
                stamp = _stamp(waiting.found)
                if stamp is None:
                    self._deadlines.pop(name, None)
                elif stamp == waiting.stamp:
                    self._taken[name] = stamp
                    self._in_hand.add(name)
                    taken.append(waiting.found)
                else:
                    self._look(waiting.found, whole=False)
        return taken

    def seconds(self) -> float | None:
        """How long until something can be taken if nothing changes; None if nothing waits."""
        due = [self._due(*each) for each in self._waiting.items() if each[0] not in self._in_hand]
        return max(0.0, min(due) - self._clock()) if due else None

    def release(self, found: Found) -> None:
        """A picture that was taken is no longer worked on."""
        self._in_hand.discard(found.relative)

    def complete(self, found: Found) -> None:
        """A picture that was taken could be read."""
        self._deadlines.pop(found.relative, None)

    def incomplete(self, found: Found) -> bool:
        """A picture that was taken could not be read: it waits again. True if it is given up.

        That is said once of a picture, until it is complete.
        """
        name, now = found.relative, self._clock()
        self.release(found)
        if not found.path.exists():
            self._deadlines.pop(name, None)
            return False
        if now < self._deadlines.setdefault(name, now + self.patience):
            self._waiting[name] = _Waiting(found, self._taken[name], now, doubted=True)
            return False
        told = self._deadlines[name] == _TOLD
        self._deadlines[name] = _TOLD
        return not told

    def changed(self, found: Found) -> bool:
        """Whether a picture is no longer what it was when it was taken, or is gone."""
        return _stamp(found) != self._taken[found.relative]

    def _found(self, real_path: str) -> Found | None:
        if _inside(real_path, self._real_out):
            return None
        return next(filter(None, (folder.found(real_path) for folder in self.folders)), None)

    def _look(self, found: Found, *, whole: bool) -> None:
        name, stamp = found.relative, _stamp(found)
        if stamp is None or (stamp == self._taken.get(name) and not whole):
            return
        waiting = self._waiting.get(name)
        if waiting is None or waiting.stamp != stamp:
            age = max(0.0, time.time() - stamp[1] / 1e9)
            self._waiting[name] = waiting = _Waiting(found, stamp, self._clock() - age)
        waiting.whole |= whole

    def _due_now(self) -> Iterator[str]:
        now = self._clock()
        return (
            name
            for name, waiting in self._waiting.items()
            if name not in self._in_hand and self._due(name, waiting) <= now
        )

    def _due(self, name: str, waiting: _Waiting) -> float:
        """When, by the clock, a picture can be taken."""
        if waiting.whole:
            return float("-inf")
        return self._deadlines[name] if waiting.doubted else waiting.since + SETTLE_SECONDS


def _stamp(found: Found) -> Stamp | None:
    try:
        return files.stamp(found.path)
    except PictureError:
        return None


def _inside(path: str, folder: str) -> bool:
    return (path + os.sep).startswith(folder.rstrip(os.sep) + os.sep)
