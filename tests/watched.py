"""Python processes of which it is noted what they ask of the system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

FILES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
"""Events whose argument is a file or folder that is made or changed."""


@dataclass(frozen=True)
class Watched:
    """What a process did: its exit code, what it printed, and the events of note."""

    code: int
    out: str
    err: str
    events: list[list[str]]

    def outside(self, *folders: Path) -> list[list[str]]:
        """Every file changed outside these folders, every process, and every connection.

        But for connections to this machine itself.
        """
        inside = tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in (*folders, "/dev"))
        return [event for event in self.events if not _is_allowed(event, inside)]


def _is_allowed(event: list[str], inside: tuple[str, ...]) -> bool:
    if event[0].startswith("socket."):  # an address that is a path is a Unix socket's
        return "'127.0.0.1'" in "".join(event[1:]) or event[2].startswith("'/")
    # The folder's own path, for a temporary file may be gone.
    path = os.path.join(os.path.realpath(os.path.dirname(event[1])), os.path.basename(event[1]))
    return event[0] in FILES and (path + os.sep).startswith(inside)


def run_watched(
    arguments: Sequence[str | Path],
    folder: Path,
    *,
    meanwhile: Callable[[], object] | None = None,
    **environment: str,
) -> Watched:
    """Run Python with these arguments, its home, temporary and current folder new ones in `folder`.

    With `meanwhile` the process is one that does not end: that is called, then it gets SIGTERM.
    """
    places = {name: folder / name for name in ("home", "temp", "work")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    log = folder / "events.jsonl"
    log.write_bytes(b"")
    own = ("XDG_", "AUTOFIX_", "HF_", "YOLO_", "MPL", "ORT_", "TORCH")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=places["work"],
        env={
            **plain,
            "HOME": str(places["home"]),
            "TMPDIR": str(places["temp"]),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "tests/watching"), str(ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WATCH_LOG": str(log),
            "OMP_WAIT_POLICY": "passive",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if meanwhile is not None:
        try:
            meanwhile()
        finally:
            process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return Watched(process.returncode, out, err, events)
