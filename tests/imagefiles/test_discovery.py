"""Inputs stand for files, each once, in a stated order, and for results that do not collide."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.errors import UsageError
from autofix.imagefiles.discovery import (
    PICTURE_SUFFIXES,
    FoundFile,
    find_pictures,
    printable,
    walk_pictures,
)


def plant(root, *names):
    """Files that only have a name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*inputs, out=None):
    return [found.relative for found in find_pictures([Path(given) for given in inputs], out=out)]


def test_nothing_stands_for_nothing(tmp_path):
    assert find_pictures([], out=None) == ()
    assert find_pictures([tmp_path], out=tmp_path / "out") == ()


def test_a_folder_gives_its_pictures_sorted_and_mirrored(tmp_path):
    plant(tmp_path, "b.png", "a.JPG", "sub/c.webp", "sub/deep/d.Tiff", "notes.txt", "sub/e.json")
    found = find_pictures([tmp_path], out=None)
    assert [one.relative for one in found] == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.Tiff"]
    assert found[2] == FoundFile(tmp_path / "sub/c.webp", "sub/c.webp")


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif"]
)
def test_every_suffix_is_taken_in_any_case(tmp_path, suffix):
    assert suffix in PICTURE_SUFFIXES
    plant(tmp_path, "a" + suffix, "b" + suffix.upper())
    assert len(names(tmp_path)) == 2


def test_two_formats_of_one_stem_are_two_pictures(tmp_path):
    plant(tmp_path, "a.png", "a.jpg")
    assert names(tmp_path, out=tmp_path / "out") == ["a.jpg", "a.png"]


def test_hidden_files_and_folders_are_left_out_of_folders_but_not_when_named(tmp_path):
    plant(tmp_path, ".a.png", ".hidden/b.png", "c.png")
    assert names(tmp_path) == ["c.png"]
    assert names(tmp_path / ".a.png") == [".a.png"]
    assert names(tmp_path / ".hidden") == ["b.png"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path):
    plant(tmp_path, "sub/picture.xyz")
    assert names(tmp_path / "sub/picture.xyz") == ["picture.xyz"]


