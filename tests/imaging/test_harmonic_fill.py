import numpy as np
import pytest

from autofix.imaging.harmonic_fill import harmonic_surface


def plane(height, width):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y, 10 + 0 * x], -1)


def test_nothing_known_gives_zeros():
    assert not harmonic_surface(plane(9, 7), np.zeros((9, 7), np.float32), tension=0.1).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (48, 64), (33, 17)])
def test_one_known_value_is_the_whole_surface(shape):
    weight = np.zeros(shape, np.float32)
    weight[0, 0] = 1
    surface = harmonic_surface(np.full((*shape, 3), 7, np.float32), weight, tension=0.1)
    assert surface == pytest.approx(7, abs=1e-3)


def test_a_plane_known_at_the_rim_is_a_plane_inside():
    """Planes are harmonic."""
    values, weight = plane(48, 64), np.ones((48, 64), np.float32)
    weight[12:36, 16:48] = 0
    hidden = np.where(weight[..., None] > 0, values, 999)
    assert harmonic_surface(hidden, weight, tension=0.02) == pytest.approx(values, abs=1.0)


def test_inside_it_lies_between_the_values_of_the_rim():
    random = np.random.default_rng(0)
    values = random.uniform(-1, 1, (40, 40, 3)).astype(np.float32)
    weight = np.zeros((40, 40), np.float32)
    weight[0] = weight[-1] = 1
    surface = harmonic_surface(values, weight, tension=0.1)
    assert np.abs(surface).max() <= 1
    assert surface[20].std() < 0.2  # and far from it, detail has died away


def test_tension_smooths_what_is_known():
    noise = np.random.default_rng(1).normal(0, 1, (32, 32, 3)).astype(np.float32)
    loose, tight = (
        harmonic_surface(noise, np.ones((32, 32), np.float32), tension=tension).std()
        for tension in (0.01, 5)
    )
    assert loose > 0.9
    assert tight < 0.4
