import cv2
import numpy as np
import pytest

from autofix.imaging.grain import OPPONENT, SIDE_PX, grain_of, missing_grain, synthesise_grain
from autofix.values import SoftMask
from tests.detectors.photos import photo

HIGH, WIDE = 240, 320
NO_MASK = SoftMask((0, 0, 0, 0), np.zeros((0, 0), np.uint8))


def grainy(*, sigma=4.0, blur=0.0, colour=0.3, seed=0):
    """A gradient with a dark bar in it, under film grain."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, (HIGH, WIDE, 1)) + colour * random.normal(0, 1, (HIGH, WIDE, 3))
    if blur:
        noise = cv2.GaussianBlur(noise, (0, 0), blur)
    y, x = np.mgrid[0:HIGH, 0:WIDE]
    scene = np.stack([80 + x / 4, 90 + y / 4, 120 + 0 * x], -1)
    scene[100:120] -= 50
    return (scene + noise / noise.std() * sigma).round().clip(0, 255).astype(np.uint8)


def strength(grain):
    """The standard deviation of each opponent axis."""
    return np.sqrt((grain**2).reshape(-1, 3).mean(axis=0))


@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_grain_is_found_and_made_again_as_strong_as_coarse_and_as_colourful(blur):
    pixels = grainy(blur=blur)
    noise = pixels[:96].astype(np.float32)
    noise = (noise - cv2.GaussianBlur(noise, (0, 0), 6)) @ OPPONENT
    made = synthesise_grain(grain_of(pixels, NO_MASK), (200, 150), seed=5)
    assert made.shape == (150, 200, 3)
    assert strength(made) == pytest.approx(strength(noise), rel=0.15)

    def neighbours(field):
        grey = field[..., 0]
        return (grey[:, 1:] * grey[:, :-1]).mean() / (grey**2).mean()

    assert neighbours(made) == pytest.approx(neighbours(noise), abs=0.1)


def test_the_same_seed_makes_the_same_grain_and_another_another():
    grain = grain_of(grainy(), NO_MASK)
    one, again, other = (synthesise_grain(grain, (40, 40), seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_it_is_not_taken_from_where_the_mask_is():
    pixels = np.full((HIGH, WIDE, 3), 120, np.uint8)
    pixels[40:200, 60:260] = grainy()[40:200, 60:260]
    assert len(grain_of(pixels, SoftMask((60, 40, 260, 200), np.ones((160, 200), np.uint8)))) == 0


@pytest.mark.parametrize("size", [(8, 8), (12, 300), (40, 40)])
def test_a_picture_too_small_to_tell_has_none(size):
    assert len(grain_of(grainy()[: size[0], : size[1]], NO_MASK)) == 0


def test_a_clean_picture_has_none_nor_has_a_texture():
    y, x = np.mgrid[0:HIGH, 0:WIDE]
    clean = np.stack([80 + x / 4, 90 + y / 4, 120 + 0 * x], -1)
    noise = np.random.default_rng(2).normal(0, 1, clean.shape)
    bricks = clean + 6 * ((x // 9 + y // 5) % 2)[..., None]
    cloth = clean + 60 * cv2.GaussianBlur(noise, (0, 0), 4)
    for pixels in (clean, bricks, cloth, clean + 20 * noise):
        assert len(grain_of(pixels.clip(0, 255).astype(np.uint8), NO_MASK)) == 0


def test_photographs_have_it_only_where_film_was_used():
    found = {
        name: len(grain_of(photo(name), NO_MASK)) > 0
        for name in ("hopper", "astronaut", "bus", "coffee", "chelsea")
    }
    assert found == {
        "hopper": True, "astronaut": True, "bus": False, "coffee": False, "chelsea": False
    }  # fmt: skip


def lack(old, new, alpha=1.0):
    grain = grain_of(grainy(), NO_MASK)
    covered = np.full((96, 96), round(255 * alpha), np.uint8)
    old, new = (each[:96, :96].astype(np.float32) for each in (old, new))
    return missing_grain(grain, old, new, covered).mean(axis=(0, 1))


def test_what_is_missing_is_what_the_patch_has_lost():
    clean = grainy(sigma=0)
    assert lack(grainy(), clean)[0] == pytest.approx(1, abs=0.15)
    assert lack(grainy(), grainy())[0] < 0.3
    assert lack(grainy(), grainy(sigma=2))[0] == pytest.approx(np.sqrt(0.75), abs=0.15)
    assert not lack(clean, clean).any()


def test_half_covered_two_grains_average_out_and_one_grain_does_not():
    assert lack(grainy(), grainy(seed=8), 0.5)[0] == pytest.approx(np.sqrt(0.5), abs=0.15)
    assert lack(grainy(), grainy(), 0.5)[0] < 0.3


@pytest.mark.parametrize(("size", "alpha"), [(6, 1.0), (40, 0.2)])
def test_where_there_is_nothing_to_measure_nothing_is_missing(size, alpha):
    part = grainy()[:size, :size].astype(np.float32)
    grain = np.ones((4, SIDE_PX, SIDE_PX, 3), np.float32)
    covered = np.full((size, size), round(255 * alpha), np.uint8)
    assert not missing_grain(grain, part, part * 0, covered).any()
