"""One streamed download: to a temporary file beside the target, hashed on the way."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from weights.answer import Declared, Redirects, number
from weights.errors import DownloadError, MismatchError
from weights.partial import partial

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes done and the bytes in all (None: not known)."""

_BLOCK = 1 << 18
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Wanted:
    """An address, and the size of what is there, if that is known."""

    url: str
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask again."""

    timeout_s: float = 30.0
    """Of silence; a slow download that moves is never cut off."""
    retries: int = 2
    wait_s: float = 1.0
    """Before the first retry; each further wait is three times as long."""


@dataclass(frozen=True)
class Received:
    """What came, under a temporary name, and what the hub itself says the file is."""

    path: Path
    size: int
    sha256: str
    declared: Declared


class _TroubleError(Exception):
    """The connection could not be made, or ended before the file did."""


PATIENCE = Patience()


def download(
    wanted: Wanted, folder: Path, *, patience: Patience = PATIENCE, progress: Progress | None = None
) -> Received:
    """Fetch a file into a new temporary file in `folder`, and hash it.

    Connection trouble and overloaded servers are tried again; any other answer is an error at once.
    On failure the temporary file is gone. The caller checks the hash, and renames.
    """
    wait_s = patience.wait_s
    for left in range(patience.retries, -1, -1):
        try:
            return _attempt(wanted, folder, patience.timeout_s, progress)
        except urllib.error.HTTPError as error:
            with error:
                if not left or error.code not in _TRY_AGAIN:
                    raise _refused(wanted.url, error) from error
        except _TroubleError as error:
            if not left:
                raise _unreachable(wanted.url, patience.retries + 1, error) from error
        time.sleep(wait_s)
        wait_s *= 3
    raise AssertionError("the last attempt returns or raises")


def _attempt(wanted: Wanted, folder: Path, timeout_s: float, progress: Progress | None) -> Received:
    redirects = Redirects(wanted.url)
    with _open(wanted.url, redirects, timeout_s) as answer, partial(folder) as (path, file):
        redirects.note(answer.url, answer.headers)
        length = number(answer.headers["Content-Length"])
        total = wanted.size if wanted.size is not None else redirects.declared.size or length
        if length is not None and length != total:
            raise _wrong_size(wanted.url, length, total)
        size, digest = _copy(answer, file, total, progress)
        if length is not None and size < length:
            raise _TroubleError(f"it ended after {size} of {length} bytes")
        if total is not None and size != total:
            raise _wrong_size(wanted.url, size, total)
        file.flush()
        os.fsync(file.fileno())
    return Received(path, size, digest, redirects.declared)


def _open(url: str, redirects: Redirects, timeout_s: float) -> http.client.HTTPResponse:
    # Compression on the way would make the length on the wire another one than the file's.
    headers = {"User-Agent": "autofix", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=timeout_s)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _TroubleError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    return cast("http.client.HTTPResponse", response)


def _copy(
    answer: http.client.HTTPResponse, file: BinaryIO, total: int | None, progress: Progress | None
) -> tuple[int, str]:
    """Write until the answer ends, or has become longer than it may be."""
    digest, size = hashlib.sha256(), 0
    while (total is None or size <= total) and (block := _read(answer)):
        file.write(block)
        digest.update(block)
        size += len(block)
        if progress is not None:
            progress(size, total)
    return size, digest.hexdigest()


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _TroubleError(str(error) or type(error).__name__) from error


def _wrong_size(url: str, found: int, expected: int | None) -> MismatchError:
    return MismatchError(
        f"{url} has {found} bytes, expected {expected}",
        "nothing was kept; a proxy or a login page may have answered in its place",
    )


def _refused(url: str, error: urllib.error.HTTPError) -> DownloadError:
    advice = {
        401: "the server wants a login: fetch it in a browser and put it in the cache by hand",
        403: "the server does not give it to you: fetch it elsewhere, or set AUTOFIX_HUB",
        404: "it is not there: if AUTOFIX_HUB or HF_ENDPOINT names a mirror, the mirror lacks it",
        429: "too many requests came from here: try again later",
    }.get(error.code, "the server has trouble: try again later, or set AUTOFIX_HUB to a mirror")
    return DownloadError(f"{url} was answered with {error.code} {error.reason}", advice)


def _unreachable(url: str, attempts: int, error: Exception) -> DownloadError:
    return DownloadError(
        f"{url} could not be fetched in {attempts} attempts ({error})",
        "check the connection and proxy, or set AUTOFIX_HUB to a mirror you can reach",
    )
