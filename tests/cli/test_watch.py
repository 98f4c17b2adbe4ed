"""The watcher as a process: signals, what it says, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.waiting import until

PAD = ROOT / "samples/pad.png"

SLOW = """
import pathlib, sys, time
from autofix.engines.null import NullEngine
inpaint = NullEngine.inpaint
def slow(self, crops, settings):
    pathlib.Path("in hand").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return inpaint(self, crops, settings)
NullEngine.inpaint = slow
from autofix.cli import main
main()
"""
"""The command, with an engine that waits for a file named go."""


class Process:
    """A watcher of `in` with results in `out`, in a folder of its own."""

    def __init__(self, root):
        self.root, self.running, self.alarms = root, [], []
        (root / "in").mkdir()
        boxes = {"face.png": [[40, 40, 60, 60]]}
        (root / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")

    def start(self, *more, code=None, stderr=subprocess.PIPE):
        program = ["-m", "autofix"] if code is None else ["-c", code]
        settings = ("--model", "null", "--detector", "scripted:boxes.json", "--no-check")
        command = [sys.executable, *program, "watch", "in", "-o", "out", *settings, *more]
        process = subprocess.Popen(
            command,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self.running.append(process)
        self.alarms.append(threading.Timer(60, process.kill))  # else a test could wait for ever
        self.alarms[-1].start()
        return process

    def put(self, name):
        image = Image.new("RGB", (120, 100), (90, 120, 150))
        image.save(self.root / "part.png")
        os.replace(self.root / "part.png", self.root / "in" / name)

    def made(self, name):
        until(lambda: (self.root / name).exists(), what=name)

    def end(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err


@pytest.fixture
def place(tmp_path):
    place = Process(tmp_path)
    yield place
    for alarm in place.alarms:
        alarm.cancel()
    for process in place.running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_watcher_exits_0_and_has_told_what_it_did(place, number):
    process = place.start("--jsonl", "-")
    said = "autofix watch: "
    assert process.stderr.readline() == f"{said}watching in; results in out\n"
    assert process.stderr.readline() == f"{said}waiting for pictures\n"
    for name, status, counts in (
        ("face.png", "fixed", "1 fixed"),
        ("none.png", "unchanged", "1 fixed, 1 unchanged"),
    ):
        place.put(name)
        record = json.loads(process.stdout.readline())
        assert (record["input"], record["status"]) == (os.path.join("in", name), status)
        assert process.stderr.readline() == f"{said}{counts}; waiting for pictures\n"
    assert place.end(process, number) == (0, "", f"{said}1 fixed, 1 unchanged; stopped\n")


def test_watcher_on_a_terminal_draws_one_line(place):
    pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = place.start(stderr=theirs)
    os.close(theirs)
    os.set_blocking(terminal, False)
    drawn = bytearray()

    def draws(text):
        with contextlib.suppress(BlockingIOError):
            drawn.extend(os.read(terminal, 1024))
        return text in drawn

    until(lambda: draws(b"waiting for pictures"))
    place.put("face.png")
    until(lambda: draws(b"1 fixed; waiting for pictures"))
    assert place.end(process)[0] == 0
    os.close(terminal)
    assert b"\rautofix watch: 1 fixed; 0 waiting" in drawn
    assert b"\n" not in drawn


def test_a_stopped_watcher_finishes_what_it_has_in_hand(place):
    place.put("face.png")
    process = place.start("-q", code=SLOW)
    place.made("in hand")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    (place.root / "go").touch()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert (place.root / "out/face.png").exists()
    assert len((place.root / "out/.autofix/journal.jsonl").read_text().splitlines()) == 1


def test_a_second_ctrl_c_stops_at_once_and_loses_nothing_that_was_written(place):
    place.put("none.png")
    process = place.start(code=SLOW)
    place.made("out/none.png")
    place.put("face.png")
    place.made("in hand")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # says the same again
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    code, _, err = place.end(process, signal.SIGINT)
    assert code == 130
    assert "what is finished is safe" in err
    assert "Traceback" not in err
    files = [p.relative_to(place.root / "out").as_posix() for p in (place.root / "out").rglob("*")]
    assert sorted(files) == [
        *(".autofix", ".autofix/journal.jsonl", ".autofix/lock"),
        "none.png",
    ]
    (place.root / "go").touch()
    place.start("-q")
    place.made("out/face.png")


def test_a_second_watcher_of_the_same_results_is_refused_until_the_first_is_gone(place, autofix):
    place.put("none.png")
    first = place.start()
    place.made("out/none.png")
    in_, out = place.root / "in", place.root / "out"
    second = autofix("watch", in_, "-o", out, "--model", "null")
    assert second.code == 2
    assert f"another autofix (process {first.pid} on" in second.err
    first.kill()
    first.communicate()
    third = place.start()
    place.put("face.png")
    place.made("out/face.png")
    assert place.end(third)[0] == 0


def test_json_lines_are_added_to_a_file(place):
    place.put("none.png")
    for name in ("none.png", "face.png"):
        place.put(name)
        process = place.start("-q", "--jsonl", "log.jsonl")
        place.made(f"out/{name}")
        assert place.end(process) == (0, "", "")
    lines = (place.root / "log.jsonl").read_text(encoding="ascii").splitlines()
    told = [(os.path.basename(one["input"]), one["status"]) for one in map(json.loads, lines)]
    assert sorted(told) == [("face.png", "fixed"), ("none.png", "done"), ("none.png", "unchanged")]


def test_a_failed_picture_is_named_and_the_watcher_goes_on_and_exits_0(place):
    (place.root / "in/half.png").write_bytes(PAD.read_bytes()[:5000])
    process = place.start("-q", "--patience", "0.1")
    line = process.stderr.readline()
    assert line.startswith("failed: in/half.png")
    shutil.copy(PAD, place.root / "in/half.png")
    place.made("out/half.png")
    assert place.end(process)[0] == 0


def test_watcher_whose_lines_nobody_reads_says_so_and_ends(place):
    process = place.start("--jsonl", "-", "-q")
    process.stdout.close()
    place.put("none.png")
    err = process.stderr.read()
    assert process.wait(20) == 1
    assert "nobody reads what --jsonl - writes any more" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("watch",), "Missing argument"),
        (("watch", "in"), "Missing option '-o'"),
        (("watch", "none", "-o", "out"), "none is no folder"),
        (("watch", "in", "-o", "in"), "is the output folder or lies in it"),
        (("watch", "in", "in/sub", "-o", "out"), "one holds the other"),
        (("watch", "in", "-o", "out", "--idle-unload", "-1"), "--idle-unload"),
        (("watch", "in", "-o", "out", "--detector", "face_yolov8"), "did you mean 'face_yolov8"),
        (("watch", "in", "-o", "out", "--model", "no/such/model"), "there is no model"),
        (("watch", "in", "-o", "out", "--jsonl", "no/such/log"), "--jsonl 'no/such/log'"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(autofix, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "in/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    done = autofix(*arguments)
    assert done.code == 2
    assert message in done.err
