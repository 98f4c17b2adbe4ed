"""What the system says about real files that are really changed."""

from __future__ import annotations

import logging
import os
import shutil
import sys

import pytest

from autofix.frontends.watch.notifications import ChangeListener, Notice
from tests.waiting import until

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of closed files")


@pytest.fixture
def heard(tmp_path):
    """What is told of changes in tmp_path/in."""
    root = tmp_path.resolve() / "in"
    root.mkdir()
    told = []
    with ChangeListener([str(root)], told.append) as notices:
        assert not notices.problem
        yield root, told, notices


@linux
def test_a_file_is_whole_when_it_is_closed_and_not_before(heard):
    root, told, _ = heard
    path = str(root / "a.png")
    with open(path, "wb") as stream:
        until(lambda: Notice(path) in told)
        stream.write(b"x")
        stream.flush()
        assert Notice(path, complete=True) not in told
    until(lambda: Notice(path, complete=True) in told)


@linux
@pytest.mark.parametrize("source", ["in/a.part", "elsewhere.part"])
def test_a_file_is_whole_when_it_is_renamed_into_place(heard, tmp_path, source):
    root, told, _ = heard
    (tmp_path / source).write_bytes(b"x")
    os.rename(tmp_path / source, root / "a.png")
    until(lambda: Notice(str(root / "a.png"), complete=True) in told)


def test_new_and_moved_folders_are_told_of_and_listened_to(heard, tmp_path):
    root, told, _ = heard
    (root / "new").mkdir()
    until(lambda: Notice(str(root / "new"), folder=True) in told)
    (tmp_path / "moved/deep").mkdir(parents=True)
    os.rename(tmp_path / "moved", root / "moved")
    until(lambda: any(one.folder and one.path == str(root / "moved") for one in told))
    (root / "new/a.png").write_bytes(b"x")
    until(lambda: any(one.path == str(root / "new/a.png") for one in told))


def test_a_file_moved_away_is_nobodys(heard, tmp_path):
    root, told, _ = heard
    (root / "a.png").write_bytes(b"x")
    os.rename(root / "a.png", tmp_path / "a.png")
    (root / "b.png").write_bytes(b"x")
    until(lambda: any(one.path == str(root / "b.png") for one in told))
    assert all(one.path for one in told)


def test_a_folder_made_anew_is_listened_to_again(heard):
    root, told, notices = heard
    assert not notices.restart_if_needed()
    shutil.rmtree(root)
    assert notices.restart_if_needed()
    assert notices.problem
    assert not notices.restart_if_needed()
    root.mkdir()
    assert notices.restart_if_needed()
    assert not notices.problem
    (root / "a.png").write_bytes(b"x")
    until(lambda: any(one.path == str(root / "a.png") for one in told))


def test_warnings_of_the_library_ask_for_a_look_at_the_folders(heard):
    root, told, _ = heard
    told.clear()
    logging.getLogger("watchdog.observers.inotify_c").warning("queue overflowed")
    assert told == [Notice(str(root), folder=True)]
