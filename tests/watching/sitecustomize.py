"""Python imports this when it starts, if its folder is on PYTHONPATH: see tests/watched.py."""

import json
import os
import sys

_log = open(os.environ["WATCH_LOG"], "a", buffering=1, encoding="utf-8")  # noqa: SIM115

_ASKED = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "socket.sendto"),
)
_CHANGED = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def _note(event, args):
    if event in _ASKED:
        what = [repr(each) for each in args]
    elif event == "open" and not isinstance(args[0], int) and args[2] & _WRITING:
        what = [os.path.abspath(os.fsdecode(args[0]))]
    elif event in _CHANGED:
        path, folder = os.fsdecode(args[0]), args[-1]
        if isinstance(folder, int) and folder >= 0 and event != "os.truncate":
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        what = [os.path.abspath(path)]
    else:
        return
    _log.write(json.dumps([event, *what]) + "\n")


sys.addaudithook(_note)

for _name in os.environ.get("WATCH_WITHOUT", "").split():
    sys.modules[_name] = None  # as if it were not installed
