"""One watcher an output folder, and none of the dead in its way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autofix.errors import UsageError
from autofix.frontends.files.output_lock import locked_output

HOLD = """
import sys, time
from pathlib import Path
from autofix.frontends.files.output_lock import locked_output
with locked_output(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/out."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_holder_is_refused_and_told_of_the_first(holder, tmp_path):
    with (
        pytest.raises(UsageError, match=f"another autofix .process {holder.pid} on") as refused,
        locked_output(tmp_path / "out"),
    ):
        pass
    assert str(tmp_path / "out") in str(refused.value)
    assert "give another folder with -o" in str(refused.value)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_second_run_is_refused_even_if_the_first_is_unknown(holder, tmp_path, content):
    path = tmp_path / "out/.autofix/lock.pid"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UsageError, match="unknown process"), locked_output(tmp_path / "out"):
        pass


def test_a_holder_that_was_killed_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    with locked_output(tmp_path / "out"):
        said = (tmp_path / "out/.autofix/lock.pid").read_text(encoding="utf-8")
        assert f"process {os.getpid()} " in said
    assert not (tmp_path / "out/.autofix/lock.pid").exists()


def test_lock_can_be_taken_again_and_holds_for_one_folder(tmp_path):
    for _ in range(2):
        with locked_output(tmp_path / "out"), locked_output(tmp_path / "other"):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"), locked_output(tmp_path / "file"):
        pass
