import os
import shutil
from pathlib import PureWindowsPath

import pytest

from autofix.errors import UsageError
from autofix.frontends.hook import answer_hook, ask_worker, backup_name, fix_in_place
from autofix.frontends.ipc import listening
from autofix.imagefiles.files import read
from autofix.metadata import read_record
from tests.conftest import ROOT
from tests.frontends.tools import fake_pipeline

SAMPLES = ROOT / "samples"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a picture to fix and one with nothing to find, and a folder for sockets."""
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(tmp_path / "r"))
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("launch.png", "pad.png"):
        shutil.copy(SAMPLES / name, folder)
    return folder


@pytest.fixture
def warm(place):
    """A worker that takes files of the folder; its pipeline."""
    pipeline = fake_pipeline()
    with listening(answer_hook(pipeline, [place])):
        yield pipeline


def statuses(records):
    return [record["status"] for record in records]


def test_files_are_fixed_in_place_and_know_it(place):
    path = place / "launch.png"
    before = read(path, name="a")
    (record,) = fix_in_place(fake_pipeline(), [path], None)
    after = read(path, name="a")
    assert (record["status"], record["output"]) == ("fixed", str(path))
    changed = (before.pixels != after.pixels).any(axis=-1)
    assert changed[45:70, 65:85].any()
    assert not changed[120:].any()
    assert read_record(after.source)["regions"][0]["result"] == "fixed"
    assert dict(after.source.text)["parameters"].startswith(
        dict(before.source.text)["parameters"].splitlines()[0]
    )
    assert sorted(each.name for each in place.iterdir()) == [".autofix", "launch.png", "pad.png"]


def test_fixed_file_is_not_fixed_again_until_it_changes(place):
    path = place / "launch.png"
    assert statuses(fix_in_place(fake_pipeline(), [path], None)) == ["fixed"]
    fixed = path.read_bytes()
    assert statuses(fix_in_place(fake_pipeline(), [path], None)) == ["done"]
    assert path.read_bytes() == fixed
    shutil.copy(SAMPLES / "table.jpg", place / "again.jpg")
    os.replace(place / "again.jpg", path)
    assert statuses(fix_in_place(fake_pipeline(), [path], None)) == ["fixed"]


def test_originals_of_one_name_do_not_meet_in_the_backup(place, tmp_path):
    (place / "b").mkdir()
    shutil.copy(SAMPLES / "exhibition.png", place / "b" / "launch.png")
    paths = [place / "launch.png", place / "b" / "launch.png"]
    originals = [path.read_bytes() for path in paths]
    assert statuses(fix_in_place(fake_pipeline(), paths, tmp_path / "bk")) == ["fixed", "fixed"]
    kept = [tmp_path / "bk" / path.relative_to(path.anchor) for path in paths]
    assert [path.read_bytes() for path in kept] == originals


def test_a_bad_file_does_not_stop_the_others_and_a_link_is_followed(place):
    (place / "broken.png").write_bytes(b"\x89PNG no more")
    (place / "link.png").symlink_to(place / "launch.png")
    paths = [place / name for name in ("broken.png", "absent.png", "link.png")]
    records = {
        os.path.basename(each["input"]): each for each in fix_in_place(fake_pipeline(), paths, None)
    }
    assert {name: each["status"] for name, each in records.items()} == {
        "broken.png": "failed",
        "absent.png": "failed",
        "launch.png": "fixed",
    }
    assert "absent.png" in records["absent.png"]["reason"]
    assert (place / "link.png").is_symlink()


def test_a_folder_is_refused(place):
    with pytest.raises(UsageError, match="is no file"):
        list(fix_in_place(fake_pipeline(), [place], None))


def test_nobody_answers_where_no_worker_runs(place):
    assert ask_worker([place / "launch.png"], None, {}) is None


def test_a_worker_answers_in_the_order_asked(place, warm):
    paths = [place / "pad.png", place / "absent.png", place / "launch.png", place / "pad.png"]
    records = list(ask_worker(paths, None, {}))
    assert [os.path.basename(each["input"]) for each in records] == [path.name for path in paths]
    assert statuses(records) == ["fixed", "failed", "fixed", "fixed"]
    assert statuses(ask_worker(paths[:1], None, {})) == ["done"]


def test_a_worker_takes_settings_but_none_that_names_a_model(place, warm):
    (record,) = ask_worker([place / "launch.png"], None, {"inpaint.strength": 0.7})
    assert record["regions"][0]["strength"] == 0.7
    for settings in ({"model.name": "x"}, {"detect.detectors": ["x.pt"]}, {"passes": []}):
        with pytest.raises(UsageError, match="cannot be set from outside"):
            list(ask_worker([place / "launch.png"], None, settings))
    with pytest.raises(UsageError, match="did you mean 'strength'"):
        list(ask_worker([place / "launch.png"], None, {"inpaint.strenght": 0.7}))


@pytest.mark.parametrize("kind", ["plain", "dotted", "link", "linked folder", "backup"])
def test_paths_outside_the_roots_are_refused_and_untouched(place, warm, tmp_path, kind):
    outside = tmp_path / "other"
    outside.mkdir()
    path = outside / "launch.png"
    shutil.copy(SAMPLES / "launch.png", path)
    original = path.read_bytes()
    if kind == "link":
        (place / "link.png").symlink_to(path)
    if kind == "linked folder":
        (place / "linked").symlink_to(outside)
    asked = {
        "plain": path,
        "dotted": place / ".." / "other" / "launch.png",
        "link": place / "link.png",
        "linked folder": place / "linked" / "launch.png",
        "backup": place / "launch.png",
    }[kind]
    own = (place / "launch.png").read_bytes()
    with pytest.raises(UsageError, match=r"is outside .*out: start autofix with --root"):
        list(ask_worker([place / "launch.png", asked], outside if kind == "backup" else None, {}))
    assert path.read_bytes() == original
    assert (place / "launch.png").read_bytes() == own
    assert [each.name for each in outside.iterdir()] == ["launch.png"]


def test_a_backup_within_the_roots_is_made(place, warm):
    path = place / "launch.png"
    original = path.read_bytes()
    assert statuses(ask_worker([path], place / "bk", {})) == ["fixed"]
    assert (place / "bk" / path.relative_to(path.anchor)).read_bytes() == original


def test_a_root_that_is_a_link_holds_what_it_leads_to(place, tmp_path):
    (tmp_path / "root").symlink_to(place)
    with listening(answer_hook(fake_pipeline(), [tmp_path / "root"])):
        assert statuses(ask_worker([tmp_path / "root" / "launch.png"], None, {})) == ["fixed"]
        assert statuses(ask_worker([place / "pad.png"], None, {})) == ["fixed"]


@pytest.mark.parametrize(
    "message", [{"files": [3]}, {"files": ["launch.png"]}, {"files": ["a\0b"]}, {"files": 3}]
)
def test_relative_path_is_refused(place, message):
    with pytest.raises((UsageError, TypeError, ValueError)):
        list(answer_hook(fake_pipeline(), [place])(message))


def test_windows_drives_stay_apart_in_the_backup():
    names = [backup_name(PureWindowsPath(path)) for path in (r"C:\a\b.png", r"D:\a\b.png")]
    assert names == ["C/a/b.png", "D/a/b.png"]
