"""Picture files are read with a reason where they cannot be, and written whole or not at all."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autofix.errors import PictureError
from autofix.imagefiles import files
from autofix.values import Picture, Source


def noise(height, width, *, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def picture(height=6, width=7, *, seed=0, **source):
    return Picture(noise(height, width, seed=seed), "p.png", Source(**source))


def all_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".webp", ".PNG"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / ("a" + suffix)
    files.write(picture(), path)
    again = files.read(path, name="sub/a.png")
    assert np.array_equal(again.pixels, noise(6, 7))
    assert again.name == "sub/a.png"
    assert again.source.path == path


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".avif"])
def test_lossy_formats_are_written_near_enough(tmp_path, suffix):
    flat = Picture(np.full((16, 16, 3), (90, 120, 60), np.uint8))
    files.write(flat, tmp_path / ("a" + suffix))
    again = files.read(tmp_path / ("a" + suffix), name="a")
    assert np.abs(again.pixels.astype(int) - flat.pixels).max() < 5


def test_a_path_without_a_known_suffix_gets_the_format_of_the_source(tmp_path):
    files.write(picture(format="BMP"), tmp_path / "a.xyz")
    assert files.read(tmp_path / "a.xyz", name="a").source.format == "BMP"


def test_a_file_is_read_by_its_content_and_written_by_its_name(tmp_path):
    files.write(picture(16, 16, text=(("parameters", "a cat"),)), tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    misnamed = files.read(tmp_path / "a.jpg", name="a.jpg")
    assert misnamed.source.format == "PNG"
    files.write(misnamed, tmp_path / "out.jpg")
    assert files.read(tmp_path / "out.jpg", name="a").source.format == "JPEG"


def test_extra_text_is_written(tmp_path):
    files.write(picture(), tmp_path / "a.png", extra_text=[("autofix", "{}")])
    assert files.read(tmp_path / "a.png", name="a").source.text == (("autofix", "{}"),)


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        files.write(picture(text=(("k", "v"),), dpi=(72, 72)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"no picture", "is damaged, or not a picture"),
        (b"\x89PNG\r\n\x1a\n", "is damaged, or not a picture"),
        (b"GIF89a" + bytes(30), "is (a GIF|damaged)"),
        (b"BM" + bytes(60), "(cannot be read|is damaged)"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path, data, problem):
    path = tmp_path / "bad\n.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=rf"bad\\n\.png {problem}.*: \w+"):
        files.read(path, name="bad.png")


def test_a_truncated_picture_is_named(tmp_path):
    files.write(picture(40, 40), tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match=r"a\.png cannot be read \(.*the file is damaged"):
        files.read(tmp_path / "a.png", name="a")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 9_500)).save(tmp_path / "bomb.png")
    with pytest.raises(PictureError, match=r"bomb\.png has more than the 178,956,970 pixels"):
        files.read(tmp_path / "bomb.png", name="bomb")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(PictureError, match=r"a\.png cannot be read \(No such file"):
        files.read(tmp_path / "a.png", name="a")
    with pytest.raises(PictureError, match=r"cannot be read \(Is a directory"):
        files.read(tmp_path, name="a")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    for function in (lambda path: files.read(path, name="a"), files.content_key):
        with pytest.raises(PictureError, match=r"cannot be read \(Permission denied\): check"):
            function(tmp_path / "a.png")


def test_what_a_format_cannot_hold_is_named_and_nothing_is_written(tmp_path):
    clear = picture(alpha=np.zeros((6, 7), np.uint8))
    with pytest.raises(PictureError, match=r"a\.jpg cannot be written as JPEG .*transparency"):
        files.write(clear, tmp_path / "a.jpg")
    assert all_files(tmp_path) == []


def test_folders_are_made_and_a_folder_in_the_way_is_named(tmp_path):
    files.write(picture(), tmp_path / "new/deep/a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(PictureError, match=r"b\.png cannot be written \(.*-o\)"):
        files.write(picture(), tmp_path / "b.png")
    with pytest.raises(PictureError, match="cannot be written"):
        files.write(picture(), tmp_path / "new/deep/a.png/c.png")
    assert all_files(tmp_path) == ["new/deep/a.png"]


@pytest.mark.parametrize("step", ["replace", "fsync", "utime"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_while_writing_leaves_what_was_there(tmp_path, monkeypatch, step, error):
    (tmp_path / "source.png").write_bytes(b"source")
    (tmp_path / "a.png").write_bytes(b"before")

    def crash(*args, **options):
        raise error

    monkeypatch.setattr(os, step, crash)
    wanted = PictureError if isinstance(error, OSError) else KeyboardInterrupt
    if step != "utime":
        with pytest.raises(wanted):
            files.write(picture(), tmp_path / "a.png")
        with pytest.raises(wanted):
            files.write(picture(), tmp_path / "new.png")
    with pytest.raises(wanted):
        files.copy(tmp_path / "source.png", tmp_path / "a.png")
    assert all_files(tmp_path) == ["a.png", "source.png"]
    assert (tmp_path / "a.png").read_bytes() == b"before"


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (steps.append("fsync"), fsync(number)))

    def renamed(source, target):
        assert files.is_temporary(Path(source))
        assert Path(source).parent == target.parent
        assert files.find_pictures([tmp_path], out=None) == ()
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "replace", renamed)
    files.write(picture(), tmp_path / "a.png")
    assert steps == ["fsync", "replace"]


def test_permissions_of_a_replaced_file_are_kept_and_of_a_new_one_usual(tmp_path):
    (tmp_path / "a.png").write_bytes(b"before")
    (tmp_path / "a.png").chmod(0o640)
    files.write(picture(), tmp_path / "a.png")
    files.write(picture(), tmp_path / "b.png")
    (tmp_path / "usual").write_bytes(b"")
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "original.png").write_bytes(b"original")
    (tmp_path / "a.png").symlink_to(tmp_path / "original.png")
    files.write(picture(), tmp_path / "a.png")
    assert not (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "original.png").read_bytes() == b"original"


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20 + 1])
def test_a_copy_is_the_same_bytes_with_the_same_time(tmp_path, size):
    source, target = tmp_path / "a.png", tmp_path / "new/b.png"
    source.write_bytes(np.random.default_rng(1).bytes(size))
    os.utime(source, ns=(1_600_000_000_000_000_123, 1_500_000_000_000_000_457))
    source.chmod(0o444)
    files.copy(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 1_500_000_000_000_000_457
    files.copy(source, target)
    assert all_files(tmp_path) == ["a.png", "new/b.png"]


def test_a_copy_onto_itself_does_nothing(tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"data")
    os.link(source, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(source)
    before = source.stat()
    for target in (source, tmp_path / "hard.png", tmp_path / "soft.png"):
        files.copy(source, target)
    assert source.stat().st_ino == before.st_ino
    assert source.stat().st_nlink == 2
    assert (tmp_path / "soft.png").is_symlink()


def test_a_copy_of_nothing_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"a\.png cannot be copied to .*b\.png \(No such file"):
        files.copy(tmp_path / "a.png", tmp_path / "b.png")
    assert all_files(tmp_path) == []


def test_a_copy_of_what_was_changed_meanwhile_is_refused(tmp_path):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"old")
    target.write_bytes(b"there")
    content = files.content_key(source)
    source.write_bytes(b"half of the n")
    with pytest.raises(PictureError, match=r"a\.png was changed meanwhile"):
        files.copy(source, target, content=content)
    assert target.read_bytes() == b"there"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]
    files.copy(source, target, content=files.content_key(source))
    assert target.read_bytes() == b"half of the n"


def test_a_stamp_tells_a_changed_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    stamp = files.file_stamp(path)
    assert files.file_stamp(path) == stamp
    os.utime(path, ns=(0, 0))
    assert files.file_stamp(path) != stamp
    with pytest.raises(PictureError, match=r"none\.png cannot be read"):
        files.file_stamp(tmp_path / "none.png")


def test_bytes_are_written_whole(tmp_path):
    files.write_bytes(tmp_path / "new/a.html", b"<p>")
    assert (tmp_path / "new/a.html").read_bytes() == b"<p>"


def test_a_content_key_is_the_sha256(tmp_path):
    data = bytes(2**20) + b"tail"
    (tmp_path / "a").write_bytes(data)
    assert files.content_key(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_strays_are_swept_and_nothing_else(tmp_path, monkeypatch):
    keep = [".autofix-x.part", ".hidden.png", "a.part", "a.png", "sub/.autofix/journal"]
    strays = [files.temporary_name(tmp_path / "a.png"), files.temporary_name(tmp_path / "sub/b")]
    for path in [*strays, *(tmp_path / name for name in keep)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert files.remove_temporaries(tmp_path) == 2
    assert all_files(tmp_path) == sorted(keep)
    assert files.remove_temporaries(tmp_path / "nowhere") == 0
    strays[0].write_bytes(b"x")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert files.remove_temporaries(tmp_path) == 0


def test_temporary_names_are_short_hidden_and_never_the_same(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    names = {files.temporary_name(path).name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(".") and len(name) < 40 for name in names)
    files.write(picture(), path)
    assert files.read(path, name="n").size_wh == (7, 6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=200).filter(lambda name: not set(name) & set(b"/\0")))
def test_any_name_can_be_written_read_and_copied(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("names")
    path = root / os.fsdecode(name + b".png")
    files.write(picture(), path)
    files.copy(path, root / "sub" / path.name)
    assert np.array_equal(files.read(path, name="a").pixels, noise(6, 7))
    assert files.content_key(path) == files.content_key(root / "sub" / path.name)
    assert files.printable(path).encode()
