"""A watcher in a thread: real files, a detector and an engine that cost nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from autofix.errors import DetectorSetupError, UsageError
from autofix.frontends.files.batch import Batch, Destination
from autofix.frontends.watch import watcher as watch
from autofix.frontends.watch.notifications import ChangeListener
from autofix.frontends.watch.watcher import Watcher
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from tests.pipeline.fakes import Boxes, Painter, pipeline
from tests.waiting import until

SIDE = 120


def png(path, level, *, side=SIDE, age=0):
    """A picture of one grey, changed `age` seconds ago; complete at once, by a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.part"
    Image.new("RGB", (side, side), (level,) * 3).save(part, "PNG")
    os.utime(part, (time.time() - age,) * 2)
    os.replace(part, path)


def level(path):
    """The grey of a picture's corner, which nobody repaints."""
    with Image.open(path) as image:
        return image.getpixel((0, 0))[0]


class Place:
    """A folder `in`, a folder `out`, and watchers between them, one at a time."""

    def __init__(self, root):
        self.root, self.source, self.out = root, root / "in", root / "out"
        self.source.mkdir()
        self.engine = Painter()
        self.boxes = Boxes((40, 40, 60, 60))
        self.pipeline = pipeline(self.boxes, self.engine, check__enabled=False)
        self.notes, self.records, self.errors = [], [], []
        self.watcher = self.thread = None

    def start(self, *folders, out=None, **settings):
        out = self.out if out is None else out
        batch = Batch(self.pipeline, Destination(out, out))
        folders = folders or (self.source,)
        self.watcher = Watcher(folders, batch, note=self.notes.append, **settings)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self):
        try:
            for record in self.watcher.run():
                self.records.append(record)
        except Exception as error:  # noqa: BLE001
            self.errors.append(error)

    def stop(self):
        if self.thread is not None:
            self.watcher.stop()
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.thread = None

    def idle(self):
        """Wait until all is done that the watcher knows of."""
        until(lambda: self.errors or "waiting for pictures" in self.notes, what=str(self.notes))
        assert not self.errors, self.errors

    def done(self, **levels):
        """Wait until these pictures are finished: name -> grey of the result's corner."""
        for name, grey in levels.items():
            path = self.out / f"{name}.png"
            until(lambda path=path, grey=grey: path.exists() and level(path) == grey, what=name)

    def settled(self, name):
        """Wait until the last thing told of a picture is told, and say it."""
        return until(lambda: self.of(name), what=name)[-1]

    def of(self, name):
        return [one for one in self.records if os.path.basename(one["input"]) == name]

    def fixes(self):
        """Picture -> how many times it was fixed, by the journal."""
        journal = self.out / ".autofix/journal.jsonl"
        lines = journal.read_text(encoding="ascii").splitlines() if journal.exists() else ()
        return Counter(json.loads(line)["picture"] for line in lines)


@pytest.fixture
def place(tmp_path, monkeypatch):
    place = Place(tmp_path)
    yield place
    place.stop()


def test_watcher_fixes_what_is_there_and_then_what_arrives(place):
    png(place.source / "a.png", 10, age=60)
    place.start()
    place.done(a=10)
    place.idle()
    png(place.source / "b.png", 20)
    png(place.source / "new/deep/c.png", 30)
    place.done(**{"b": 20, "new/deep/c": 30})
    place.stop()
    assert place.fixes() == {"a.png": 1, "b.png": 1, "new/deep/c.png": 1}
    assert {one["status"] for one in place.records} == {"fixed"}
    assert place.notes == ["waiting for pictures"] * (len(place.notes) - 1) + ["stopped"]


def test_watcher_can_leave_existing_pictures_alone(place):
    png(place.source / "old.png", 10)
    png(place.source / "changing.png", 10)
    place.start(existing=False)
    place.idle()
    png(place.source / "new.png", 20)
    png(place.source / "changing.png", 30)
    place.done(new=20, changing=30)
    place.stop()
    assert place.fixes() == {"new.png": 1, "changing.png": 1}


def test_after_a_restart_it_goes_on_with_what_it_missed(place):
    png(place.source / "a.png", 10, age=60)
    png(place.source / "b.png", 20)
    place.start().done(a=10, b=20)
    place.stop()
    png(place.source / "b.png", 25)
    png(place.source / "c.png", 30)
    os.utime(place.source / "a.png")
    place.start().done(b=25, c=30)
    assert place.settled("a.png")["status"] == "done"
    place.stop()
    assert place.fixes() == {"a.png": 1, "b.png": 2, "c.png": 1}


def test_an_overwritten_picture_is_fixed_again_and_one_changed_back_too(place):
    place.start()
    for grey in (10, 20, 10):
        png(place.source / "a.png", grey)
        place.done(a=grey)
    place.stop()
    assert place.fixes() == {"a.png": 3}


