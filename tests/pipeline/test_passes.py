"""Several passes, cycles and candidates."""

import numpy as np
import pytest

from autofix.errors import RecipeError
from autofix.pipeline.passes import CANDIDATE_SEED, CYCLE_SEED
from autofix.settings.recipe_toml import load_recipe, to_toml
from tests.build import picture
from tests.pipeline.fakes import Boxes, Painter, pipeline

APART = ((10, 10, 30, 34), (100, 20, 124, 44), (160, 90, 190, 120))


def fix(detector, engine, **settings):
    seen = picture(220, 140)
    return seen, pipeline(detector, engine, **settings).fix([seen])[0]


def test_each_pass_has_its_settings_and_sees_what_the_last_one_did():
    engine = Painter(0.0)
    passes = [{"inpaint": {"strength": 0.5}}, {"inpaint": {"strength": 0.2}}]
    _, outcome = fix(Boxes(APART[0]), engine, passes=passes)
    first, second = (crop for batch in engine.batches for crop in batch)
    assert (first.region.strength, second.region.strength) == (0.5, 0.2)
    middle = tuple(side // 2 for side in second.pixels.shape[:2])
    assert second.pixels[middle].max() < 40 < first.pixels[middle].max()
    assert [(r.region.pass_index, r.status) for r in outcome.results] == [
        (0, "fixed"),
        (1, "fixed"),
    ]


def test_a_pass_s_settings_do_not_leak_into_the_next():
    engine = Painter()
    passes = [{"prompt": {"positive": "a hand"}}, {}]
    fix(Boxes(APART[0]), engine, prompt__positive="a face", passes=passes)
    assert [c.region.prompt for batch in engine.batches for c in batch] == ["a hand", "a face"]


def test_what_an_option_says_holds_in_every_pass():
    recipe = load_recipe("face-hand").override({"mask.shape": "box", "inpaint.strength": 0.3})
    assert [each.mask.shape for each in recipe.each_pass] == ["box", "box"]
    assert [each.inpaint.strength for each in recipe.each_pass] == [0.3, 0.3]
    assert [each.detect.detectors for each in recipe.each_pass] == [("blazeface",), ("hands",)]


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        ([{"mask": {"shap": "box"}}], "did you mean 'shape'"),
        ([{"passes": [{}]}], "passes inside a pass"),
        ([{}, {"inpaint": {"strength": 2}}], "pass 2 of recipe"),
    ],
)
def test_a_pass_that_does_not_hold_is_named(passes, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe("face").override({"passes": passes})


def test_a_recipe_with_passes_prints_as_itself(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(load_recipe("face-hand")), encoding="utf-8")
    assert load_recipe(str(path)) == load_recipe("face-hand")


def test_cycles_start_from_the_last_result():
    engine = Painter(0.0)
    fix(Boxes(*APART), engine, inpaint__cycles=2, inpaint__strength=[0.6, 0.3], seed=5)
    first, second = engine.batches
    assert [c.region.seed for c in first] == [5, 6, 7]
    assert [c.region.seed for c in second] == [5 + CYCLE_SEED, 6 + CYCLE_SEED, 7 + CYCLE_SEED]
    assert {c.region.strength for c in first} == {0.6}
    assert {c.region.strength for c in second} == {0.3}
    assert all(c.pixels[32, 32].max() < 40 for c in second)


class Choosy(Painter):
    """Paints grey at the seeds it likes, and NaN at the others."""

    def __init__(self, *good):
        super().__init__()
        self.good = good

    def patch(self, crop):
        patch = super().patch(crop)
        if crop.region.seed not in self.good:
            patch.pixels[:] = np.nan
        return patch


def test_of_several_candidates_one_that_the_check_lets_pass_is_taken():
    engine = Choosy(2 * CANDIDATE_SEED, 1, 2)
    _, outcome = fix(Boxes(*APART), engine, inpaint__candidates=3, seed=0, batch_size=4)
    assert [r.status for r in outcome.results] == ["fixed"] * 3
    assert [r.region.seed for r in outcome.results] == [2 * CANDIDATE_SEED, 1, 2]
    assert [len(batch) for batch in engine.batches] == [4, 4, 1]


def test_candidates_are_kept_where_asked_for():
    settings = {"inpaint__candidates": 3, "seed": 0}
    _, outcome = fix(Boxes(APART[0]), Painter(), keep_candidates=True, **settings)
    (result,) = outcome.results
    assert len(result.candidates) == 3
    assert np.array_equal(result.candidates[0].pixels, outcome.picture.pixels)
    assert len({c.pixels.tobytes() for c in result.candidates}) == 3
    _, plain = fix(Boxes(APART[0]), Painter(), **settings)
    assert plain.results[0].candidates == ()
    assert np.array_equal(plain.picture.pixels, outcome.picture.pixels)
