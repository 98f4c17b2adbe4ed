"""Files being written: under a name of their own in the target folder, renamed when complete."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"
_STALE_S = 24 * 3600


@contextmanager
def partial(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a new file in `folder` under a name nobody else has; on any error it is removed.

    Where there was no error the file stays: the caller renames it.
    """
    path = folder / f".{uuid.uuid4().hex}{SUFFIX}"
    try:
        with path.open("xb") as file:
            yield path, file
    except BaseException:  # Ctrl-C too must leave nothing behind
        path.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that its name never holds half of it."""
    with partial(path.parent) as (temporary, file):
        file.write(text.encode())
    temporary.replace(path)


def sweep(folder: Path) -> None:
    """Remove what killed downloads left behind: partial files no one has touched for a day."""
    for path in folder.glob(f".*{SUFFIX}"):
        if path.stat().st_mtime < time.time() - _STALE_S:
            path.unlink(missing_ok=True)
