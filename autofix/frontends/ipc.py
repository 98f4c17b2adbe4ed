"""Calls between processes of one user on one machine: one JSON object out, several back.

They go over a Unix socket of mode 0600, or over 127.0.0.1 where there are no Unix sockets. Its
address and a token, which both sides prove to know, are in a file of mode 0600, in a folder of mode
0700. On Linux the caller must be a process of the same user.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from pathlib import Path
from typing import Any

from autofix.errors import AutofixError, BusyError, UsageError

Message = dict[str, Any]
Answer = Callable[[Message], Iterator[Message]]
"""What a call is answered with, message by message; may raise AutofixError."""

Address = str | tuple[str, int]
"""The path of a Unix socket, or a host and a port."""

_SOCKET = "worker-2.sock"  # 2: of this protocol
_WORKER = "worker-2.json"
"""The file with the address and the token of the process that listens."""

_CALL_BYTES = 2**20
"""Of a call at most; answers may be longer."""

CALL_SECONDS = 10
"""For which the listener waits for each message of a caller; an answer may take what it takes."""

_CALLS_WAITING = 64
"""Calls that the system keeps until they are accepted."""

_RETRY_SECONDS = 0.2
"""Until calls are accepted again where the system could not open one."""


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
    if _is_listening(_read_worker(folder)[0]):
        raise UsageError(
            "another autofix serves `autofix hook` already", "stop it, or give --no-hook"
        )
    listener = _open_listener(folder / _SOCKET if unix else None)
    token, stopping = secrets.token_bytes(32), threading.Event()
    thread = threading.Thread(
        target=_accept_calls,
        args=(listener, token, answer, stopping),
        name="autofix-hook",
        daemon=True,
    )
    thread.start()
    try:
        _write_worker(folder, listener.address, token)
        yield
    finally:
        (folder / _WORKER).unlink(missing_ok=True)
        stopping.set()
        if _is_listening(listener.address):  # which also wakes the thread
            thread.join()
        with contextlib.suppress(FileNotFoundError):  # where the socket is gone already
            listener.close()


def call(message: Message) -> Iterator[Message] | None:
    """Call the process that listens; None where none does.

    Raises UsageError where the token is not its own. What comes back raises UsageError or
    AutofixError where the call was refused or failed, and ConnectionError where the other side
    went away before its end.
    """
    address, token = _read_worker(private_folder())
    try:
        return _read_answers(Client(address, authkey=token), message) if address else None
    except AuthenticationError as error:
        raise UsageError("the call has a wrong token", "start the worker again") from error
    except (EOFError, OSError, AssertionError):  # the last: it is no autofix
        return None


def peer_uid(caller: socket.socket) -> int:
    """The user on the other side of a Unix socket; of another socket -1."""
    credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def _read_answers(connection: Connection, message: Message) -> Iterator[Message]:
    with connection:
        try:
            _send(connection, message)
            while "end" not in (answer := json.loads(connection.recv_bytes())):
                if "problem" in answer:
                    kind = UsageError if answer["usage"] else AutofixError
                    raise kind(answer["problem"], answer["advice"])
                yield answer
        except (EOFError, OSError) as error:
            raise ConnectionError("the worker went away") from error


def _accept_calls(
    listener: Listener, token: bytes, answer: Answer, stopping: threading.Event
) -> None:
    while not stopping.is_set():
        try:
            connection = listener.accept()
        except OSError:  # as where the process has too many open files
            stopping.wait(_RETRY_SECONDS)
            continue
        threading.Thread(target=_answer_call, args=(connection, token, answer), daemon=True).start()


def _answer_call(connection: Connection, token: bytes, answer: Answer) -> None:
    # A caller may go away at any time, and others than our own may connect.
    with connection, contextlib.suppress(EOFError, OSError, AuthenticationError):
        _check_user(connection)
        deliver_challenge(connection, token)
        answer_challenge(connection, token)
        call = connection.recv_bytes(_CALL_BYTES)
        try:
            for message in answer(_parse_call(call)):
                _send(connection, message)
            _send(connection, {"end": True})
        except (BusyError, CancelledError):
            return  # it is stopping: the caller gets no end, and does the work itself
        except AutofixError as error:
            usage = isinstance(error, UsageError)
            problem = {"problem": error.problem, "advice": error.advice, "usage": usage}
            _send(connection, problem)
        except Exception as error:
            _send(connection, {"problem": repr(error), "advice": "report it", "usage": False})


def _check_user(connection: Connection) -> None:
    """Raises AuthenticationError for another user; and lets no caller be silent for ever."""
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as caller:
        seconds = struct.pack("ll", CALL_SECONDS, 0)
        if os.name == "nt":
            seconds = struct.pack("L", CALL_SECONDS * 1000)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
        if sys.platform == "linux" and peer_uid(caller) not in (-1, os.geteuid()):
            raise AuthenticationError


def _parse_call(call: bytes) -> Message:
    try:
        message = json.loads(call)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise UsageError("the call is no JSON object", "use the same version of autofix")
    return message


def _send(connection: Connection, message: Message) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _open_listener(path: Path | None) -> Listener:
    """At a Unix socket of mode 0600, or at a free port of 127.0.0.1."""
    if path is None:
        return Listener(("127.0.0.1", 0), backlog=_CALLS_WAITING)
    path.unlink(missing_ok=True)
    try:
        listener = Listener(os.fspath(path), backlog=_CALLS_WAITING)
    except OSError as error:
        raise UsageError(
            f"the socket {path} cannot be made: {error}", "set AUTOFIX_RUNTIME to a short path"
        ) from error
    path.chmod(0o600)
    return listener


def _is_listening(address: Address | None) -> bool:
    try:
        if address:
            Client(address).close()
        return bool(address)
    except OSError:
        return False


def _write_worker(folder: Path, address: Address, token: bytes) -> None:
    path = folder / _WORKER
    path.unlink(missing_ok=True)
    worker = {"address": address, "token": token.hex()}
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(json.dumps(worker).encode())


def _read_worker(folder: Path) -> tuple[Address | None, bytes]:
    """The address and the token of the process that listens; a dead one may have left them."""
    try:
        number = os.open(folder / _WORKER, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with open(number, "rb") as file:
            worker = json.load(file)
        address, token = worker["address"], bytes.fromhex(worker["token"])
        return address if isinstance(address, str) else (address[0], address[1]), token
    except (OSError, ValueError, LookupError, TypeError):
        return None, b""


def _system_folder() -> Path:
    import platformdirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it falls back to
        return Path(platformdirs.user_runtime_dir("autofix", appauthor=False))
