"""One run or watcher an output folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from autofix.errors import UsageError
from autofix.imagefiles.files import printable, write_bytes
from autofix.imagefiles.own_files import FOLDER, check_own_folder, open_own_file


@contextmanager
def locked_output(out: Path) -> Iterator[None]:
    """Holds OUT/.autofix/lock, and writes this process's number to lock.pid beside it.

    The system releases the lock when the process ends, however that happens. Raises UsageError
    while another process holds it.
    """
    folder = out / FOLDER
    holder = folder / "lock.pid"
    try:
        check_own_folder(out)
        if (file := open_own_file(out, "lock", add=True)) is not None:
            file.close()
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another autofix ({_holder_of(out)}) puts its results into {printable(out)}",
            "wait for it or stop it, or give another folder with -o",
        ) from None
    except OSError as error:
        raise UsageError(
            f"{printable(out)} cannot be written ({error.strerror or error})",
            "check its permissions, or give another folder with -o",
        ) from error
    try:
        write_bytes(holder, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _holder_of(out: Path) -> str:
    """The process that holds the lock, if that is known."""
    try:
        if (file := open_own_file(out, "lock.pid")) is not None:
            with file:
                return printable(file.read(1000).decode("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        pass
    return "of an unknown process"
