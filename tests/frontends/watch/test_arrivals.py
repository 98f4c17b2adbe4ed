"""What has arrived, told from the files alone; time is a number that the tests move."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autofix.errors import UsageError
from autofix.frontends.watch.arrivals import SETTLE_SECONDS, Arrivals, folders_of

PATIENCE = 30


class Watched:
    """A watched folder, what has arrived in it, and a clock."""

    def __init__(self, root, *names, out=None):
        self.root = root
        self.now = 1000.0
        folders = [root / name for name in names] or [root]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        out = out or root / "out"
        self.arrivals = Arrivals(
            folders_of(folders, out), out, patience=PATIENCE, clock=lambda: self.now
        )

    def put(self, name, content=b"x", *, complete=None):
        """Write a file and tell of it (unless `complete` is None)."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # Times of change are as fine as the system's clock ticks: here each is another one.
        self._tick = getattr(self, "_tick", 2 * 10**18) + 1000
        os.utime(path, ns=(self._tick, self._tick))
        if complete is not None:
            self.arrivals.look_at(os.path.realpath(path), complete=complete)

    def arrived(self, count=8):
        taken = self.arrivals.take_arrived(count)
        for found in taken:
            self.arrivals.release_picture(found)
        return [found.relative for found in taken]


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def test_empty_folder_has_no_arrivals(watched):
    assert watched.arrivals.scan_folders() == {}
    assert watched.arrived() == []
    assert watched.arrivals.seconds_until_due() is None


def test_closed_or_renamed_picture_arrives_at_once_and_only_once(watched):
    watched.put("a.png", complete=True)
    assert watched.arrivals.seconds_until_due() == 0
    assert watched.arrived() == ["a.png"]
    watched.now += 100
    watched.arrivals.scan_folders()
    assert watched.arrived() == []


def test_unchanged_picture_arrives_after_half_a_second(watched):
    watched.put("sub/a.png", b"x", complete=False)
    assert watched.arrived() == []
    watched.now += 0.4
    watched.put("sub/a.png", b"xx", complete=False)
    assert watched.arrivals.seconds_until_due() == pytest.approx(SETTLE_SECONDS)
    watched.now += 0.4
    assert watched.arrived() == []
    watched.now += 0.2
    assert watched.arrived() == ["sub/a.png"]


def test_a_change_that_nobody_told_of_is_seen_before_the_picture_is_taken(watched):
    watched.put("a.png", b"x", complete=True)
    watched.put("a.png", b"xx")
    assert watched.arrived() == []
    watched.now += 1
    assert watched.arrived() == ["a.png"]


def test_old_picture_arrives_at_once(watched):
    watched.put("a.png")
    os.utime(watched.root / "a.png", (1e9, 1e9))
    watched.arrivals.scan_folders()
    assert watched.arrived() == ["a.png"]


def test_pictures_come_in_their_order_and_no_more_than_asked_for(watched):
    for number in (3, 1, 2):
        watched.put(f"{number}.png", complete=True)
    assert watched.arrived(2) == ["3.png", "1.png"]
    assert len(watched.arrivals) == 1
    assert watched.arrived(2) == ["2.png"]


def test_a_picture_that_changed_arrives_again_and_so_does_one_completed_again(watched):
    watched.put("a.png", b"x", complete=True)
    watched.arrived()
    watched.put("a.png", b"y")
    watched.arrivals.scan_folders()
    watched.now += 1
    assert watched.arrived() == ["a.png"]
    watched.arrivals.look_at(os.path.realpath(watched.root / "a.png"), complete=True)
    assert watched.arrived() == ["a.png"]


def test_deleted_picture_is_not_waited_for(watched):
    watched.put("a.png", complete=True)
    (watched.root / "a.png").unlink()
    assert watched.arrived() == []
    assert watched.arrivals.seconds_until_due() is None


def test_a_folder_that_was_moved_arrives_under_its_new_name(watched):
    watched.put("a/x.png", complete=True)
    watched.arrived()
    (watched.root / "a").rename(watched.root / "b")
    watched.arrivals.scan_folders()
    watched.now += 1
    assert watched.arrived() == ["b/x.png"]


def test_arrivals_are_pictures_and_no_results(watched):
    names = (
        *("out/a.png", "out/deeper/b.png", "out/.autofix/c.png", "out/a.face1.candidate1.png"),
        *(".autofix-0123456789abcdef.part", ".hidden/d.png", ".e.png", "notes.txt", "f.png.part"),
    )
    for name in names:
        watched.put(name, complete=True)
    (watched.root / "folder.png").mkdir()
    watched.arrivals.look_at(os.path.realpath(watched.root / "folder.png"), complete=True)
    watched.arrivals.look_at("/somewhere/else.png", complete=True)
    watched.arrivals.scan_folders()
    watched.now += 1
    assert watched.arrived() == []
    covered = {
        name: watched.arrivals.covers_folder(os.path.realpath(watched.root / name))
        for name in ("", "sub", "out", "out/sub", ".hidden")
    }
    assert covered == {"": True, "sub": True, "out": False, "out/sub": False, ".hidden": False}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(watched):
    os.mkfifo(watched.root / "a.png")
    watched.arrivals.look_at(os.path.realpath(watched.root / "a.png"), complete=True)
    assert watched.arrived() == []


