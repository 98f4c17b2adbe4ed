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
from autofix.imagefiles.discovery import PICTURE_SUFFIXES, is_inside, walk_pictures
from autofix.imagefiles.files import FoundFile, Stamp, printable

SETTLE_SECONDS = 0.5
"""A file is taken to be complete after so long without a change, if no notice says it sooner."""

_REPORTED = float("-inf")
"""The deadline of a picture that was given up and reported."""


@dataclass(frozen=True)
class Folder:
    """A watched folder: the path as given, its real path, and the prefix of its results' names."""

    path: Path
    real: str
    prefix: str

    def found_at(self, real_path: str) -> FoundFile | None:
        """The file of this real path, if it is in the folder or below it and is not hidden."""
        below = real_path.removeprefix(self.real.rstrip(os.sep) + os.sep)
        parts = below.split(os.sep)
        if below == real_path or any(part.startswith(".") for part in parts):
            return None
        return FoundFile(self.path.joinpath(*parts), self.prefix + "/".join(parts))


def folders_of(paths: Sequence[Path], out: Path) -> tuple[Folder, ...]:
    """The folders to watch; of several, each has its results below its own name in `out`.

    Raises UsageError for what is no folder, for folders inside each other or of one name, and for
    an `out` that is one of them or holds one: its results would be taken for new pictures.
    """
    real_out = os.path.realpath(out)
    folders: list[Folder] = []
    for path in dict.fromkeys(paths):
        real = os.path.realpath(path)
        if not os.path.isdir(real):
            raise UsageError(f"{printable(path)} is no folder", "name a folder that exists")
        if is_inside(real, real_out):
            raise UsageError(
                f"{printable(path)} is the output folder or lies in it, so that results would be "
                "taken for new pictures",
                "name another folder with -o; one inside the watched folder will do",
            )
        name = os.path.basename(real)
        for other in folders:
            if is_inside(real, other.real) or is_inside(other.real, real):
                raise UsageError(
                    f"of {printable(other.path)} and {printable(path)} one holds the other",
                    "name the outer one alone: all below it is watched",
                )
            if other.prefix == f"{name}/":
                raise UsageError(
                    f"{printable(other.path)} and {printable(path)} are both called "
                    f"{printable(name)}, as would be their folders of results",
                    "give each its own watch and -o",
                )
        folders.append(Folder(path, real, f"{name}/"))
    return tuple(folders) if len(folders) > 1 else (Folder(folders[0].path, folders[0].real, ""),)


@dataclass
class _Waiting:
    """A new or changed picture: its stamp, and the clock's time at which it got that stamp.

    `complete`: a notice said so; `unreadable`: it was taken once and could not be read.
    """

    found: FoundFile
    stamp: Stamp
    since: float
    complete: bool = False
    unreadable: bool = False


