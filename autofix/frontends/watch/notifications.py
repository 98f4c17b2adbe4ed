"""Notices of the system about changed files, to find new pictures sooner than by looking.

watchdog rather than watchfiles: on Linux it also reports that a file was closed after writing or
renamed into place, so that the picture is known to be complete without half a second's wait; and it
logs when notices were lost. No library reports every change (queues overflow, network shares are
silent, the number of watches is limited), so the watcher must look at the folders as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
"""The events that can mean a new or changed picture."""


@dataclass(frozen=True)
class Notice:
    """A changed file, `complete` if it was closed or renamed; or a folder: look at all of it."""

    path: str
    complete: bool = False
    folder: bool = False


class ChangeListener:
    """Passes on changes in folders and below them, from its own thread. A context manager.

    `problem` says why the folders cannot be watched, if so.
    """

    def __init__(self, folders: Sequence[str], on_notice: Callable[[Notice], object]) -> None:
        self.folders = tuple(folders)
        self.problem = ""
        self._on_notice = on_notice
        self._observer: BaseObserver | None = None
        self._watched: list[object] = []

    def __enter__(self) -> ChangeListener:
        self._log = logging.getLogger("watchdog")
        self._log_handler = _LostNotices(self.folders, self._on_notice)
        self._log.addHandler(self._log_handler)
        self.restart_if_needed()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_observer()
        self._log.removeHandler(self._log_handler)

    def restart_if_needed(self) -> bool:
        """Watch again if a folder was replaced by another, or the observer died.

        Returns whether it did so: changes in between were not reported.
        """
        watched = [_folder_identity(folder) for folder in self.folders]
        if watched == self._watched and (self.problem or self._is_alive()):
            return False
        self._watched = watched
        self._stop_observer()
        self._start_observer()
        return True

    def _is_alive(self) -> bool:
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def _start_observer(self) -> None:
        observer = _make_observer()
        try:
            for folder in self.folders:
                observer.schedule(
                    _Handler(self._on_notice), folder, recursive=True, event_filter=EVENTS
                )
            observer.start()
        except OSError as error:  # no such folder, or more folders than the system will watch
            self.problem = error.strerror or str(error)
            observer.stop()
        else:
            self.problem = ""
            self._observer = observer

    def _stop_observer(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


class _Handler(FileSystemEventHandler):
    def __init__(self, on_notice: Callable[[Notice], object]) -> None:
        self._on_notice = on_notice

    def on_any_event(self, event: FileSystemEvent) -> None:
        moved = isinstance(event, FileMovedEvent | DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if path:  # else it was moved out of the folder
            complete = moved or isinstance(event, FileClosedEvent)
            self._on_notice(Notice(path, complete=complete, folder=event.is_directory))


class _LostNotices(logging.Handler):
    """Asks to look at the folders where watchdog warns, as of a queue that overflowed."""

    def __init__(self, folders: Sequence[str], on_notice: Callable[[Notice], object]) -> None:
        super().__init__(logging.WARNING)
        self._folders = folders
        self._on_notice = on_notice

    def emit(self, record: logging.LogRecord) -> None:
        for folder in self._folders:
            self._on_notice(Notice(folder, folder=True))


def _make_observer() -> BaseObserver:
    kind: Any = Observer
    if kind.__name__ == "InotifyObserver":
        # Only full events distinguish a file renamed into the folder from one created there.
        return kind(generate_full_events=True)  # type: ignore[no-any-return]
    return kind()  # type: ignore[no-any-return]


def _folder_identity(folder: str) -> object:
    try:
        state = os.stat(folder)
    except OSError:
        return None
    return state.st_dev, state.st_ino
