"""Calls between processes of one user on one machine: one JSON object out, several back.

They go over a Unix socket of mode 0600 in a folder of mode 0700, whose callers must be the same
user; where there are no Unix sockets over 127.0.0.1, with a token that is in a file of mode 0600.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import socketserver
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from autofix.errors import AutofixError, BusyError, UsageError

Message = dict[str, Any]
Answer = Callable[[Message], Iterator[Message]]
"""What a call is answered with, message by message; may raise AutofixError."""

_SOCKET, _PORT = "worker-1.sock", "worker-1.json"  # 1: of this protocol
_LINE_BYTES = 2**20
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.2  # until it is noticed that listening is over


def private_folder() -> Path:
    """$AUTOFIX_RUNTIME, else the system's folder for sockets; made if it is not there.

    Raises UsageError where others could get at it.
    """
    given = os.environ.get("AUTOFIX_RUNTIME")
    folder = Path(given).expanduser() if given else _system_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, above = folder.lstat(), folder.parent.stat()
    except OSError as error:
        raise UsageError(
            f"the folder for the socket, {folder}, cannot be made: {error}", "set AUTOFIX_RUNTIME"
        ) from error
    if hasattr(os, "geteuid"):  # elsewhere it is in the user's own part of the disk
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not mine or found.st_mode & 0o077 or above.st_uid not in (0, os.geteuid()):
            raise UsageError(
                f"{folder} is open to other users",
                "chmod 700 it, or set AUTOFIX_RUNTIME to a folder that is yours alone",
            )
    return folder


@contextlib.contextmanager
def listening(answer: Answer, *, unix: bool = hasattr(socket, "AF_UNIX")) -> Iterator[None]:
    """While this lasts, calls are answered, each in a thread of its own.

    Raises UsageError where another process of this user answers them already.
    """
    folder = private_folder()
    if (other := _connected(folder)) is not None:
        other.close()
        raise UsageError(
            "another autofix serves `autofix hook` already", "stop it, or give --no-hook"
        )
    server = _unix_server(folder, answer) if unix else _tcp_server(folder, answer)
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name="autofix-hook", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        (folder / (_SOCKET if unix else _PORT)).unlink(missing_ok=True)
        server.shutdown()
        server.server_close()
        thread.join()


def call(message: Message) -> Iterator[Message] | None:
    """Call whoever listens; None where nobody does.

    What comes back raises UsageError or AutofixError where the call was refused or failed, and
    ConnectionError where the other side went away before its end.
    """
    folder = private_folder()
    connection = _connected(folder)
    return None if connection is None else _called(connection, {**_proof(folder), **message})


def _called(connection: socket.socket, message: Message) -> Iterator[Message]:
    with connection, connection.makefile("rb") as lines:
        connection.sendall(_line(message))
        for line in lines:
            if not line.endswith(b"\n"):
                break
            said = json.loads(line)
            if "end" in said:
                return
            if "problem" in said:
                kind = UsageError if said["usage"] else AutofixError
                raise kind(said["problem"], said["advice"])
            yield said
        raise ConnectionError("the worker went away")


def _connected(folder: Path) -> socket.socket | None:
    """A connection to whoever listens, or None: what a dead process left counts for nothing."""
    for place, family in ((_SOCKET, "AF_UNIX"), (_PORT, "AF_INET")):
        path = folder / place
        if not path.exists() or not hasattr(socket, family):
            continue
        connection = socket.socket(getattr(socket, family))
        try:
            connection.settimeout(_CALL_SECONDS)
            address = path if place == _SOCKET else ("127.0.0.1", _read(path)["port"])
            connection.connect(os.fspath(address) if isinstance(address, Path) else address)
            connection.settimeout(None)
            return connection
        except (OSError, ValueError, KeyError):
            connection.close()
    return None


def _proof(folder: Path) -> Message:
    """The token of a worker that has no Unix socket."""
    try:
        return {"token": _read(folder / _PORT)["token"]}
    except (OSError, ValueError, KeyError):
        return {}


def _read(path: Path) -> Message:
    data = json.loads(path.read_text(encoding="ascii"))
    return data if isinstance(data, dict) else {}


class _Caller(socketserver.StreamRequestHandler):
    """Answers one call."""

    timeout = _CALL_SECONDS  # for the call itself; the answer may take what it takes
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the caller may go away at any time
            try:
                for said in self.server.answer(self._message()):
                    self._say(said)
                self._say({"end": True})
            except (BusyError, CancelledError):
                return  # it is stopping: the caller hears no end and helps itself
            except AutofixError as error:
                usage = isinstance(error, UsageError)
                self._say({"problem": error.problem, "advice": error.advice, "usage": usage})
            except Exception as error:
                self._say({"problem": repr(error), "advice": "report it", "usage": False})

    def _message(self) -> Message:
        line = self.rfile.readline(_LINE_BYTES)
        self.connection.settimeout(None)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not line.endswith(b"\n"):
            raise UsageError("the call is no line of JSON", "use the same version of autofix")
        given = str(message.pop("token", ""))
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise UsageError("the call has a wrong token", "start the worker again")
        return message

    def _say(self, message: Message) -> None:
        self.wfile.write(_line(message))


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Over 127.0.0.1; anybody can connect, so the token counts."""

    daemon_threads = True
    block_on_close = False
    answer: Answer
    token = ""


class _UnixServer(_Server):
    """Over a Unix socket; callers must be the same user."""

    address_family = getattr(socket, "AF_UNIX", socket.AF_INET)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return _peer_uid(request) in (None, os.geteuid())


def _peer_uid(connection: socket.socket) -> int | None:
    """Who is on the other side, where the system tells."""
    if sys.platform != "linux":
        return None
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", found)
    return int(uid)


def _unix_server(folder: Path, answer: Answer) -> _Server:
    path = folder / _SOCKET
    path.unlink(missing_ok=True)
    try:
        server = _UnixServer(os.fspath(path), _Caller)  # type: ignore[arg-type]
    except OSError as error:
        raise UsageError(
            f"the socket {path} cannot be made: {error}", "set AUTOFIX_RUNTIME to a short path"
        ) from error
    path.chmod(0o600)
    server.answer = answer
    return server


def _tcp_server(folder: Path, answer: Answer) -> _Server:
    server = _Server(("127.0.0.1", 0), _Caller)
    server.answer, server.token = answer, secrets.token_urlsafe(32)
    path = folder / _PORT
    path.unlink(missing_ok=True)
    told: Mapping[str, object] = {"port": server.server_address[1], "token": server.token}
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(_line(told))
    return server


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _system_folder() -> Path:
    import platformdirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it falls back to
        return Path(platformdirs.user_runtime_dir("autofix", appauthor=False))
