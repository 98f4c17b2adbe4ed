"""Whole runs with engines that go wrong on purpose: nothing is lost, and every status is right."""

import json
import logging
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from autofix.cli import main
from autofix.pipeline.toolbox import Toolbox
from tests.build import picture
from tests.engines.misbehaving import Crashing, Sick, Small
from tests.pipeline.fakes import Boxes, Painter, pipeline

FOUR = ((10, 10, 30, 34), (100, 20, 124, 44), (160, 90, 190, 120), (20, 90, 50, 120))


@pytest.fixture(autouse=True)
def not_freed(monkeypatch):
    monkeypatch.setattr("autofix.engines.resilient.free_memory", lambda: None)


def fix(engine, **settings):
    seen = picture(220, 140, name="seen.png")
    (outcome,) = pipeline(Boxes(*FOUR), engine, **settings).fix([seen])
    return seen, outcome


def fix_two(engine, **settings):
    seen = [picture(220, 140, seed=n, name=f"{n}.png") for n in range(2)]
    return list(pipeline(Boxes(*FOUR), engine, **settings).fix(seen))


def statuses(outcome):
    return [result.status for result in outcome.results]


def seen_through(result, pixels):
    """The pixels that this region's mask covers."""
    return pixels[result.region.mask.within((0, 0, 220, 140)) > 0]


def test_a_region_of_nan_in_a_batch_of_four_leaves_the_others_as_they_would_be():
    _, healthy = fix(Painter())
    seen, hit = fix(Sick({2}, cure="nothing"))
    assert statuses(hit) == ["fixed", "fixed", "failed", "fixed"]
    assert "not numbers (NaN)" in hit.results[2].reason
    for n, result in enumerate(healthy.results):
        expected = seen if n == 2 else healthy.picture
        now, then = seen_through(result, hit.picture.pixels), seen_through(result, expected.pixels)
        assert np.array_equal(now, then)


@pytest.mark.parametrize("values", [np.nan, 0], ids=["nan", "black"])
@pytest.mark.parametrize("cure", ["vae", "float32"])
def test_a_region_that_precision_mends_is_as_if_nothing_had_been(values, cure):
    _, healthy = fix(Painter())
    _, mended = fix(Sick({1}, cure=cure, values=values))
    assert statuses(mended) == ["fixed"] * 4
    assert np.array_equal(mended.picture.pixels, healthy.picture.pixels)


def test_a_black_patch_is_a_failure_even_where_nothing_is_checked():
    seen, hit = fix(Sick({0}, cure="nothing", values=0), check__enabled=False)
    assert statuses(hit) == ["failed", "fixed", "fixed", "fixed"]
    assert "all black" in hit.results[0].reason
    untouched = seen_through(hit.results[0], hit.picture.pixels)
    assert np.array_equal(untouched, seen_through(hit.results[0], seen.pixels))


def test_out_of_memory_at_batches_of_8_and_4_costs_nothing():
    engine = Small(2)
    tight = fix_two(engine)
    assert [len(batch) for batch in engine.batches] == [8, 4, 2, 2, 2, 2]
    for one, healthy in zip(tight, fix_two(Painter()), strict=True):
        assert statuses(one) == ["fixed"] * 4
        assert np.array_equal(one.picture.pixels, healthy.picture.pixels)


def test_without_any_memory_all_regions_fail_and_the_picture_is_as_it_was():
    seen, hit = fix(Small(0))
    assert statuses(hit) == ["failed"] * 4
    assert "out of memory even with one crop of 64x64" in hit.results[0].reason
    assert hit.picture is seen


