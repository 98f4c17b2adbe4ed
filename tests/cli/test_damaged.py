"""Folders full of damaged files: every good picture is fixed, every bad one named with its reason.

A file whose flipped bytes still decode is no damaged file. Pillow says which is which: what it
decodes fully (with LOAD_TRUNCATED_IMAGES off), as one picture of a kind we take, is good.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from autofix.imagefiles.decode import PILLOW_ERRORS
from tests.conftest import ROOT

WIDE, HIGH, BOX = 96, 80, [8, 8, 40, 40]
KINDS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "AVIF": "avif"}
SAMPLES = ("launch.png", "exhibition.png", "noticeboard.png", "table.jpg")
BOMB = 60_000


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(seed, mode="RGB"):
    """Half noise, so that the file is long, half smooth."""
    pixels = np.random.default_rng(seed).integers(0, 256, (HIGH, WIDE, 3), np.uint8)
    pixels[:, WIDE // 2 :] = np.arange(HIGH, dtype=np.uint8)[:, None, None]
    return Image.fromarray(pixels).convert(mode)


def a_picture(chance):
    """A good file of any kind: its data and its kind."""
    kind = chance.choice([*KINDS])
    mode = chance.choice({"PNG": ["RGB", "RGBA", "L", "P", "1"]}.get(kind, ["RGB", "L"]))
    return saved(noise(chance.randrange(2**32), mode), kind), kind


def truncated(chance):
    data, kind = a_picture(chance)
    return data[: int(len(data) * chance.uniform(0.05, 0.9))], kind


def flipped(chance):
    data, kind = a_picture(chance)
    spoilt = bytearray(data)
    for _ in range(chance.choice([1, 4, 30])):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt), kind


def no_picture(chance):
    what = [b"%PDF-1.7\n", b"PK\x03\x04", b"hello, world\n", b"<svg xmlns='x'/>", b"GIF89a"]
    return chance.choice(what) + chance.randbytes(200), chance.choice([*KINDS])


def nothing(chance):
    return bytes(chance.choice([0, 0, 1, 5000])), chance.choice([*KINDS])


def chunk(kind, data):
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(chance):
    """60,000 x 60,000 by a header written by hand, and next to nothing behind it."""
    kind = chance.choice(["PNG", "TIFF", "BMP", "JPEG", "WEBP"])
    if kind == "PNG":
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", BOMB, BOMB, 8, 2, 0, 0, 0))
        rest = chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + head + rest, kind
    data = bytearray(saved(noise(1), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "TIFF":
        directory = struct.unpack_from("<I", data, 4)[0]
        for number in range(struct.unpack_from("<H", data, directory)[0]):
            at = directory + 2 + 12 * number
            if struct.unpack_from("<H", data, at)[0] in (256, 257):
                struct.pack_into("<HII", data, at + 2, 4, 1, BOMB)
    elif kind == "BMP":
        struct.pack_into("<ii", data, 18, BOMB, BOMB)
    elif kind == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, BOMB, BOMB)
    else:  # WebP ends at 16,383
        struct.pack_into("<I", data, 21, 16382 | 16382 << 14)
    return bytes(data), kind


def animated(chance):
    kind = chance.choice(["PNG", "WEBP", "TIFF", "GIF"])
    frames = [noise(seed) for seed in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    return data, "PNG" if kind == "GIF" else kind


def cmyk(chance):
    return saved(noise(chance.randrange(1000), "CMYK"), "JPEG"), "JPEG"


DAMAGES = (truncated, flipped, no_picture, nothing, bomb, animated, cmyk)


def is_good(data):
    """Whether Pillow decodes the file fully, as one picture of a kind we take."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            image.load()
            single = getattr(image, "n_frames", 1) == 1
            return single and image.format in KINDS and image.mode != "F"
    except PILLOW_ERRORS:
        return False


def scatter(folder, count, *, seed=0):
    """Damaged files, and some that are not after all: name -> whether it is good."""
    chance = random.Random(seed)
    files = {}
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        data, kind = damage(chance)
        name = f"{damage.__name__} {number}.{KINDS[kind]}"
        (folder / name).write_bytes(data)
        files[name] = is_good(data)
    return files


LAUNCH = """
import os, pathlib, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "autofix", *sys.argv[1:]])
_, status, used = os.wait4(process.pid, 0)
pathlib.Path("peak").write_text(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs autofix and writes down its peak memory, KiB. A small process of its own does so, since a
child's peak is never less than what its parent held when it began: pytest's own, otherwise."""


def run(root, *options):
    """`autofix run in -o out` as a process of its own: code, records by name, stderr, peak MiB."""
    command = [sys.executable, "-c", LAUNCH, "run", "in", "-o", "out", "--jsonl", "-", *options]
    quiet = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, cwd=root, env=quiet, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    records = {os.path.basename(each["input"]): each for each in map(json.loads, lines)}
    assert len(records) == len(lines)
    peak = int((root / "peak").read_text(encoding="ascii")) / 1024
    return done.returncode, records, done.stderr, peak


def check_all(root, files, code, records, said):
    """Each file has the status it must have, and each bad one its line on stderr."""
    statuses = {name: record["status"] for name, record in records.items()}
    assert statuses == {name: "fixed" if good else "failed" for name, good in files.items()}
    results = {path.name for path in (root / "out").iterdir()} - {".autofix"}
    assert results == {name for name, good in files.items() if good}
    assert code == 1
    for name, good in files.items():
        lines = [line for line in said.splitlines() if name in line]
        if not good:
            assert records[name]["reason"], name
            assert any(len(line) > len(name) + 15 for line in lines), (name, lines)
    assert "Traceback" not in said


def test_good_pictures_are_fixed_and_bad_files_named(tmp_path):
    (tmp_path / "in").mkdir()
    files = scatter(tmp_path / "in", 63)
    for number, (kind, suffix) in enumerate(KINDS.items()):
        (tmp_path / "in" / f"good {number}.{suffix}").write_bytes(saved(noise(number), kind))
        files[f"good {number}.{suffix}"] = True
    assert 25 < sum(not good for good in files.values()) < 60
    boxes = json.dumps({name: [BOX] for name in files})
    (tmp_path / "boxes.json").write_text(boxes, encoding="utf-8")
    code, records, said, peak = run(
        tmp_path,
        *("--detector", "scripted:boxes.json", "--model", "null", "--no-check", "--size", "64"),
    )
    check_all(tmp_path, files, code, records, said)
    assert peak < 512  # one bomb would be 10,000
    reasons = {name.split()[0]: record["reason"] for name, record in records.items()}
    assert "several pages" in reasons["animated"] or "GIF" in reasons["animated"]
    assert records["cmyk 6.jpg"]["notes"] == ["CMYK became RGB"]


@pytest.mark.slow
def test_a_thousand_damaged_files_and_twenty_good_ones(tmp_path):
    """With the built-in model and detector. Damaged files show no face: what decodes is copied."""
    (tmp_path / "in").mkdir()
    files = {}
    for number in range(20):
        sample = ROOT / "samples" / SAMPLES[number % len(SAMPLES)]
        name = f"good {number}{sample.suffix}"
        shutil.copy(sample, tmp_path / "in" / name)
        files[name] = True
    _, _, _, without = run(tmp_path)
    files |= scatter(tmp_path / "in", 1000, seed=1)
    code, records, said, peak = run(tmp_path, "--force")
    for name, record in records.items():
        if record["status"] == "unchanged" and not name.startswith("good"):
            record["status"] = "fixed"
    check_all(tmp_path, files, code, records, said)
    assert peak < without + 128
