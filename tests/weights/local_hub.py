"""A hub on this machine that answers as told, and the one file it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from weights.manifest import Entry

BODY = bytes(range(256)) * 4096  # 1 MiB: several blocks
DIGEST = hashlib.sha256(BODY).hexdigest()
RESOLVE = "/owner/repo/resolve/" + "a" * 40 + "/toy.pt"


@dataclass
class Reply:
    """What the hub answers once."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0  # bytes announced but never sent
    before: Callable[[], object] = lambda: None
    halfway: Callable[[], object] = lambda: None


@dataclass
class Hub:
    """Replies by path: one a request, the last one for ever. Notes who asked for what."""

    url: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def say(self, *replies: Reply, path: str = RESOLVE) -> None:
        self.replies[path] = list(replies)

    def next_reply(self, path: str) -> Reply:
        self.asked.append(path)
        queue = self.replies.get(path, [Reply(404)])
        return queue.pop(0) if len(queue) > 1 else queue[0]


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = hub.next_reply(self.path)
            reply.before()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            half = len(reply.body) // 2
            try:
                self.wfile.write(reply.body[:half])
                reply.halfway()
                self.wfile.write(reply.body[half:])
            except ConnectionError:  # the other side was killed, or had enough
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def toy(**changes: object) -> Entry:
    """An entry for BODY on the hub; `sha256=None, size=None` for one the manifest cannot check."""
    values = {"sha256": DIGEST, "size": len(BODY), **changes}
    return Entry(
        name="toy",
        kind="yolo",
        labels=("face",),
        file="toy.pt",
        licence="MIT",
        source="https://example.org/toy",
        repo="owner/repo",
        revision="a" * 40,
        **values,  # type: ignore[arg-type]
    )