def test_existing_pictures_can_be_left_alone_until_they_change(watched):
    watched.put("old.png")
    watched.put("older.png")
    watched.arrivals.scan_folders(take=True)
    watched.put("new.png")
    watched.put("old.png", b"changed")
    watched.arrivals.scan_folders()
    watched.now += 1
    assert sorted(watched.arrived()) == ["new.png", "old.png"]


def test_a_picture_that_cannot_be_read_waits_until_it_changes(watched):
    watched.put("a.png", b"half", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    assert not watched.arrivals.mark_unreadable(found)
    watched.now += 1
    watched.arrivals.scan_folders()
    assert watched.arrived() == []
    watched.put("a.png", b"whole", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    watched.arrivals.mark_readable(found)
    assert watched.arrivals.seconds_until_due() is None


def test_a_picture_that_never_becomes_complete_is_given_up_once(watched):
    watched.put("a.png", b"half", complete=True)
    told = []
    for _ in range(3):
        for found in watched.arrivals.take_arrived(8):
            told.append(watched.arrivals.mark_unreadable(found))
        watched.now += PATIENCE
        watched.arrivals.scan_folders()
    assert told == [False, True]
    assert watched.arrivals.seconds_until_due() is None
    watched.put("a.png", b"still half", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    assert not watched.arrivals.mark_unreadable(found)  # that it cannot be read is known
    watched.put("a.png", b"whole at last", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    watched.arrivals.mark_readable(found)
    watched.arrivals.release_picture(found)
    watched.put("a.png", b"half again", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    watched.arrivals.mark_unreadable(found)
    watched.now += PATIENCE
    (found,) = watched.arrivals.take_arrived(8)
    assert watched.arrivals.mark_unreadable(found)


def test_a_picture_that_grows_for_ever_is_told_of_once(watched):
    told = []
    for size in range(1, 100):
        watched.put("a.png", bytes(size), complete=True)
        told += [
            watched.arrivals.mark_unreadable(found) for found in watched.arrivals.take_arrived(8)
        ]
        watched.now += 1
    assert told.count(True) == 1


def test_a_picture_that_vanishes_while_it_is_read_is_no_failure(watched):
    watched.put("a.png", complete=True)
    (found,) = watched.arrivals.take_arrived(8)
    assert not watched.arrivals.has_changed(found)
    found.path.unlink()
    assert watched.arrivals.has_changed(found)
    watched.now += PATIENCE
    assert not watched.arrivals.mark_unreadable(found)
    assert watched.arrivals.seconds_until_due() is None


def test_a_folder_that_vanishes_is_named_and_its_return_makes_nothing_new(watched):
    root = watched.root
    watched.put("a.png", complete=True)
    watched.arrived()
    root.rename(root.with_name("elsewhere"))
    assert list(watched.arrivals.scan_folders()) == [str(root)]
    root.with_name("elsewhere").rename(root)
    assert watched.arrivals.scan_folders() == {}
    watched.now += 1
    assert watched.arrived() == []


def test_results_of_several_folders_keep_apart(tmp_path):
    watched = Watched(tmp_path, "txt2img", "img2img")
    watched.put("txt2img/a.png", complete=True)
    watched.put("img2img/a.png", complete=True)
    taken = watched.arrivals.take_arrived(8)
    assert [found.relative for found in taken] == ["txt2img/a.png", "img2img/a.png"]
    assert [found.path for found in taken] == [
        tmp_path / "txt2img/a.png",
        tmp_path / "img2img/a.png",
    ]


def test_a_folder_can_be_given_by_a_link_or_as_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    for given in (tmp_path / "link", Path()):
        arrivals = Arrivals(folders_of([given], Path("out")), Path("out"), patience=PATIENCE)
        Path("a.png").write_bytes(b"x")
        arrivals.look_at(str(tmp_path.resolve() / "real/a.png"), complete=True)
        (found,) = arrivals.take_arrived(8)
        assert found.path == given / "a.png"
        assert found.relative == "a.png"


@pytest.mark.parametrize(
    ("folders", "out", "problem"),
    [
        (["none"], "out", "none is no folder"),
        (["a.png"], "out", "is no folder"),
        (["in"], "in", "is the output folder or lies in it"),
        (["in/sub"], "in", "is the output folder or lies in it"),
        (["in", "in/sub"], "out", "one holds the other"),
        (["in/sub", "in"], "out", "one holds the other"),
        (["in", "other/in"], "out", "are both called in"),
    ],
)
def test_folders_that_cannot_be_watched_together_are_refused(tmp_path, folders, out, problem):
    for name in ("in/sub", "other/in"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=problem):
        folders_of([tmp_path / name for name in folders], tmp_path / out)


def test_results_may_lie_in_the_watched_folder_and_a_folder_may_be_named_twice(tmp_path):
    (folder,) = folders_of([tmp_path, tmp_path], tmp_path / "fixed")
    assert folder.prefix == ""
