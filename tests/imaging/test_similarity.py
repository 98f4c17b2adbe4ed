import numpy as np
import pytest

from autofix.imaging import similarity
from autofix.imaging.similarity import Pair, measured_pair
from tests.build import crop, patch, picture, region

SIDE = 64


def textured(seed=0):
    """L*a*b* noise around a middle grey."""
    noise = np.random.default_rng(seed).normal(0, 12, (SIDE, SIDE, 3))
    return (noise + np.array([50, 0, 0])).astype(np.float32)


def disc(soft=6.0):
    """A round mask in the middle, falling off over `soft` px."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    far = np.hypot(x - SIDE / 2, y - SIDE / 2)
    return np.clip((20 + soft / 2 - far) / soft, 0, 1).astype(np.float32)


def pair(before, after, alpha=None, *, pixel=1.0):
    return Pair(before, after, disc() if alpha is None else alpha, 48.0, pixel)


SAME = pair(textured(), textured())
NOWHERE = pair(textured(), textured(1), np.zeros((SIDE, SIDE), np.float32))
EVERYWHERE = pair(textured(), textured() + 9, np.ones((SIDE, SIDE), np.float32))
EYES = np.array([(24.0, 28.0), (40.0, 28.0)])


@pytest.mark.parametrize("none_or_same", [SAME, NOWHERE])
def test_where_nothing_changes_nothing_is_measured(none_or_same):
    assert similarity.rim_difference(none_or_same) == pytest.approx(0, abs=1e-6)
    assert similarity.seam_step(none_or_same) == pytest.approx(0, abs=1e-6)
    assert similarity.colour_difference(none_or_same) == pytest.approx(0, abs=1e-6)
    assert similarity.peak_difference(none_or_same) == 0
    assert similarity.least_structure(none_or_same) == pytest.approx(1, abs=1e-4)
    assert similarity.eyes_error(none_or_same, EYES) == 0


def test_drift_is_read_from_the_ring_and_taken_off_again():
    shift = np.float32([4, 3, -2])
    drifted = pair(textured(), textured() + shift)
    change, off = similarity.colour_drift(drifted)
    assert change == pytest.approx(-shift, abs=1e-3)
    assert 4 < off < 7
    assert similarity.rim_difference(drifted) > 4
    assert similarity.rim_difference(drifted.shift_colour(change)) == pytest.approx(0, abs=1e-3)


def test_without_a_ring_there_is_no_drift():
    change, off = similarity.colour_drift(EVERYWHERE)
    assert (change.tolist(), off) == ([0, 0, 0], 0)
    assert similarity.seam_step(EVERYWHERE) == 0
    assert similarity.rim_difference(EVERYWHERE) == 0


def test_a_step_is_a_seam_and_new_texture_is_none():
    stepped = similarity.seam_step(pair(textured(), textured() + np.float32([20, 0, 0])))
    retextured = similarity.seam_step(pair(textured(), textured(1)))
    assert stepped > 3 * retextured


def test_the_same_step_shows_more_on_a_flat_ground_and_under_a_harder_mask():
    calm, step = np.full_like(textured(), 50), np.float32([10, 0, 0])
    on_texture = similarity.seam_step(pair(textured(), textured() + step))
    on_flat = similarity.seam_step(pair(calm, calm + step))
    hard = similarity.seam_step(pair(calm, calm + step, disc(1.0)))
    assert on_texture < on_flat < hard


def test_a_change_of_one_side_is_not_averaged_away():
    after = textured()
    after[:, SIDE // 2 :] += np.float32([12, 0, 0])
    after[:, : SIDE // 2] -= np.float32([12, 0, 0])
    lopsided = pair(textured(), after)
    assert similarity.rim_difference(lopsided) > 8
    assert similarity.colour_difference(lopsided) > 8


def test_detail_that_the_picture_could_not_show_does_not_count():
    """With pixels 16 px wide at this size, what is finer is the repaint's to choose."""
    fine = textured() + np.random.default_rng(2).normal(0, 10, (SIDE, SIDE, 3)).astype(np.float32)
    coarse, sharp = (pair(textured(), fine, pixel=p) for p in (16.0, 1.0))
    assert similarity.least_structure(coarse) > 0.95 > similarity.least_structure(sharp)
    assert similarity.eyes_error(coarse, EYES) < similarity.eyes_error(sharp, EYES)


def test_one_part_that_became_another_peaks():
    everywhere = textured() + np.random.default_rng(2).normal(0, 6, (SIDE, SIDE, 3))
    spot = everywhere.copy()
    spot[28:36, 28:36] += (30, 0, 0)
    usual, peaked = (
        similarity.peak_difference(pair(textured(), each.astype(np.float32)))
        for each in (everywhere, spot)
    )
    assert peaked > 1.5 * usual


def test_reversed_light_and_dark_are_no_likeness():
    assert similarity.least_structure(pair(textured(), 100 - textured())) < 0


def test_eyes_are_looked_at_where_they_are():
    after = textured()
    after[20:36, 16:48] = 50
    assert similarity.eyes_error(pair(textured(), after), EYES) > 0.5
    elsewhere = EYES + np.array([0, 24])
    assert similarity.eyes_error(pair(textured(), after), elsewhere) < 0.2
    outside = np.array([(0.0, 0.0), (1.0, 0.0)])
    assert similarity.eyes_error(pair(textured(), after), outside) == 0


@pytest.mark.parametrize("times", [1, 4])
def test_the_size_at_which_it_is_measured_does_not_depend_on_the_working_size(times):
    box, window = (20, 8, 60, 48), (10, 0, 70, 60)
    cut = crop(picture(80, 64), region(box), window, (60 * times, 60 * times))
    found, scale = measured_pair(patch(cut), 40.0 * times)
    assert found.width <= similarity.WIDTH_PX
    assert found.width == pytest.approx(40 * times * scale)
    assert found.pixel == pytest.approx(times * scale)
    assert found.before.shape[:2] == found.alpha.shape == (round(60 * times * scale),) * 2
