import shutil

import pytest

from autofix.cli import hook as command
from autofix.frontends.hook import answer_hook
from autofix.frontends.ipc import listening
from tests.conftest import ROOT
from tests.frontends.tools import fake_pipeline
from tests.pipeline.fakes import Painter


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(tmp_path / "r"))
    for name in ("a.png", "b.png"):
        shutil.copy(ROOT / "samples" / "launch.png", tmp_path / name)
    return tmp_path


@pytest.fixture
def alone(monkeypatch):
    """What the command does by itself, without doing it."""
    calls = []

    def note(files, backup, changes, recipe):
        calls.append(([path.name for path in files], changes, recipe))
        yield from ({"status": "done", "input": str(path), "output": None} for path in files)

    monkeypatch.setattr(command, "fix_here", note)
    return calls


def warm(place, engine=None):
    worker = fake_pipeline(engine)
    return worker, listening(answer_hook(worker, [place]))


def test_a_worker_that_runs_does_the_work(autofix, place, alone):
    worker, ear = warm(place)
    with worker, ear:
        done = autofix("hook", place / "a.png", place / "b.png", "--strength", "0.3")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [str(place / "a.png"), str(place / "b.png")]
    assert (place / "a.png").read_bytes() != (ROOT / "samples" / "launch.png").read_bytes()
    assert alone == []


def test_hook_without_a_worker_fixes_the_file_itself(autofix, place):
    original = (place / "a.png").read_bytes()
    done = autofix("hook", place / "a.png", "--model", "null", "--backup", place / "bk")
    assert (done.code, done.out) == (0, f"{place / 'a.png'}\n")
    assert (place / "a.png").read_bytes() != original
    (kept,) = (path for path in (place / "bk").rglob("*") if path.is_file())
    assert kept.read_bytes() == original


@pytest.mark.parametrize(
    "option",
    [("--recipe", "face"), ("--model", "null"), ("--detector", "x.pt"), ("--device", "cpu")],
)
def test_settings_that_no_client_may_set_are_not_sent(autofix, place, alone, option):
    worker, ear = warm(place)
    with worker, ear:
        done = autofix("hook", place / "a.png", *option)
    assert done.code == 0
    assert [names for names, _, _ in alone] == [["a.png"]]


def test_hook_does_the_rest_if_the_worker_goes_away(autofix, place, alone):
    class Dying(Painter):
        def inpaint(self, crops, settings):
            worker.in_flight.closed = True  # as if stopped while the first picture is in flight
            return super().inpaint(crops, settings)

    worker, ear = warm(place, Dying())
    with ear, worker:
        done = autofix("hook", place / "a.png")
        assert done.out == f"{place / 'a.png'}\n"
        done = autofix("hook", place / "a.png", place / "b.png")
    assert done.code == 0
    assert done.out.splitlines() == [str(place / "a.png"), str(place / "b.png")]
    assert alone == [(["a.png", "b.png"], {}, "face")]


def test_a_path_outside_the_roots_is_an_error_and_not_done_here(autofix, place, alone, tmp_path):
    (place / "inner").mkdir()
    worker, ear = warm(place / "inner")
    with worker, ear:
        done = autofix("hook", place / "a.png")
    assert done.code == 2
    assert "--root" in done.err
    assert alone == []


def test_a_failure_is_told_and_the_others_are_fixed(autofix, place):
    (place / "a.png").write_bytes(b"no picture")
    worker, ear = warm(place)
    with worker, ear:
        done = autofix("hook", place / "a.png", place / "b.png")
    assert done.code == 1
    assert "a.png" in done.err
    assert done.out == f"{place / 'b.png'}\n"


def test_a_folder_is_wrong_usage(autofix, place):
    done = autofix("hook", place)
    assert done.code == 2
    assert "is no file" in done.err
