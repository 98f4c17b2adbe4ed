"""The samples, fixed by the built-in model: the real thing, once for all tests below."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from autofix.imagefiles.files import read
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from tests.conftest import ROOT
from tests.scenes import ring_delta_e

SAMPLES = ROOT / "samples"
NAMES = ("exhibition.png", "launch.png", "noticeboard.png", "pad.png", "table.jpg")
FACES = {"exhibition.png": 5, "launch.png": 1, "noticeboard.png": 4, "pad.png": 0, "table.jpg": 2}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    out = tmp_path_factory.mktemp("fixed")
    call = [sys.executable, "-m", "autofix", "run", SAMPLES, "-o", out, "--jsonl", "-", "-q"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return out, {
        os.path.basename(each["input"]): each for each in map(json.loads, done.stdout.splitlines())
    }


def test_spoilt_faces_are_found_and_nearly_all_inpainted(fixed):
    """What the check refuses is kept with its reason: no face comes out worse."""
    regions = {name: record["regions"] for name, record in fixed[1].items()}
    assert {name: len(found) for name, found in regions.items()} == FACES
    results = [(each["result"], each["reason"]) for found in regions.values() for each in found]
    assert sum(result == "fixed" for result, _ in results) >= 9
    assert all(result == "fixed" or (result == "kept" and reason) for result, reason in results)


def planned(picture):
    recipe = load_recipe("face")
    with Toolbox(recipe) as toolbox, Pipeline(recipe, toolbox) as pipeline:
        return pipeline.plan(picture)


@pytest.mark.parametrize("name", NAMES)
def test_rims_keep_their_colour(fixed, name):
    before, after = (read(place / name, name=name) for place in (SAMPLES, fixed[0]))
    rims = [ring_delta_e(before, after, region.mask) for region in planned(before)]
    assert all(rim <= 2.3 for rim in rims), rims


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(".png")])
def test_outside_the_soft_masks_pixels_are_equal(fixed, name):
    before, after = (read(place / name, name=name) for place in (SAMPLES, fixed[0]))
    assert before.size_wh == after.size_wh
    allowed = np.zeros(before.pixels.shape[:2], bool)
    for region in planned(before):
        allowed |= region.mask.within((0, 0, *before.size_wh)) > 0
    changed = (before.pixels != after.pixels).any(axis=2)
    assert not changed[~allowed].any()
    assert changed.any() == (FACES[name] > 0)


def test_inpainted_faces_are_sharper(fixed):
    """Mean gradient in the middle of each face, before and after; hair and hats aside."""
    out, records = fixed
    for name, record in records.items():
        before, after = (
            read(place / name, name=name).pixels.astype(np.float32).mean(axis=2)
            for place in (SAMPLES, out)
        )
        for region in record["regions"]:
            if region["result"] != "fixed":
                continue
            x0, y0, x1, y1 = (round(edge) for edge in region["box"])
            inset_x, inset_y = (x1 - x0) // 6, (y1 - y0) // 5
            middle = (slice(y0 + inset_y, y1 - inset_y), slice(x0 + inset_x, x1 - inset_x))
            old, new = (np.hypot(*np.gradient(each[middle])).mean() for each in (before, after))
            assert new > old, f"{name} {region['index']}: {old:.2f} -> {new:.2f}"


def test_running_twice_gives_the_same_bytes(fixed, tmp_path):
    call = [sys.executable, "-m", "autofix", "run", SAMPLES, "-o", tmp_path, "-q"]
    subprocess.run(call, check=True)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (fixed[0] / name).read_bytes(), name