def test_the_same_picture_written_again_is_not_fixed_again(place):
    png(place.source / "a.png", 10)
    place.start().done(a=10)
    png(place.source / "a.png", 10)
    until(lambda: [one["status"] for one in place.of("a.png")] == ["fixed", "done"])
    place.stop()
    assert place.fixes() == {"a.png": 1}


def test_picture_written_bit_by_bit_is_fixed_once_when_complete(place, tmp_path):
    png(tmp_path / "whole.png", 40)
    data = (tmp_path / "whole.png").read_bytes()
    place.start().idle()
    with open(place.source / "a.png", "wb") as stream:
        for start in range(0, len(data), 40):
            stream.write(data[start : start + 40])
            stream.flush()
            threading.Event().wait(0.02)
    place.done(a=40)
    place.stop()
    assert place.fixes() == {"a.png": 1}
    assert {one["status"] for one in place.records} == {"fixed"}


def test_half_a_picture_is_reported_once_and_fixed_when_complete(place, tmp_path):
    png(tmp_path / "whole.png", 40)
    data = (tmp_path / "whole.png").read_bytes()
    (place.source / "a.png").write_bytes(data[:200])
    png(place.source / "b.png", 20)
    place.start(patience=0.2).done(b=20)
    record = place.settled("a.png")
    assert record["status"] == "failed"
    assert "a.png" in record["reason"]
    with open(place.source / "a.png", "ab") as stream:
        stream.write(data[200:])
    place.done(a=40)
    place.stop()
    assert [one["status"] for one in place.of("a.png")] == ["failed", "fixed"]


def test_its_own_results_in_the_watched_folder_are_not_pictures_that_arrive(place):
    place.out = place.source / "fixed"
    png(place.source / "a.png", 10)
    place.start().done(a=10)
    png(place.source / "b.png", 20)
    place.done(b=20)
    place.idle()
    place.watcher.arrivals.scan_folders()  # what would be seen is seen now, by whichever thread
    place.stop()
    place.start().idle()
    place.stop()
    assert place.fixes() == {"a.png": 1, "b.png": 1}
    results = [p.relative_to(place.out).as_posix() for p in place.out.rglob("*.*") if p.is_file()]
    assert sorted(results) == [".autofix/journal.jsonl", "a.png", "b.png"]


def test_moved_folders_and_bursts(place, tmp_path):
    for number in range(60):
        png(tmp_path / f"outside/sub{number % 3}/{number}.png", number)
    place.start().idle()
    os.rename(tmp_path / "outside", place.source / "moved in")
    for number in range(60, 100):
        png(place.source / f"{number}.png", number)
    place.done(**{f"moved in/sub{number % 3}/{number}": number for number in range(60)})
    place.done(**{str(number): number for number in range(60, 100)})
    os.rename(place.source / "moved in/sub1", place.source / "renamed")
    place.done(**{f"renamed/{number}": number for number in range(1, 60, 3)})
    place.stop()
    assert set(place.fixes().values()) == {1}
    assert len(place.fixes()) == 120


def test_a_deleted_picture_is_nobodys_failure_and_its_result_stays(place):
    png(place.source / "a.png", 10)
    place.start().done(a=10)
    (place.source / "a.png").unlink()
    png(place.source / "b.png", 20)
    (place.source / "b.png").unlink()
    png(place.source / "c.png", 30)
    place.done(a=10, c=30)
    place.stop()
    assert "failed" not in {one["status"] for one in place.records}


def test_a_picture_whose_fix_fails_is_told_and_the_others_go_on(place, monkeypatch):
    inpaint = place.engine.inpaint

    def fails(crops, settings):
        if any(crop.pixels.max() == 66 for crop in crops):
            raise RuntimeError("this one never works")
        return inpaint(crops, settings)

    monkeypatch.setattr(place.engine, "inpaint", fails)
    for grey in (10, 66, 30):
        png(place.source / f"{grey}.png", grey)
    place.start().done(**{"10": 10, "30": 30})
    assert place.settled("66.png")["status"] == "failed"
    assert "never works" in place.settled("66.png")["reason"]
    place.idle()
    assert len(place.of("66.png")) == 1
    place.stop()


def test_a_picture_overwritten_while_it_is_fixed_ends_right_and_no_failure_is_told(place):
    """With nothing to fix the file is copied: never half of the next one."""
    detect, changed = place.boxes.detect, []

    def overwrite_first(pictures, *, names=()):
        if not changed:
            changed.append(png(place.source / "a.png", 50, side=90))
        return detect(pictures, names=names)

    place.boxes.detect = overwrite_first
    png(place.source / "a.png", 40, side=90)
    place.start().done(a=50)
    until(lambda: place.fixes() == {"a.png": 1})
    place.stop()
    assert [one["status"] for one in place.records] == ["unchanged"]


