"""What the system says about changes in folders: only to hear of them sooner than by looking.

watchdog rather than watchfiles, because on Linux it also says that a file was closed after writing
or renamed into place, so that no half second need pass before the picture is taken for complete.
No library hears of everything (queues overflow, network shares are silent, limits are reached):
whoever listens must look as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


@dataclass(frozen=True)
class Notice:
    """A changed file, `whole` if it was closed or renamed; or a folder: look at all there is."""

    path: str
    whole: bool = False
    folder: bool = False


class Notices:
    """Tells of changes in folders and below them, from a thread of its own. A context manager."""

    def __init__(self, folders: Sequence[str], tell: Callable[[Notice], object]) -> None:
        self.folders = tuple(folders)
        self.trouble = ""
        self._tell = tell
        self._observer: BaseObserver | None = None
        self._watched: list[object] = []

    def __enter__(self) -> Notices:
        self._log = logging.getLogger("watchdog")
        self._complaints = _Complaints(self.folders, self._tell)
        self._log.addHandler(self._complaints)
        self.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._log.removeHandler(self._complaints)

    def refresh(self) -> bool:
        """Listen anew if a folder is another one than before, or nobody listens any more.

        Returns whether it did: what happened meanwhile nobody heard. `trouble` then says why
        nothing can be heard, if so.
        """
        watched = [_identity(folder) for folder in self.folders]
        if watched == self._watched and (self.trouble or self._alive()):
            return False
        self._watched = watched
        self._stop()
        self._start()
        return True

    def _alive(self) -> bool:
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def _start(self) -> None:
        observer = _observer()
        try:
            for folder in self.folders:
                observer.schedule(_Handler(self._tell), folder, recursive=True, event_filter=EVENTS)
            observer.start()
        except OSError as error:  # no such folder, or more folders than the system will watch
            self.trouble = error.strerror or str(error)
            observer.stop()
        else:
            self.trouble = ""
            self._observer = observer

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


class _Handler(FileSystemEventHandler):
    def __init__(self, tell: Callable[[Notice], object]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        moved = isinstance(event, FileMovedEvent | DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if path:  # else it was moved out of the folder
            whole = moved or isinstance(event, FileClosedEvent)
            self._tell(Notice(path, whole=whole, folder=event.is_directory))


class _Complaints(logging.Handler):
    """Where watchdog complains, as of a queue that overflowed, notices are missing: look."""

    def __init__(self, folders: Sequence[str], tell: Callable[[Notice], object]) -> None:
        super().__init__(logging.WARNING)
        self._folders = folders
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        for folder in self._folders:
            self._tell(Notice(folder, folder=True))


def _observer() -> BaseObserver:
    kind: Any = Observer
    if kind.__name__ == "InotifyObserver":
        # Full events tell a file that was renamed into the folder from one that was begun there.
        return kind(generate_full_events=True)  # type: ignore[no-any-return]
    return kind()  # type: ignore[no-any-return]


def _identity(folder: str) -> object:
    try:
        facts = os.stat(folder)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
