"""autofix's own files in a user's folder, opened so that a planted link is not followed.

An archive or a shared folder can bring `.autofix/journal.jsonl` as a link to any file of the
user's. So the folder must be a real one and the file a plain one, owned by the user or by the
owner of the folder above; and the file is opened relative to the folder that was checked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autofix.errors import UsageError
from autofix.imagefiles.discovery import printable

FOLDER = ".autofix"
"""The name of autofix's own folder inside an output folder."""

_SAFELY = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # do not wait for a pipe's other end
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def check_own_folder(out: Path) -> None:
    """Raises UsageError where OUT/.autofix is there and is no folder of the user's own."""
    with _own_folder(out):
        pass


def open_own_file(out: Path, name: str, *, add: bool = False) -> IO[bytes] | None:
    """Open OUT/.autofix/NAME to read, None where it is not there; or to `add`, made as needed.

    Raises UsageError where the file or its folder is a link, a pipe, a file with a second name, or
    another user's; and OSError.
    """
    path = out / FOLDER / name
    if add:
        path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT if add else os.O_RDONLY
    with _own_folder(out) as folder:
        try:
            if folder is None:  # or the system cannot open a file relative to a folder
                _refuse_strange(path, path.lstat(), out)
                number = os.open(path, flags | _SAFELY, 0o666)
            else:
                number = os.open(name, flags | _SAFELY, 0o666, dir_fd=folder)
        except FileNotFoundError:
            if add:
                raise
            return None
        except OSError as error:
            if path.is_symlink() or path.is_dir():
                raise _strange_file_error(
                    path, "a link" if path.is_symlink() else "a folder"
                ) from error
            raise
    try:
        _refuse_strange(path, os.fstat(number), out)
    except BaseException:
        os.close(number)
        raise
    return os.fdopen(number, "ab+" if add else "rb")


def check_stays_inside(path: Path, folder: Path) -> None:
    """Raises OSError where a link or `..` leads from a folder to where this path really is."""
    real, real_folder = os.path.realpath(path.parent), os.path.realpath(folder)
    if os.path.commonpath([real, real_folder]) != real_folder:
        raise OSError(0, f"a link or .. leads out of {printable(folder)}")


@contextmanager
def _own_folder(out: Path) -> Iterator[int | None]:
    """A descriptor of OUT/.autofix; None where it is not there, or the system opens no folders."""
    path = out / FOLDER
    try:
        state = path.lstat()
    except FileNotFoundError:
        yield None
        return
    if stat.S_ISLNK(state.st_mode) or not stat.S_ISDIR(state.st_mode):
        raise _strange_file_error(path, "a link" if stat.S_ISLNK(state.st_mode) else "no folder")
    if os.open not in os.supports_dir_fd:
        yield None
        return
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
    try:
        _refuse_foreign(path, os.fstat(number), out)
        yield number
    finally:
        os.close(number)


def _refuse_strange(path: Path, state: os.stat_result, out: Path) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise _strange_file_error(
            path, "a link" if stat.S_ISLNK(state.st_mode) else "no plain file"
        )
    if state.st_nlink > 1:
        raise _strange_file_error(path, "a file that has a second name")
    _refuse_foreign(path, state, out)


def _refuse_foreign(path: Path, state: os.stat_result, out: Path) -> None:
    if hasattr(os, "geteuid") and state.st_uid not in (os.geteuid(), out.stat().st_uid):
        raise _strange_file_error(path, "another user's")


def _strange_file_error(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{printable(path)} is {what}, and autofix keeps its own files there",
        "look at what it is, remove it, and start again",
    )