@pytest.mark.parametrize("poll", [True, False])
def test_watcher_does_not_depend_on_notices(place, monkeypatch, poll):
    """Polling; or a library that hears nothing, with looks as frequent."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(watch, "SCAN_SECONDS", 0.05)
    monkeypatch.setattr(
        watch, "ChangeListener", lambda folders, _: ChangeListener(folders, lambda notice: None)
    )
    place.start(poll=poll).idle()
    png(place.source / "a.png", 10)
    png(place.source / "new/b.png", 20)
    place.done(**{"a": 10, "new/b": 20})
    png(place.source / "a.png", 30)
    place.done(a=30)
    place.stop()
    assert place.fixes() == {"a.png": 2, "new/b.png": 1}


def test_a_watched_folder_may_go_and_come_back(place, monkeypatch):
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(watch, "SCAN_SECONDS", 0.05)
    png(place.source / "a.png", 10, age=60)
    place.start().done(a=10)
    shutil.rmtree(place.source)
    until(lambda: any(f"cannot see {place.source}" in note for note in place.notes))
    png(place.source / "b.png", 20)
    place.done(b=20)
    until(lambda: f"sees {place.source} again" in place.notes, what=str(place.notes))
    png(place.source / "c.png", 30)
    place.done(c=30)
    place.stop()
    assert place.fixes() == {"a.png": 1, "b.png": 1, "c.png": 1}


def test_idle_models_are_dropped_once_and_the_next_picture_is_fixed_all_the_same(place):
    boxes = place.root / "boxes.json"
    boxes.write_text('{"a.png": [[40, 40, 60, 60]], "b.png": [[40, 40, 60, 60]]}', encoding="utf-8")
    changes = {"model.name": "null", "detect.detectors": [f"scripted:{boxes}"]}
    recipe = load_recipe("face").override({**changes, "check.enabled": False})
    dropped = []
    with Toolbox(recipe) as toolbox:
        place.pipeline = Pipeline(
            recipe, toolbox, idle_seconds=0.05, on_unload=lambda: dropped.append(len(place.records))
        )
        place.start()
        until(lambda: dropped == [0])
        for number, name in enumerate(("a", "b"), start=1):
            png(place.source / f"{name}.png", number)
            place.done(**{name: number})
            until(lambda number=number: number in dropped)
        png(place.source / "a.png", 1)
        until(lambda: place.settled("a.png")["status"] == "done")
        threading.Event().wait(0.15)
        place.stop()
    assert dropped == [0, 1, 2]  # a known picture does not make the models load
    assert [one["status"] for one in place.records] == ["fixed", "fixed", "done"]


def test_several_folders_have_their_results_apart(place, tmp_path):
    for number, name in enumerate(("one", "two")):
        png(tmp_path / name / "a.png", number)
    place.start(tmp_path / "one", tmp_path / "two").done(**{"one/a": 0, "two/a": 1})


def test_stopped_it_finishes_what_is_in_hand_and_no_more(place):
    detect = place.boxes.detect

    def stop_at_once(pictures, *, names=()):
        place.watcher.stop()
        return detect(pictures, names=names)

    place.boxes.detect = stop_at_once
    for number in range(20):
        png(place.source / f"{number}.png", number, age=60)
    place.start()
    place.thread.join(20)
    place.stop()
    assert 1 <= len(place.records) <= place.pipeline.most_in_flight
    assert len(place.records) == sum(place.fixes().values())
    assert len(list(place.out.glob("*.png"))) == len(place.records)


def test_half_written_files_of_a_killed_watcher_are_removed(place):
    place.out.mkdir()
    stray = place.out / ".autofix-0123456789abcdef.part"
    stray.write_bytes(b"half")
    place.start().idle()
    assert not stray.exists()


def test_a_second_watcher_of_the_same_results_is_refused(place):
    place.start().idle()
    batch = Batch(place.pipeline, Destination(place.out, place.out))
    with pytest.raises(UsageError, match="another autofix"):
        next(Watcher([place.source], batch).run())


def test_a_recipe_that_cannot_work_is_refused_before_anything_is_done(place):
    recipe = load_recipe("face").override({"detect.detectors": ["scripted:absent.json"]})
    with Toolbox(recipe) as toolbox:
        place.pipeline = Pipeline(recipe, toolbox)
        place.start()
        until(lambda: place.errors)
    assert isinstance(place.errors[0], DetectorSetupError)
    assert not (place.out / ".autofix/journal.jsonl").exists()


def test_the_painter_paints_what_the_watcher_stores(place):
    """So that the other tests' greys stand for results, not for copies."""
    png(place.source / "a.png", 10)
    place.start().done(a=10)
    with Image.open(place.out / "a.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.ptp(pixels) > 50
