import numpy as np
import pytest

from autofix.pipeline.passes import RETRY_SEED
from tests.build import picture
from tests.pipeline.fakes import Boxes, Broken, Painter, pipeline

APART = ((10, 10, 30, 34), (100, 20, 124, 44), (160, 90, 190, 120))
NEAR = ((40, 40, 60, 60), (62, 42, 84, 62), (150, 20, 170, 40))


def fix(detector, engine, count=1, **settings):
    seen = [picture(220, 140, seed=n, name=f"{n}.png") for n in range(count)]
    return seen, pipeline(detector, engine, **settings).fix(seen)


def statuses(outcome):
    return [(result.region.index, result.status) for result in outcome.results]


def test_nothing_found_is_no_result_and_the_same_picture():
    (seen,), (outcome,) = fix(Boxes(), Painter())
    assert outcome.results == ()
    assert outcome.picture is seen


def test_no_pictures_are_no_outcomes():
    assert pipeline(Boxes(*APART), Painter()).fix([]) == []


def test_faces_of_many_pictures_share_batches():
    """Every other tool repaints one face at a time."""
    engine = Painter()
    _, outcomes = fix(Boxes(*APART), engine, count=3, batch_size=4)
    assert [len(batch) for batch in engine.batches] == [4, 4, 1]
    assert all(statuses(o) == [(0, "fixed"), (1, "fixed"), (2, "fixed")] for o in outcomes)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_pixels_do_not_depend_on_the_batch_size(batch_size):
    _, expected = fix(Boxes(*APART), Painter(), count=2, batch_size=3)
    _, outcomes = fix(Boxes(*APART), Painter(), count=2, batch_size=batch_size)
    for outcome, other in zip(outcomes, expected, strict=True):
        assert np.array_equal(outcome.picture.pixels, other.picture.pixels)


def test_outside_all_masks_nothing_changes():
    (seen,), (outcome,) = fix(Boxes(*APART), Painter())
    covered = np.zeros(seen.pixels.shape[:2], bool)
    for result in outcome.results:
        covered |= result.region.mask.within((0, 0, 220, 140)) > 0
    changed = (outcome.picture.pixels != seen.pixels).any(axis=2)
    assert changed[covered].mean() > 0.9
    assert not changed[~covered].any()


def test_crops_that_overlap_go_in_waves_and_see_what_was_done():
    engine = Painter(0.0)
    fix(Boxes(*NEAR), engine)
    assert [[c.region.index for c in batch] for batch in engine.batches] == [[0, 2], [1]]
    second = engine.batches[1][0]
    x, y = 57 - second.window.box_xyxy[0], 50 - second.window.box_xyxy[1]
    at = (int(y * second.window.scale), int(x * second.window.scale))
    assert second.pixels[at].max() < 40  # the first face, already painted black


def test_every_region_has_its_own_seed_counted_from_the_recipe_s():
    engine = Painter()
    fix(Boxes(*APART), engine, seed=70)
    assert [crop.region.seed for crop in engine.batches[0]] == [70, 71, 72]


def test_an_engine_s_failure_fails_its_regions_and_keeps_their_pixels():
    (seen,), (outcome,) = fix(Boxes(*APART), Broken())
    assert {status for _, status in statuses(outcome)} == {"failed"}
    assert "no such layer: take another --model" in outcome.results[0].reason
    assert np.array_equal(outcome.picture.pixels, seen.pixels)


def test_a_refused_patch_is_tried_again_with_another_seed_and_less_strength():
    """A NaN left the next face with the wrong strength."""
    engine = Broken(until_seed=RETRY_SEED)
    _, (outcome,) = fix(Boxes(*APART), engine, inpaint__strength=0.4)
    assert {status for _, status in statuses(outcome)} == {"fixed"}
    first, second = engine.batches
    assert [c.region.strength for c in first] == [0.4] * 3
    assert [c.region.strength for c in second] == pytest.approx([0.3] * 3)
    assert [c.region.seed for c in second] == [RETRY_SEED + n for n in range(3)]


def test_a_patch_refused_at_every_try_keeps_the_original():
    """Black boxes, or nothing, and no word of it."""
    engine = Broken(until_seed=10**12)
    (seen,), (outcome,) = fix(Boxes(*APART), engine, check__retries=2)
    assert len(engine.batches) == 3
    assert {status for _, status in statuses(outcome)} == {"kept"}
    assert "it is flat or black" in outcome.results[0].reason
    assert np.array_equal(outcome.picture.pixels, seen.pixels)


def test_a_label_the_engine_was_not_made_for_is_skipped_with_advice():
    engine = Painter(labels=("face",))
    _, (outcome,) = fix(Boxes(*APART, label="hand"), engine)
    assert {status for _, status in statuses(outcome)} == {"skipped"}
    assert outcome.results[0].reason == "painter paints only: face; for hand set --model"
    assert engine.batches == []


def test_a_face_larger_than_the_working_size_is_skipped_unless_asked_for():
    """Large faces get worse."""
    large = Boxes((20, 20, 120, 120))
    _, (outcome,) = fix(large, Painter())
    assert "would be shrunk to 64x64 and lose detail" in outcome.results[0].reason
    _, (outcome,) = fix(large, Painter(), crop__min_scale=0)
    assert statuses(outcome) == [(0, "fixed")]


def test_strength_0_repaints_nothing():
    """Strength 0 discarded the work of earlier models."""
    engine = Painter()
    _, (outcome,) = fix(Boxes(*APART), engine, inpaint__strength=0)
    assert outcome.results[0].reason == "denoising strength 0 keeps everything"
    assert engine.batches == []


def test_the_filters_decide_who_is_repainted_and_numbers_stay():
    engine = Painter()
    _, (outcome,) = fix(Boxes(*APART), engine, choose__limit=1)
    assert statuses(outcome) == [(0, "skipped"), (1, "skipped"), (2, "fixed")]
    assert [c.region.index for c in engine.batches[0]] == [2]
