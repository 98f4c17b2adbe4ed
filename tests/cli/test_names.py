"""Whole runs over folders with the strangest names, links and rights."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

BOX = [20, 20, 60, 60]
NAMES = [
    b"with space.png",
    b" leading and trailing .png",
    b'it\'s "quoted" `so` $HOME.png',
    b"two\nlines\tand a tab.png",
    b"\x1b[31mred\x07.png",
    b"caf\xe9 \xff\xfe not utf-8.png",
    "猫と顔 é́.png".encode(),
    b"-o.png",
    b"--help.png",
    b"[0-9]*?.png",
    b"%s %d {}.png",
    b"back\\slash.png",
    b"n" * 196 + b".png",
    b"m" * 251 + b".png",
    b"UPPER.PNG",
    b"a.png",
    b"a.jpg",
    b"a.png.png",
]
CHEAP = ("--model", "null", "--no-check", "--size", "64", "--padding", "4")


@pytest.fixture
def folder(tmp_path):
    """The names above, in a folder with a strange name of its own; and boxes for some of them."""
    place = tmp_path / os.fsdecode(b"in \xe9\n'x'")
    place.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(place / os.fsdecode(name))
    return place


@pytest.fixture
def boxes(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({os.fsdecode(name): [BOX] for name in NAMES}), encoding="utf-8")
    return ("--detector", f"scripted:{path}")


def names_in(folder):
    return {os.fsencode(path.name) for path in folder.iterdir()} - {b".autofix"}


def test_strange_names_are_fixed_under_their_own_names(autofix, folder, boxes, tmp_path):
    done = autofix("run", folder, "-o", tmp_path / "out", *boxes, *CHEAP, "--jsonl", "-")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert {os.fsencode(os.path.basename(each["input"])) for each in records} == set(NAMES)
    assert {each["status"] for each in records} == {"fixed"}
    assert names_in(tmp_path / "out") == set(NAMES)
    for name in map(os.fsdecode, NAMES):
        with Image.open(folder / name) as before, Image.open(tmp_path / "out" / name) as after:
            assert after.format == before.format
            assert not np.array_equal(np.asarray(after), np.asarray(before))
    again = autofix("run", folder, "-o", tmp_path / "out", *boxes, *CHEAP, "--jsonl", "-")
    assert {json.loads(line)["status"] for line in again.out.splitlines()} == {"done"}


def test_a_bad_file_of_any_name_is_named_on_one_line_that_can_be_printed(
    autofix, folder, boxes, tmp_path
):
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(b"no picture")
    done = autofix("run", folder, "-o", tmp_path / "out", *boxes, *CHEAP)
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if "is damaged, or not a picture" in line]
    assert len(lines) == len(NAMES)
    assert all(line.isprintable() for line in lines)
    assert any("two\\nlines\\tand a tab.png" in line for line in lines)


def test_read_only_inputs_are_read_and_nothing_in_their_folder_is_touched(
    autofix, folder, boxes, tmp_path
):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    for path in before:
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        done = autofix("run", folder, "-o", tmp_path / "out", *boxes, *CHEAP)
    finally:
        folder.chmod(0o755)
    assert done.code == 0, done.err
    assert names_in(tmp_path / "out") == set(NAMES)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert after == before
    for path in (tmp_path / "out").glob("*.*g"):
        assert path.stat().st_mode & 0o200, path  # else a second run could not replace it


def test_links_loops_and_results_inside_the_inputs(autofix, boxes, tmp_path):
    place, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    (place / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    for number, path in enumerate((place / "a.png", place / "sub/a.png", elsewhere / "a.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    (place / "sub/loop").symlink_to(place)
    (place / "itself").symlink_to(place / "itself")
    (place / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (place / "linked").symlink_to(elsewhere)
    (place / "again").symlink_to(elsewhere)
    out = place / "fixed"
    wanted = {"a.png", "sub/a.png", "again/a.png"}
    for status in ("fixed", "done"):
        done = autofix("run", place, "-o", out, *boxes, *CHEAP, "--jsonl", "-")
        assert done.code == 0, done.err
        records = [json.loads(line) for line in done.out.splitlines()]
        assert {os.path.relpath(each["input"], place) for each in records} == wanted
        assert {each["status"] for each in records} == {status}
        assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == wanted
