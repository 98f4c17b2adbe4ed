"""Links and odd files that an archive or a shared folder brings are not followed."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

WRONG = 2


@pytest.fixture
def place(tmp_path):
    """A folder `pics` with a/one.png and two.png, a file that nobody may touch, and a folder."""
    (tmp_path / "pics" / "a").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    for name in ("a/one.png", "two.png"):
        Image.fromarray(noise).save(tmp_path / "pics" / name)
    boxes = {name: [[20, 20, 60, 64]] for name in ("a/one.png", "two.png")}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")
    (tmp_path / "victim").write_text("mine\n", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


@pytest.fixture
def run(autofix, place):
    """`autofix COMMAND pics` with boxes of the test's and a model that paints nothing."""

    def call(command, *more):
        tools = ("--model", "null", "--detector", f"scripted:{place / 'boxes.json'}", "--no-check")
        return autofix(command, place / "pics", *tools, *more)

    return call


def plant(path, kind, place):
    """Something in the place of a file or folder of autofix's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link to a file":
        path.symlink_to(place / "victim")
    elif kind == "dangling link":
        path.symlink_to(place / "made")
    elif kind == "link to a folder":
        path.symlink_to(place / "elsewhere")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "second name":
        os.link(place / "victim", path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"")


def check_untouched(place):
    assert (place / "victim").read_text(encoding="utf-8") == "mine\n"
    assert not (place / "made").exists()
    assert not [*(place / "elsewhere").iterdir()]


FILES = (
    "link to a file",
    "dangling link",
    "link to a folder",
    "link to itself",
    "second name",
    "pipe",
)


@pytest.mark.parametrize("kind", [*FILES, "folder"])
@pytest.mark.parametrize("name", ["journal.jsonl", "lock"])
def test_own_files_that_are_something_else_are_refused_in_one_line(place, run, name, kind):
    plant(place / "out" / ".autofix" / name, kind, place)
    done = run("run", "-o", place / "out")
    assert (done.code, len(done.err.splitlines())) == (WRONG, 1), done.err
    assert str(place / "out" / ".autofix" / name) in done.err
    assert not (place / "out" / "two.png").exists()
    check_untouched(place)


@pytest.mark.parametrize("kind", ["link to a file", "dangling link", "link to a folder", "file"])
@pytest.mark.parametrize("command", ["run", "in place", "hook"])
def test_a_folder_of_its_own_that_is_something_else_is_refused_in_one_line(
    place, run, autofix, kind, command
):
    pictures = place / "pics"
    home = {"run": place / "out", "in place": pictures, "hook": pictures}[command]
    plant(home / ".autofix", kind, place)
    before = (pictures / "two.png").read_bytes()
    if command == "hook":
        done = autofix("hook", pictures / "two.png", "--model", "null", "--no-check")
    else:
        done = run("run", *(("--in-place",) if command == "in place" else ("-o", home)))
    assert (done.code, len(done.err.splitlines())) == (WRONG, 1), done.err
    assert str(home / ".autofix") in done.err
    assert (pictures / "two.png").read_bytes() == before
    check_untouched(place)


@pytest.mark.parametrize("kind", FILES)
def test_a_planted_journal_is_refused_in_place_and_by_the_hook(place, run, autofix, kind):
    """The line would hold the picture's name: a command, if a shell reads the file."""
    plant(place / "pics" / ".autofix" / "journal.jsonl", kind, place)
    command = place / "pics" / "a$(touch ran).png"
    shutil.copy(place / "pics" / "two.png", command)
    for done in (
        run("run", "--in-place"),
        autofix("hook", command, "--model", "null", "--no-check"),
    ):
        assert (done.code, len(done.err.splitlines())) == (WRONG, 1), done.err
    check_untouched(place)


def test_names_are_one_escaped_line_in_the_journal(place, run):
    odd = b"a\n$(touch ran)\xff\x1b]0;x\x07.png".decode("utf-8", "surrogateescape")
    shutil.copy(place / "pics" / "two.png", place / "pics" / odd)
    assert run("run", "-o", place / "out").code == 0
    lines = (place / "out" / ".autofix" / "journal.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    assert all(32 <= sign < 127 for line in lines for sign in line)
    assert {json.loads(line)["picture"] for line in lines} == {odd, "a/one.png", "two.png"}
    assert run("run", "-o", place / "out").out.startswith("pictures: 3 done")


@pytest.mark.parametrize("kind", ["link to a file", "dangling link", "second name", "file"])
def test_link_in_the_place_of_a_result_is_replaced_not_followed(place, run, kind):
    plant(place / "out" / "two.png", kind, place)
    assert run("run", "-o", place / "out").code == 0
    assert not (place / "out" / "two.png").is_symlink()
    with Image.open(place / "out" / "two.png") as image:
        assert image.size == (96, 96)
    check_untouched(place)


def test_a_result_does_not_leave_the_output_folder_by_a_link(place, run):
    plant(place / "out" / "a", "link to a folder", place)
    done = run("run", "-o", place / "out", "--candidates", 2, "--keep-candidates")
    assert done.code == 1
    assert f"a link or .. leads out of {place / 'out'}" in done.err
    assert (place / "out" / "two.png").is_file()
    check_untouched(place)
    assert run("detect", "-o", place / "out").code == 1
    check_untouched(place)


def test_a_backup_does_not_leave_its_folder_by_a_link(place, run):
    plant(place / "backup" / "a", "link to a folder", place)
    before = (place / "pics" / "a" / "one.png").read_bytes()
    done = run("run", "--in-place", "--backup", place / "backup")
    assert done.code == 1
    assert f"a link or .. leads out of {place / 'backup'}" in done.err
    assert (place / "pics" / "a" / "one.png").read_bytes() == before
    check_untouched(place)


def test_the_output_folder_itself_may_be_a_link(place, run):
    (place / "link").symlink_to(place / "elsewhere")
    assert run("run", "-o", place / "link").code == 0
    assert (place / "elsewhere" / "a" / "one.png").is_file()


def test_a_link_within_the_output_folder_is_followed(place, run):
    (place / "out" / "kept").mkdir(parents=True)
    (place / "out" / "a").symlink_to("kept")
    assert run("run", "-o", place / "out").code == 0
    assert (place / "out" / "kept" / "one.png").is_file()


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe", "folder"])
@pytest.mark.parametrize("name", ["hair", "people/hair"])
def test_a_wildcard_file_that_is_none_is_refused(place, run, kind, name):
    plant(place / "words" / f"{name}.txt", kind, place)
    (place / "recipe.toml").write_text(
        f'[prompt]\npositive = "__{name}__"\nwildcards = "{place / "words"}"\n', encoding="utf-8"
    )
    done = run("run", "-o", place / "out", "--recipe", place / "recipe.toml")
    assert done.code == WRONG
    assert f"the wildcard __{name}__ cannot be read" in done.err.splitlines()[-1]
    assert "mine" not in done.err
