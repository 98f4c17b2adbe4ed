"""Python imports this when it starts, if its folder is on PYTHONPATH: see tests/watched.py."""

import json
import os
import sys
import threading

_log = open(os.environ["WATCH_LOG"], "a", buffering=1, encoding="utf-8")  # noqa: SIM115

_ASKED = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "socket.sendto"),
)
_CHANGED = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
_opening = threading.local()
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def _note(event, args):
    if event in _ASKED:
        what = [repr(each) for each in args]
    elif event == "open" and not isinstance(args[0], int) and args[2] & _WRITING:
        what = [_absolute(os.fsdecode(args[0]), getattr(_opening, "folder", None))]
    elif event in _CHANGED:
        what = [_absolute(os.fsdecode(args[0]), args[-1] if event != "os.truncate" else None)]
    else:
        return
    _log.write(json.dumps([event, *what]) + "\n")


def _absolute(path, folder):
    """The path, which may be relative to an open folder's descriptor."""
    if isinstance(folder, int) and folder >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)


def _open(path, flags, mode=0o777, *, dir_fd=None):
    """`os.open`, whose audit event does not say which folder's descriptor it was given."""
    _opening.folder = dir_fd
    try:
        return _os_open(path, flags, mode, dir_fd=dir_fd)
    finally:
        _opening.folder = None


_os_open, os.open = os.open, _open
os.supports_dir_fd.add(_open)  # which libraries ask
sys.addaudithook(_note)

for _name in os.environ.get("WATCH_WITHOUT", "").split():
    sys.modules[_name] = None  # as if it were not installed