def test_a_file_named_twice_comes_once(tmp_path, monkeypatch):
    plant(tmp_path, "sub/a.png", "b.png")
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    monkeypatch.chdir(tmp_path)
    assert names("sub/a.png", "sub/../sub/a.png", "link/a.png", tmp_path / "sub") == ["a.png"]
    assert names(".", "sub") == ["b.png", "sub/a.png"]
    assert names("sub", ".") == ["a.png", "b.png"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere is not there: name a file"):
        names(tmp_path, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not there"):
        names("x" * 5000)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert names(tmp_path) == []
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        names(tmp_path / "pipe.png")


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    plant(tmp_path, "in/a.png", "in/sub/b.png", "elsewhere/c.png", "elsewhere/.d.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "in/sub/twin").symlink_to(tmp_path / "in/sub")
    (tmp_path / "in/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/itself").symlink_to(tmp_path / "in/itself")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "gone")
    assert names(tmp_path / "in") == ["a.png", "other/c.png", "sub/b.png"]


def test_a_folder_goes_by_its_own_name_before_a_link_to_it(tmp_path):
    plant(tmp_path, "photos/a.png")
    (tmp_path / "album").symlink_to(tmp_path / "photos")
    assert names(tmp_path) == ["photos/a.png"]


def test_a_linked_file_is_a_file_of_its_own(tmp_path):
    plant(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png", "b.png"]


def test_results_inside_an_input_folder_are_not_inputs(tmp_path):
    plant(tmp_path, "a.png", "fixed/a.png", "fixed/deep/b.png", "fixed2/c.png")
    assert names(tmp_path, out=tmp_path / "fixed") == ["a.png", "fixed2/c.png"]
    assert len(names(tmp_path, out=None)) == 4


def test_results_are_not_inputs_by_a_link_either(tmp_path):
    plant(tmp_path, "in/a.png", "out/sub/b.png")
    (tmp_path / "in/sub").symlink_to(tmp_path / "out/sub")
    assert names(tmp_path / "in", out=tmp_path / "out") == ["a.png"]


def test_a_folder_can_be_walked_though_a_part_of_it_cannot_be_listed(tmp_path, monkeypatch):
    plant(tmp_path, "a.png", "gone/b.png", "sub/c.png", "out/d.png")
    scandir = os.scandir

    def listed(folder):
        if os.path.basename(folder) == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listed)
    troubles = []
    found = walk_pictures(
        tmp_path, out=tmp_path / "out", on_error=lambda *each: troubles.append(each)
    )
    assert sorted(one.relative for one in found) == ["a.png", "sub/c.png"]
    ((folder, error),) = troubles
    assert folder == str(tmp_path / "gone")
    assert error.strerror == "No such file or directory"


def test_an_input_folder_inside_the_output_folder_is_taken(tmp_path):
    plant(tmp_path, "raw/a.png")
    assert names(tmp_path / "raw", out=tmp_path) == ["a.png"]


def test_results_of_one_name_are_refused_and_both_inputs_named(tmp_path):
    plant(tmp_path, "one/a.png", "two/a.png")
    with pytest.raises(UsageError, match=r"one/a\.png and .*two/a\.png would both become"):
        names(tmp_path / "one", tmp_path / "two", out=tmp_path / "out")
    assert names(tmp_path / "one", tmp_path / "two", out=None) == ["a.png", "a.png"]
    assert len(names(tmp_path, out=tmp_path / "out")) == 2


@pytest.mark.parametrize("given", ["in", "in/a.png"])
def test_a_result_in_place_of_an_input_is_refused(tmp_path, given):
    plant(tmp_path, "in/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in ("in", "link"):
        with pytest.raises(UsageError, match=r"a\.png is an input, .*--in-place"):
            names(tmp_path / given, out=tmp_path / out)


def test_a_pattern_is_relative_to_its_fixed_part(tmp_path, monkeypatch):
    plant(tmp_path, "in/a.png", "in/b.txt", "in/x1/c.png", "in/x2/c.png", "in/x2/deep/d.png")
    monkeypatch.chdir(tmp_path)
    assert names(tmp_path / "in/*.png") == ["a.png"]
    assert names("in/*") == ["a.png", "x1/c.png", "x2/c.png", "x2/deep/d.png"]
    assert names("in/x?", out=Path("out")) == ["x1/c.png", "x2/c.png", "x2/deep/d.png"]
    assert names("in/**/[cd].png") == ["x1/c.png", "x2/c.png", "x2/deep/d.png"]
    assert names("*/a.png") == ["in/a.png"]
    assert names("in/**") == ["a.png", "x1/c.png", "x2/c.png", "x2/deep/d.png"]


def test_a_pattern_leaves_the_results_out_and_follows_no_loop(tmp_path, monkeypatch):
    plant(tmp_path, "a.png", "sub/b.png", "fixed/a.png", "fixed/sub/b.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for pattern in ("**/*.png", "*", "**"):
        assert names(pattern, out=Path("fixed")) == ["a.png", "sub/b.png"], pattern


def test_a_pattern_that_matches_no_picture_is_refused(tmp_path):
    plant(tmp_path, "a.txt")
    with pytest.raises(UsageError, match="matches no picture"):
        names(tmp_path / "*.png")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    plant(tmp_path, "a[1].png", "a1.png")
    assert names(tmp_path / "a[1].png") == ["a[1].png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    plant(tmp_path, "in/a.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("in"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=r"in cannot be listed \(Permission denied\)"):
        names(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["with space.png", "quote'\".png", "new\nline.png", "\udce9\udcff.png", "猫" * 60 + ".png"],
)
def test_any_name_is_found(tmp_path, name):
    plant(tmp_path, "sub/" + name)
    assert names(tmp_path) == ["sub/" + name]
    assert names(tmp_path / "sub" / name) == [name]
    printed = printable(tmp_path / "sub" / name)
    assert printed.isprintable()
    assert printed.encode()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.sets(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
        .filter(lambda name: name[0] != "." and len(name.encode()) < 200)
        .map(lambda name: name + ".png"),
        max_size=8,
    )
)
def test_all_of_a_folder_is_found_whatever_the_names(tmp_path_factory, chosen):
    root = tmp_path_factory.mktemp("names")
    plant(root, *chosen)
    assert names(root) == sorted(chosen)
    assert names(*(root / name for name in sorted(chosen)), out=root / "out") == sorted(chosen)
