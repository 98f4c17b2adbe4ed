"""A run that is killed at any moment and started again ends as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageOps

SAMPLES = Path(__file__).parents[2] / "samples"


def command(folder):
    return [sys.executable, "-m", "autofix", "run", folder / "in", "-o", folder / "out", "-q"]


def files(folder):
    """Every file below a folder by its name, but for the journal's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".autofix" not in path.relative_to(folder).parts[:1]
    }


def filled(folder, count):
    """Pictures with one to six faces, no two alike."""
    given = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.png"))]
    for number in range(count):
        picture = given[number % len(given)]
        picture = ImageOps.mirror(picture) if number // len(given) % 2 else picture
        name = folder / "in" / f"{number % 3}" / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        picture.crop((0, 0, picture.width - number, picture.height)).save(name)
    return folder


def killed_and_finished(folder, kills, seconds, seed):
    chance = random.Random(seed)
    died = 0
    for _ in range(kills):
        process = subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=chance.uniform(0.2, 1) * seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            died += 1
    subprocess.run(command(folder), check=True, capture_output=True)
    return died


@pytest.mark.parametrize(
    ("pictures", "kills"),
    [pytest.param(3, 2, id="short"), pytest.param(12, 20, id="long", marks=pytest.mark.slow)],
)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, pictures, kills):
    whole = filled(tmp_path / "whole", pictures)
    started = time.monotonic()
    subprocess.run(command(whole), check=True, capture_output=True)
    seconds = time.monotonic() - started
    torn = filled(tmp_path / "torn", pictures)
    # Kills come sooner than a run ends, so that each meets work; together they finish all of it.
    assert killed_and_finished(torn, kills, seconds * (0.8 if kills < 5 else 0.5), seed=7) >= 1
    assert files(torn / "out") == files(whole / "out")
    assert any(files(whole / "out")[name] != data for name, data in files(whole / "in").items())
