"""A hub on this machine that answers as a test wants, and the one file it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler

from weights.manifest import Entry

BODY = bytes(range(256)) * 4096  # 1 MiB: several blocks
DIGEST = hashlib.sha256(BODY).hexdigest()
REVISION = "a" * 40
RESOLVE = f"/owner/repo/resolve/{REVISION}/toy.pt"
HUB_HEADERS = {"ETag": '"' + "e" * 40 + '"', "X-Repo-Commit": REVISION}


@dataclass
class Reply:
    """What the hub answers once: a status and, to GET, a body. HEAD gets the same headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None  # bytes of the body that are sent; all if None
    halfway: Callable[[], object] = lambda: None


@dataclass
class Hub:
    """Replies by path: one a GET or a refusal, the last one for ever. Notes the requests."""

    url: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)

    def set_replies(self, *replies: Reply, path: str = RESOLVE) -> None:
        self.replies[path] = list(replies)

    def next_reply(self, method: str, path: str, headers: Message) -> Reply:
        self.requests.append((method, path))
        self.headers.append(headers)
        queue = self.replies.get(path, [Reply(404)])
        final = len(queue) == 1 or (method == "HEAD" and queue[0].status < 300)
        return queue[0] if final else queue.pop(0)

    def count(self, method: str) -> int:
        return sum(asked == method for asked, _ in self.requests)


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_headers(hub.next_reply("HEAD", self.path, self.headers), 0)

        def do_GET(self) -> None:
            reply = hub.next_reply("GET", self.path, self.headers)
            start = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
            self.send_headers(reply, start)
            body = reply.body[start : reply.sent]
            half = len(body) // 2
            try:
                self.wfile.write(body[:half])
                reply.halfway()
                self.wfile.write(body[half:])
            except ConnectionError:  # the other side was killed, or had enough
                self.close_connection = True

        def send_headers(self, reply: Reply, start: int) -> None:
            size = len(reply.body)
            self.send_response(206 if start else reply.status)
            self.send_header("Content-Length", str(size - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            for name, value in {**HUB_HEADERS, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def toy(**changes: object) -> Entry:
    """An entry for BODY on the hub."""
    values = {"sha256": DIGEST, "size": len(BODY), **changes}
    return Entry(
        name="toy",
        kind="yolo",
        labels=("face",),
        file="toy.pt",
        licence="MIT",
        source="https://example.org/toy",
        repo="owner/repo",
        revision=REVISION,
        **values,  # type: ignore[arg-type]
    )
