"""What a hub says about a file before it sends it on: its sha256 and its size."""

from __future__ import annotations

import http.client
import re
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from weights.errors import DownloadError


@dataclass(frozen=True)
class Declared:
    """The hub's own word on a file; None where it gave none."""

    sha256: str | None = None
    size: int | None = None


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, keeps what the host that was asked declares, never leaves https for http.

    Only that host's word counts: the content network it sends on to is not asked what the file is.
    """

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.declared = Declared()

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Note the headers of this answer, then go where it points."""
        self.note(req.full_url, headers)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(
                f"{req.full_url} sends on to {newurl}", "that is not https: refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def note(self, url: str, headers: Message) -> None:
        """Keep what these headers declare, if they are from the host that was asked."""
        # A small file's tag is a git hash, of 40 digits: not one to check the bytes against.
        digest = str(headers["X-Linked-Etag"] or "").removeprefix("W/").strip('"')
        if urlsplit(url).netloc == self.host and re.fullmatch(r"[0-9a-f]{64}", digest):
            self.declared = Declared(digest, number(headers["X-Linked-Size"]))


def number(text: str | None) -> int | None:
    """Read a header that is a count; None for anything else."""
    return int(text) if text is not None and text.isdecimal() else None
