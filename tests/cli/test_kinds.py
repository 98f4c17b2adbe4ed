"""Whole runs on files of many kinds: what is outside the fix is as it was, and so is the kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from autofix.imagefiles import files
from autofix.imagefiles.png import with_deep_pixels
from autofix.imagefiles.tiff import alpha_tags, deep_tiff, with_tags

WIDE, HIGH, BOX = 96, 80, [30, 20, 60, 50]
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (HIGH, WIDE, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (HIGH, WIDE, 4)).astype(np.uint16)
OUTSIDE = np.ones((HIGH, WIDE), bool)
OUTSIDE[5:65, 15:75] = False


@pytest.fixture
def fixed(autofix, tmp_path):
    """A file's result: the data under a name, through `autofix run` with one face."""

    def call(name, data):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / name).write_bytes(data)
        (tmp_path / "boxes.json").write_text(json.dumps({name: [BOX]}), encoding="utf-8")
        done = autofix(
            *("run", tmp_path / "in", "-o", tmp_path / "out", "--jsonl", "-", "--model", "null"),
            *("--no-check", "--size", "64", "--padding", "4"),
            *("--detector", f"scripted:{tmp_path / 'boxes.json'}"),
        )
        assert done.code == 0, done.err
        assert json.loads(done.out)["status"] == "fixed"
        before = files.read(tmp_path / "in" / name, name=name)
        after = files.read(tmp_path / "out" / name, name=name)
        assert np.abs(before.pixels.astype(int) - after.pixels)[30:40, 40:50].mean() > 5
        return before, after, tmp_path / "out" / name

    return call


def saved(path, image, **options):
    image.save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [(".png", 1), (".png", 3), (".png", 4), (".tif", 1), (".tif", 3), (".tif", 4)],
)
def test_sixteen_bits_stay_to_the_last_bit_outside_the_fix(fixed, tmp_path, channels, suffix):
    values = DEEP[..., -channels:]
    if suffix == ".png":
        data = with_deep_pixels(saved(tmp_path / "1.png", Image.new("L", (1, 1))), values)
    else:
        data = with_tags(deep_tiff(values, "tiff_lzw"), alpha_tags(channels))
    before, after, _ = fixed(f"deep{suffix}", data)
    assert np.array_equal(before.source.deep, values)
    assert after.source.deep.shape == values.shape
    assert np.array_equal(after.source.deep[OUTSIDE], values[OUTSIDE])
    assert after.source.save.get("compression") == before.source.save.get("compression")
    assert after.source.notes == ()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("a.tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("a.bmp", mode) for mode in ("1", "L", "P", "RGB")),
    ],
)
def test_pixels_outside_the_fix_stay_and_so_does_the_mode(fixed, tmp_path, name, mode):
    image = Image.fromarray(NOISE).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(NOISE[..., 1]))
    before, after, path = fixed(name, saved(tmp_path / name, image))
    assert np.array_equal(after.pixels[OUTSIDE], before.pixels[OUTSIDE])
    if before.source.alpha is not None:
        assert np.array_equal(after.source.alpha, before.source.alpha)
    with Image.open(path) as result:
        # A fix brings shades of grey to black and white, and colours of its own to a palette.
        assert result.mode == {"1": "L", "P": "RGB"}.get(mode, mode)


def test_a_turned_jpeg_is_fixed_upright_with_its_own_tables(fixed, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.rot90(NOISE))
    options = {"quality": 83, "subsampling": 2, "progressive": True, "exif": exif}
    before, after, path = fixed("t.jpg", saved(tmp_path / "t.jpg", image, **options))
    assert after.size_wh == (WIDE, HIGH)
    assert after.source.save == before.source.save
    with Image.open(path) as result:
        assert result.getexif()[0x0112] == 1
        assert result.size == (WIDE, HIGH)
        assert result.info["progressive"]
