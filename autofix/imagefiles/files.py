"""Reads, writes and copies picture files; a written file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from autofix.errors import PictureError
from autofix.imagefiles.decode import PILLOW_ERRORS, Unreadable, decode
from autofix.imagefiles.discovery import FoundFile, find_pictures, printable
from autofix.imagefiles.encode import encode, format_of
from autofix.imagefiles.own_files import check_stays_inside
from autofix.values import Picture

__all__ = [
    "FoundFile",
    "Stamp",
    "content_key",
    "copy",
    "file_stamp",
    "find_pictures",
    "is_temporary",
    "printable",
    "read",
    "remove_temporaries",
    "temporary_name",
    "write",
    "write_bytes",
]

_TEMPORARY = re.compile(r"\.autofix-[0-9a-f]{16}\.part")
_BLOCK_BYTES = 2**20

Stamp = tuple[int, int, int]
"""Size in bytes, and the times of change of content and of directory entry, in nanoseconds."""


def read(path: Path, *, name: str) -> Picture:
    """The picture in a file, under the name it goes by in a run; see `decode.decode`.

    Raises PictureError for a file that is missing, damaged, animated, too large (Pillow's limit of
    about 179 million pixels) or no picture.
    """
    try:
        with path.open("rb") as stream:
            decoded = decode(stream)
            return Picture(decoded.pixels, name, replace(decoded.source, path=path))
    except Unreadable as error:
        raise PictureError(f"{printable(path)} {error.problem}", error.advice) from None
    except PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _file_error(path, "read", error) from error
        raise PictureError(
            f"{printable(path)} cannot be read ({_failure_reason(error)})",
            "the file is damaged: leave it out, or save the picture again",
        ) from error


def write(
    picture: Picture,
    path: Path,
    *,
    extra_text: Sequence[tuple[str, str]] = (),
    inside: Path | None = None,
) -> None:
    """Writes the picture in the format of the path's suffix, or in its source's; see `encode`.

    Folders are made as needed. The file appears whole or not at all, replacing what was there (a
    link is replaced, not followed) and keeping that file's permissions. Raises PictureError, also
    where links lead out of the folder `inside`, if it is given.
    """
    kind = format_of(path, otherwise=picture.source.format)
    try:
        data = encode(picture, kind, extra_text=extra_text)
    except PILLOW_ERRORS as error:
        raise PictureError(
            f"{printable(path)} cannot be written as {kind} ({_failure_reason(error)})",
            "give the input a name that ends in .png",
        ) from error
    write_bytes(path, data, inside=inside)


def write_bytes(path: Path, data: bytes, *, inside: Path | None = None) -> None:
    """Writes a file whole or not at all, making folders as needed; see `write`."""
    try:
        _write_atomically(path, lambda stream: stream.write(data), inside=inside)
    except OSError as error:
        raise _file_error(path, "written", error) from error


def copy(
    source: Path, target: Path, *, content: str | None = None, inside: Path | None = None
) -> None:
    """Copies a file byte for byte with its time of change, whole or not at all; see `write`.

    Nothing happens where both are one file. Raises PictureError, also for a source that no longer
    has the content key `content`, if that is given.
    """
    try:
        if target.exists() and os.path.samefile(source, target):
            return
        with source.open("rb") as stream:
            times = os.fstat(stream.fileno())

            def fill(copied: BinaryIO) -> None:
                digest = hashlib.sha256()
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
                    copied.write(block)
                if content not in (None, digest.hexdigest()):
                    raise PictureError(f"{printable(source)} was changed meanwhile", "fix it again")

            times_ns = (times.st_atime_ns, times.st_mtime_ns)
            _write_atomically(target, fill, times_ns=times_ns, inside=inside)
    except OSError as error:
        raise _file_error(source, f"copied to {printable(target)}", error) from error


def content_key(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises PictureError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise _file_error(path, "read", error) from error
    return digest.hexdigest()


def file_stamp(path: Path) -> Stamp:
    """A value that changes when the file does, taken without reading it. Raises PictureError."""
    try:
        state = path.stat()
    except OSError as error:
        raise _file_error(path, "read", error) from error
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def temporary_name(path: Path) -> Path:
    """A short, unused name beside a file to write it under; `find_pictures` leaves it out."""
    return path.with_name(f".autofix-{secrets.token_hex(8)}.part")


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that `temporary_name` gives."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_temporaries(folder: Path, *, deep: bool = True) -> int:
    """Removes the temporary files of killed runs in a folder, and below it if deep; counts them.

    Only for a folder that no other run is writing to. What cannot be removed stays.
    """
    removed = 0
    for parent, below, names in os.walk(folder):
        if not deep:
            below.clear()
        for path in (Path(parent, name) for name in names if _TEMPORARY.fullmatch(name)):
            try:
                path.unlink()
            except OSError:
                continue
            removed += 1
    return removed


def _write_atomically(
    path: Path,
    fill: Callable[[BinaryIO], object],
    *,
    times_ns: tuple[int, int] | None = None,
    inside: Path | None = None,
) -> None:
    """Fills a temporary file beside the path, syncs it to the disk, and renames it."""
    if inside is not None:
        check_stays_inside(path, inside)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if path.is_file() and not path.is_symlink():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        if times_ns is not None:
            os.utime(temporary, ns=times_ns)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _file_error(path: Path, done: str, error: OSError) -> PictureError:
    advice = (
        "check that it is there and may be read"
        if done == "read"
        else "check the output folder (-o): its permissions, and the space left on its disk"
    )
    return PictureError(
        f"{printable(path)} cannot be {done} ({error.strerror or _failure_reason(error)})",
        advice,
    )


def _failure_reason(error: BaseException) -> str:
    return printable(str(error)) or type(error).__name__
