import pytest

from autofix.engines.base import ModelInfo, SizeRule
from autofix.settings.model_sections import Inpaint
from autofix.stages.strength import strength_of, tuned_strength
from tests.build import detection

TABLE = ((20.0, 0.6), (60.0, 0.4), (100.0, 0.2))
FACTS = ModelInfo("m", "m1", SizeRule(64), tuned=TABLE)


def strength(box, picture_wh=(1000, 1000), cycle=0, **settings):
    return strength_of(detection(box), picture_wh, Inpaint(**settings), FACTS, cycle=cycle)


def test_a_stated_strength_holds_for_every_face():
    assert strength((0, 0, 10, 10), strength=0.37) == 0.37


@pytest.mark.parametrize(
    ("side", "expected"), [(5, 0.6), (20, 0.6), (40, 0.5), (80, 0.3), (300, 0.2)]
)
def test_auto_is_tuned_to_the_shorter_side(side, expected):
    assert tuned_strength(TABLE, side) == pytest.approx(expected)
    assert strength((0, 0, side, side * 1.5)) == pytest.approx(expected)


def test_auto_is_rounded_so_that_faces_of_like_size_share_batches():
    assert strength((0, 0, 41, 60)) == strength((0, 0, 43, 60)) == 0.5


def test_a_table_of_one_entry_is_one_strength():
    assert tuned_strength(((0.0, 0.4),), 10) == tuned_strength(((0.0, 0.4),), 1000) == 0.4


# ADetailer's own test values, to the digits it compares.
@pytest.mark.parametrize(
    ("power", "base", "picture", "expected"),
    [
        (0.001, 0.5, (200, 200), 0.49985618),
        (1.5, 0.3, (200, 200), 0.19484572),
        (-0.5, 0.5, (1000, 1000), 0.50251891),
    ],
)
def test_dynamic_denoising_is_adetailer_s(power, base, picture, expected):
    got = strength((0, 0, 100, 100), picture, strength=base, dynamic_power=power)
    assert got == pytest.approx(expected, abs=2e-5)


def test_dynamic_denoising_stays_within_0_and_1():
    almost = (0, 0, 970, 970)
    assert strength(almost, strength=0.4, dynamic_power=-5) == 1.0
    assert strength((0, 0, 2000, 2000), strength=0.4, dynamic_power=0.5) < 0.001
    assert strength((-50, -50, 2000, 2000), strength=0.4, dynamic_power=1.5) < 0.001


def test_each_cycle_has_its_strength_and_the_last_repeats():
    got = [strength((0, 0, 50, 50), cycle=n, strength=(0.5, 0.3)) for n in range(4)]
    assert got == [0.5, 0.3, 0.3, 0.3]
