"""scripts/bench: its pictures, its loop, its counting, and the quick form from end to end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import bench
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from benching import report
from benching.pictures import MOST_FACES, make_pictures
from benching.recording import Recorder
from benching.runs import PlainLoop, autofix_run
from detectors.overlap import iou
from tests.engines.tiny import sd


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three pictures, and the boxes of their faces by name."""
    folder = tmp_path_factory.mktemp("made")
    return folder, json.loads(make_pictures(folder, 3).read_text())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return sd(tmp_path_factory.mktemp("sd"))


def recipe(folder, model, **more):
    changes = {
        "seed": 0,
        "detect.detectors": [f"scripted:{folder / 'boxes.json'}"],
        "crop.align": "off",
        "crop.min_scale": 0,
        "model.name": str(model),
        "device.name": "cpu",
        "sampling.steps": 4,
        "sampling.step_count": "diffusers",
        "inpaint.strength": 0.5,
        "check.enabled": False,
    }
    return load_recipe("face").override({**changes, **more})


def test_the_pictures_are_the_same_every_time_and_hold_the_faces_they_name(made, tmp_path):
    folder, boxes = made
    again = json.loads(make_pictures(tmp_path, 3).read_text())
    assert again == boxes
    with Toolbox(load_recipe("face")) as toolbox:
        for name, listed in boxes.items():
            pixels = np.asarray(Image.open(folder / "pictures" / name))
            same = (tmp_path / "pictures" / name).read_bytes()
            assert same == (folder / "pictures" / name).read_bytes()
            assert 1 <= len(listed) <= MOST_FACES
            with toolbox.detectors() as (detector,):
                found = detector.detect([pixels], names=[name])[0]
            assert len(found) == len(listed)
            for face in found:
                assert max(iou(face.box_xyxy, box) for box in listed) > 0.5


@pytest.fixture
def changes(made, tmp_path):
    """What the plain loop and autofix change in a picture with a model: two arrays of levels."""
    folder, boxes = made
    name = min(boxes, key=lambda each: len(boxes[each]))
    path = folder / "pictures" / name

    def of(model):
        # Blended as the loop blends, so that what differs is what was painted.
        plain = {"blend.match_colour": False, "blend.match_grain": False}
        wanted = recipe(folder, model, **plain)
        with Toolbox(wanted) as toolbox:
            assert PlainLoop(wanted, toolbox).fix([path], tmp_path) == len(boxes[name])
            ours = fixed(wanted, toolbox, path)
        return pixels(tmp_path / name) - pixels(path), ours - pixels(path)

    return of


def test_the_plain_loop_changes_the_same_pixels(changes, tiny):
    theirs, ours = (np.abs(each).max(axis=-1) > 2 for each in changes(tiny))
    assert (theirs & ours).sum() > 0.9 * (theirs | ours).sum() > 1000


def test_the_plain_loop_paints_the_same_face(changes):
    theirs, ours = changes("builtin")
    inside = np.abs(ours).max(axis=-1) > 2
    assert np.corrcoef(theirs[inside].ravel(), ours[inside].ravel())[0, 1] > 0.85


def fixed(wanted, toolbox, path):
    from autofix.imagefiles.files import read
    from autofix.pipeline.pipeline import Pipeline

    with Pipeline(wanted, toolbox) as pipeline:
        (outcome,) = pipeline.fix([read(path, name=path.name)])
    return outcome.picture.pixels.astype(float)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_the_recorder_counts_the_rows_that_a_run_needs(made, tiny):
    folder, boxes = made
    wanted = recipe(folder, tiny, **{"device.batch_size": 2, "sampling.cfg": 5.0})
    faces = sum(map(len, boxes.values()))
    recorder = Recorder()
    with Toolbox(wanted) as toolbox, recorder.recording():
        run = autofix_run(wanted, toolbox, folder / "pictures")
    assert run.faces == recorder.wanted == faces == 11
    rows = {part + " " + name: rows for (part, name, _), rows in recorder.rows.items()}
    # The last batch may have been filled up. Half of 4 steps, with and without the prompt.
    assert faces <= rows["VAE decode"] <= 12
    assert rows["denoiser forward"] == 2 * 2 * rows["VAE decode"]
    assert recorder.bare_seconds() > 0
    assert 0 < recorder.seconds("denoiser") + recorder.seconds("VAE") < run.seconds


def test_a_run_in_which_faces_were_skipped_is_no_measurement(made, tiny):
    folder, _ = made
    wanted = recipe(folder, tiny, **{"crop.min_scale": 0.75})
    with Toolbox(wanted) as toolbox, pytest.raises(RuntimeError, match="lose detail"):
        autofix_run(wanted, toolbox, folder / "pictures")


def test_figures_of_another_machine_or_setting_are_not_kept(tmp_path):
    report.store(tmp_path, "a", {"steps": 4}, {"start": {"seconds": 3.0}})
    report.store(tmp_path, "a", {"steps": 4}, {"batches": {"1": 2.0}})
    report.store(tmp_path, "b", {"steps": 4}, {"start": {"seconds": 7.0}})
    report.render(tmp_path)
    told = (tmp_path / "RESULTS.md").read_text()
    assert "3.0 s" in told
    assert "2.00 faces/s" in told
    report.store(tmp_path, "a", {"steps": 5}, {"batches": {"1": 9.0}})
    report.render(tmp_path)
    told = (tmp_path / "RESULTS.md").read_text()
    assert "3.0 s" not in told
    assert "9.00 faces/s" in told
    assert "7.0 s" in told  # the other configuration's section


def test_the_quick_form_measures_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr("benching.pictures.SIZES_WH", ((512, 512),))
    monkeypatch.setattr(bench, "QUICK", {"count": 2, "repeats": 1, "pictures": 2, "batches": "1,2"})
    asked = ["--model", "tiny", "--quick", "--steps", "4", "--out", str(tmp_path)]
    done = CliRunner().invoke(bench.main, asked)
    assert done.exit_code == 0, done.output
    told = (tmp_path / "RESULTS.md").read_text()
    for said in ("## tiny-cpu", "efficiency", "plain loop", "batch 2", "growth", "process start"):
        assert said in told
    with Image.open(tmp_path / "RESULTS.png") as shown:
        assert shown.width > 500
    kept = json.loads((tmp_path / "results" / "tiny-cpu.json").read_text())
    assert list(kept["parts"]) == list(report.ROWS)
    by_script, by_detector = kept["parts"]["efficiency"]
    assert by_script["faces"] == kept["parts"]["sequential"]["plain_faces"]
    assert 0 < by_detector["efficiency"] < 2
    assert kept["parts"]["memory"]["marks"][-1]["pictures"] == 2