def test_a_crash_in_one_batch_costs_the_region_that_crashes():
    doomed = picture(220, 140, seed=1)

    class CrashingAtOne(Crashing):
        """Crashes at the third region of the second picture."""

        def inpaint(self, crops, settings):
            seen = [np.array_equal(c.pixels, c.window.cut(doomed.pixels)) for c in crops]
            self.wrong = {2} if all(seen) else set()
            return super().inpaint(crops, settings)

    healthy = fix_two(Painter(), batch_size=4)
    first, second = fix_two(CrashingAtOne(set(), KeyError("attention")), batch_size=4)
    assert np.array_equal(first.picture.pixels, healthy[0].picture.pixels)
    assert statuses(second) == ["fixed", "fixed", "failed", "fixed"]
    assert "the engine crashed with KeyError: 'attention'" in second.results[2].reason
    for n in (0, 1, 3):
        now = seen_through(second.results[n], second.picture.pixels)
        assert np.array_equal(now, seen_through(second.results[n], healthy[1].picture.pixels))


def test_candidates_of_which_one_is_broken_are_judged_by_the_others():
    class FirstTry(Sick):
        def patch(self, crop):
            self.wrong = {0} if crop.region.seed == 70 else set()
            return super().patch(crop)

    _, outcome = fix(FirstTry({0}, cure="nothing"), seed=70, inpaint__candidates=2)
    assert statuses(outcome) == ["fixed"] * 4


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`autofix run` over three pictures of four, two and one face, with an engine of ours."""
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    boxes = {"a.png": FOUR, "b.png": FOUR[:2], "c.png": FOUR[:1]}
    for n, name in enumerate(boxes):
        Image.fromarray(picture(220, 140, seed=n).pixels).save(place / name)
    found = tmp_path / "boxes.json"
    found.write_text(json.dumps(boxes), encoding="utf-8")

    def call(engine, *more):
        monkeypatch.setattr(Toolbox, "_open_engine", lambda toolbox, weights=True: engine)
        command = ["autofix", "run", place, "-o", out, "--detector", f"scripted:{found}"]
        command += ["--no-check", "--force", "--jsonl", "-", "--batch-size", "8", *more]
        monkeypatch.setattr(sys, "argv", [*map(str, command)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        records = {each["output"][-5:]: each for each in map(json.loads, said.out.splitlines())}
        pictures = {name: np.asarray(Image.open(out / name)) for name in boxes}
        assert records.keys() == pictures.keys() == boxes.keys()
        results = {
            name: [region["result"] for region in record["regions"]]
            for name, record in records.items()
        }
        return ended.value.code or 0, records, results, pictures, said.err

    yield call
    logging.getLogger("autofix").handlers.clear()


ALL_WELL = {"a.png": ["fixed"] * 4, "b.png": ["fixed"] * 2, "c.png": ["fixed"]}


def test_a_run_out_of_memory_fixes_every_picture_and_says_so_once(run):
    _, _, _, expected, _ = run(Painter())
    code, _, results, pictures, err = run(Small(2))
    assert (code, results) == (0, ALL_WELL)
    assert err.count("autofix: out of memory: from now on") == 1
    assert all(np.array_equal(pictures[name], expected[name]) for name in pictures)
    assert run(Small(2), "--quiet")[-1] == ""


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("illegal access"), ZeroDivisionError()], ids=repr
)
def test_a_run_with_a_crash_loses_one_face_of_one_picture(run, error):
    code, records, results, pictures, err = run(Crashing({3}, error))
    assert code == 1
    assert results == {**ALL_WELL, "a.png": ["fixed"] * 3 + ["failed"]}
    assert {name: each["status"] for name, each in records.items()} == {
        "a.png": "failed",
        "b.png": "fixed",
        "c.png": "fixed",
    }
    assert f"failed: {records['a.png']['input']}: the engine crashed with" in err
    x0, y0, x1, y1 = map(int, records["a.png"]["regions"][3]["box"])
    given = picture(220, 140, seed=0).pixels
    assert np.array_equal(pictures["a.png"][y0:y1, x0:x1], given[y0:y1, x0:x1])


def test_a_run_on_a_card_without_half_support_gives_every_picture(run):
    code, _, results, _, err = run(Sick({0, 1, 2, 3}, cure="float32"))
    assert (code, results) == (0, ALL_WELL)
    assert err.count("from now on everything computes in float32") == 1
