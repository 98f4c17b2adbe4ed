import numpy as np
import pytest
from skimage import color

from autofix.imaging.colour import ciede2000, lab_to_rgb, rgb_to_lab

PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""From the supplementary data of Sharma, Wu and Dalal (2005)."""


def colours():
    """Random ones, and all greys."""
    random = np.random.default_rng(0).random((4096, 3), np.float32)
    return np.vstack([random, np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 3, 1)])


def test_lab_is_that_of_scikit_image():
    assert rgb_to_lab(colours()) == pytest.approx(color.rgb2lab(colours()), abs=0.02)


def test_there_and_back_loses_no_hundredth_of_a_level():
    assert lab_to_rgb(rgb_to_lab(colours())) * 255 == pytest.approx(colours() * 255, abs=0.01)


def test_what_no_screen_shows_is_cut():
    black, white = lab_to_rgb(np.array([(-20, 0, 0), (130, 0, 0)], np.float32))
    assert black.max() == 0
    assert white == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("one", "other", "expected"), PUBLISHED)
def test_ciede2000_gives_the_published_values(one, other, expected):
    one, other = np.array(one), np.array(other)
    assert ciede2000(one, other) == pytest.approx(expected, abs=1e-4)
    assert ciede2000(other, one) == pytest.approx(expected, abs=1e-4)


def test_ciede2000_is_that_of_scikit_image():
    one = rgb_to_lab(colours())
    near = one + np.random.default_rng(1).normal(0, 3, one.shape).astype(np.float32)
    for other in (near, one[::-1]):
        expected = color.deltaE_ciede2000(one, other)
        assert ciede2000(one, other) == pytest.approx(expected, abs=1e-3)
