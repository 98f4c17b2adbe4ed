import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import until

LAUNCH = ROOT / "samples" / "launch.png"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(tmp_path / "r"))
    for name in ("in", "root"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_watcher_answers_the_hook_with_the_same_models(place, autofix):
    shutil.copy(LAUNCH, place / "in" / "a.png")
    shutil.copy(LAUNCH, place / "root" / "b.png")
    call = ["watch", place / "in", "-o", place / "out", "--serve", "--root", place / "root"]
    process = subprocess.Popen(
        [sys.executable, "-m", "autofix", *map(str, call), "--model", "null", "-q"],
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: Path(place / "r" / "worker-2.json").exists() or process.poll() is not None)
        hooked = autofix("hook", place / "root" / "b.png", "--strength", "0.3")
        assert (hooked.code, hooked.out) == (0, f"{place / 'root' / 'b.png'}\n")
        refused = autofix("hook", place / "in" / "a.png")
        assert refused.code == 2
        assert "--root" in refused.err
        until(lambda: (place / "out" / "a.png").exists())
        process.send_signal(signal.SIGTERM)
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert os.listdir(place / "r") == []
    fixed = [(place / "out" / "a.png").read_bytes(), (place / "root" / "b.png").read_bytes()]
    assert LAUNCH.read_bytes() not in fixed


def test_watcher_without_serve_does_not_answer_the_hook(place, autofix, monkeypatch):
    def stopped(self):
        assert not (place / "r").exists()
        yield from ()

    monkeypatch.setattr("autofix.cli.watch.Watcher.run", stopped)
    assert autofix("watch", place / "in", "-o", place / "out", "--model", "null", "-q").code == 0