class Arrivals:
    """Knows which pictures are new or changed, and which of them are complete.

    It compares the stamps of files, so that missing or wrong notices cannot mislead it: `look_at`
    and `scan_folders` may come at any time and in any order. A picture can be taken once a notice
    says that it is complete (closed, or renamed into place), or when its stamp has not changed for
    SETTLE_SECONDS. The caller then tries to read it, and calls `mark_readable` or
    `mark_unreadable`; an unreadable picture waits until it changes, and is given up if it is not
    readable within `patience` seconds. `clock` counts seconds.
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

    def look_at(self, real_path: str, *, complete: bool = False) -> None:
        """See whether a file is a new or changed picture; `complete`: it was closed or renamed."""
        found = self._found_at(real_path)
        picture = real_path.lower().endswith(PICTURE_SUFFIXES)
        if found is not None and picture and os.path.isfile(found.path):
            self._note_stamp(found, complete=complete)

    def covers_folder(self, real_path: str) -> bool:
        """Whether pictures are looked for in this folder."""
        watched = any(real_path == folder.real for folder in self.folders)
        return watched or self._found_at(real_path) is not None

    def scan_folders(self, *, take: bool = False) -> dict[str, str]:
        """Look at every picture; with `take`, ignore those that are there until they change.

        Returns the folders that could not be listed, with the reason.
        """
        errors: dict[str, str] = {}

        def note_error(path: str, error: OSError) -> None:
            # A folder inside may be removed during the walk; a watched one should be there.
            watched = (os.fspath(folder.path) for folder in self.folders)
            if os.path.isdir(path) or path in watched:
                errors[path] = error.strerror or type(error).__name__

        for folder in self.folders:
            for picture in walk_pictures(folder.path, out=self._out, on_error=note_error):
                found = FoundFile(picture.path, folder.prefix + picture.relative)
                if take:
                    self._taken[found.relative] = _stamp_of(found) or (0, 0, 0)
                else:
                    self._note_stamp(found, complete=False)
        return errors

    def take_arrived(self, count: int) -> list[FoundFile]:
        """At most `count` complete pictures, in the order in which they came.

        A picture is not taken again before `release_picture`, even if it changes.
        """
        taken: list[FoundFile] = []
        while names := list(islice(self._due_names(), count - len(taken))):
            for name in names:
                waiting = self._waiting.pop(name)
                stamp = _stamp_of(waiting.found)
                if stamp is None:
                    self._deadlines.pop(name, None)
                elif stamp == waiting.stamp:
                    self._taken[name] = stamp
                    self._in_hand.add(name)
                    taken.append(waiting.found)
                else:
                    self._note_stamp(waiting.found, complete=False)
        return taken

    def seconds_until_due(self) -> float | None:
        """Seconds until a picture can be taken if nothing changes; None if none waits."""
        due = [
            self._due_time(name, waiting)
            for name, waiting in self._waiting.items()
            if name not in self._in_hand
        ]
        return max(0.0, min(due) - self._clock()) if due else None

    def release_picture(self, found: FoundFile) -> None:
        """Note that a picture that was taken is no longer worked on."""
        self._in_hand.discard(found.relative)

    def mark_readable(self, found: FoundFile) -> None:
        """Note that a picture that was taken could be read."""
        self._deadlines.pop(found.relative, None)

    def mark_unreadable(self, found: FoundFile) -> bool:
        """Note that a picture that was taken could not be read, so that it waits again.

        True if it is given up, which happens once until it can be read.
        """
        name, now = found.relative, self._clock()
        self.release_picture(found)
        if not found.path.exists():
            self._deadlines.pop(name, None)
            return False
        if now < self._deadlines.setdefault(name, now + self.patience):
            self._waiting[name] = _Waiting(found, self._taken[name], now, unreadable=True)
            return False
        reported = self._deadlines[name] == _REPORTED
        self._deadlines[name] = _REPORTED
        return not reported

    def has_changed(self, found: FoundFile) -> bool:
        """Whether a picture has changed since it was taken, or is gone."""
        return _stamp_of(found) != self._taken[found.relative]

    def _found_at(self, real_path: str) -> FoundFile | None:
        if is_inside(real_path, self._real_out):
            return None
        return next(filter(None, (folder.found_at(real_path) for folder in self.folders)), None)

    def _note_stamp(self, found: FoundFile, *, complete: bool) -> None:
        name, stamp = found.relative, _stamp_of(found)
        if stamp is None or (stamp == self._taken.get(name) and not complete):
            return
        waiting = self._waiting.get(name)
        if waiting is None or waiting.stamp != stamp:
            age = max(0.0, time.time() - stamp[1] / 1e9)
            self._waiting[name] = waiting = _Waiting(found, stamp, self._clock() - age)
        waiting.complete |= complete

    def _due_names(self) -> Iterator[str]:
        now = self._clock()
        return (
            name
            for name, waiting in self._waiting.items()
            if name not in self._in_hand and self._due_time(name, waiting) <= now
        )

    def _due_time(self, name: str, waiting: _Waiting) -> float:
        """The clock's time at which a picture can be taken."""
        if waiting.complete:
            return float("-inf")
        return self._deadlines[name] if waiting.unreadable else waiting.since + SETTLE_SECONDS


def _stamp_of(found: FoundFile) -> Stamp | None:
    try:
        return files.file_stamp(found.path)
    except PictureError:
        return None
