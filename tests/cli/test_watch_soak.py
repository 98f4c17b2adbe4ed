"""A watcher as a process of its own, killed and stopped while a writer does its worst."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from tests.waiting import until

WIDTH, HEIGHT, BOX = 96, 72, [36, 26, 60, 46]
SETTINGS = (
    *("--model", "null", "--no-check", "--size", "64", "--padding", "4"),
    *("--detector", "scripted:boxes.json"),
)


class Writer(threading.Thread):
    """Drops pictures into `in` in every way there is; remembers every whole one it ever wrote."""

    def __init__(self, root, count, *, seed=0):
        super().__init__()
        self.root, self.count, self.random = root, count, random.Random(seed)
        self.versions = defaultdict(list)  # name -> sha256 of what was put there, in turn
        self.left = set()  # names that were moved away
        self.errors = []
        (root / "in").mkdir()
        (root / "outside").mkdir()
        boxes = {f"{number}.png": [BOX] for number in range(0, count, 2)}
        (root / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")

    def run(self):
        try:
            number = 0
            while number < self.count:
                number += self._folder(number) if self.random.random() < 0.03 else self._one(number)
                time.sleep(self.random.random() * 0.01)
        except BaseException as error:
            self.errors.append(error)
            raise

    def _one(self, number):
        folder = self.random.choice(["", "", "a/", f"b/{number // 10}/", f"{number // 30}/c/d/"])
        self._write(f"{folder}{number}.png", number)
        if self.random.random() < 0.15:  # a picture that may be waiting, in hand or done
            old = self.random.choice(sorted(self.versions.keys() - self.left))
            if old.startswith("renamed/") or self.random.random() < 0.8:
                self._write(old, int(os.path.basename(old).removesuffix(".png")))
            else:
                self._rename(old, f"renamed/{os.path.basename(old)}")
        return 1

    def _folder(self, number):
        """A whole folder, moved in."""
        numbers = range(number, min(number + 5, self.count))
        folder = self.root / "outside" / f"moved {number}"
        (folder / "deep").mkdir(parents=True)
        for each in numbers:
            name = f"moved {number}/deep/{each}.png"
            data = self._picture(each, name)
            (self.root / "outside" / name).write_bytes(data)
        os.rename(folder, self.root / "in" / f"moved {number}")
        return len(numbers)

    def _write(self, name, number):
        path, data = self.root / "in" / name, self._picture(number, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        how = self.random.choice(["slowly", "rename", "rename from outside", "at once"])
        if how == "slowly":
            with path.open("wb") as stream:
                for start in range(0, len(data), 4096):
                    stream.write(data[start : start + 4096])
                    stream.flush()
                    time.sleep(self.random.random() * 0.02)
        elif how == "at once":
            path.write_bytes(data)
        else:
            outside = self.root / "outside" / "part.png"
            part = outside if how == "rename from outside" else path.with_suffix(".part")
            part.write_bytes(data)
            os.replace(part, path)

    def _rename(self, old, new):
        (self.root / "in" / new).parent.mkdir(exist_ok=True)
        os.replace(self.root / "in" / old, self.root / "in" / new)
        self.versions[new].append(self.versions[old][-1])
        self.left.add(old)

    def _picture(self, number, name):
        """Noise, so that the file is long; another one each time."""
        noise = np.random.default_rng((number, len(self.versions[name])))
        pixels = noise.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        self.versions[name].append(hashlib.sha256(buffer.getvalue()).hexdigest())
        return buffer.getvalue()


class Watching:
    """The watcher's process, begun anew whenever it was ended."""

    def __init__(self, root):
        self.root = root
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autofix", "watch", "in", "-o", "in/fixed", *SETTINGS, "-q"],
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def until(self, condition):
        """Wait for what the watcher is to do."""
        until(lambda: condition() or self.process.poll() is not None, seconds=60)
        assert self.process.poll() is None, self.process.communicate()

    def end(self, number):
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == (0 if number == signal.SIGTERM else -number), said
        assert said == ""

    def entries(self):
        path = self.root / "in/fixed/.autofix/journal.jsonl"
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else ()
        for line in lines:
            if line.endswith("}") and line.startswith("{"):  # else torn by a kill
                yield json.loads(line)


def files_in(folder, *, without=()):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not {*without} & {*path.relative_to(folder).parts}
    }


def soak(root, count, ends, *, seed=0):
    """Write pictures while the watcher is ended again and again; then look at every result."""
    writer = Writer(root, count, seed=seed)
    with Watching(root) as watching:
        writer.start()
        for turn, number in enumerate(ends, start=1):
            enough = count * turn // (len(ends) + 1)
            watching.until(
                lambda enough=enough: len([*watching.entries()]) >= enough or writer.errors
            )
            watching.end(number)
            watching.start()
        writer.join()
        assert not writer.errors
        there = check_watched(writer, watching)
        watching.end(signal.SIGTERM)
    check_results(writer, watching, there)
    return there


def check_watched(writer, watching):
    """Wait until every picture that is there is done: name -> sha256."""
    root = writer.root
    there = {
        name: hashlib.sha256((root / "in" / name).read_bytes()).hexdigest()
        for name in files_in(root / "in", without=["fixed"])
    }
    assert there == {
        name: versions[-1] for name, versions in writer.versions.items() if name not in writer.left
    }

    def last():
        return {entry["picture"]: entry["content"] for entry in watching.entries()}

    watching.until(lambda: there.items() <= last().items())
    return there


def check_results(writer, watching, there):
    """Each picture has one right result, and each of its versions was fixed at most once."""
    root = writer.root
    results = files_in(root / "in/fixed", without=[".autofix"])
    assert there.keys() <= results
    assert results - there.keys() <= writer.left
    for name in there:
        check_result(root / "in" / name, root / "in/fixed" / name)
    entries = [*watching.entries()]
    assert all(entry["content"] in writer.versions[entry["picture"]] for entry in entries)
    fixes = Counter((entry["picture"], entry["content"]) for entry in entries)
    assert {which: times for which, times in fixes.items() if times > 1} == {}
    assert files_in(root / "in/fixed/.autofix") == {"journal.jsonl", "lock"}


def check_result(source, result):
    number = int(source.stem)
    if number % 2:  # nothing to fix
        assert result.read_bytes() == source.read_bytes(), source
        return
    with Image.open(source) as before, Image.open(result) as after:
        old, new = np.asarray(before).astype(int), np.asarray(after).astype(int)
        assert after.text, source  # says what was done
    changed = (old != new).any(axis=2)
    x0, y0, x1, y1 = BOX
    assert changed[y0:y1, x0:x1].any(), source  # resized there and back, noise is not the same
    changed[y0 - 16 : y1 + 16, x0 - 16 : x1 + 16] = False
    assert not changed.any(), source


def test_pictures_end_with_one_right_result_each(tmp_path, autofix, monkeypatch):
    there = soak(tmp_path, 100, [signal.SIGKILL, signal.SIGTERM])
    monkeypatch.chdir(tmp_path)
    done = autofix("run", "in", "-o", "in/fixed", *SETTINGS, "--jsonl", "-")
    assert done.code == 0
    records = [json.loads(line) for line in done.out.splitlines()]
    assert Counter(record["status"] for record in records) == {"done": len(there)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_thousand_pictures_five_kills_and_two_stops(tmp_path, seed):
    ends = [signal.SIGKILL] * 5 + [signal.SIGTERM] * 2
    random.Random(seed).shuffle(ends)
    soak(tmp_path, 1000, ends, seed=seed)
