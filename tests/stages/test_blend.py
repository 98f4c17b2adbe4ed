import numpy as np
import pytest

from autofix.recipe import Blend
from autofix.stages.blend import RING_LIMIT, blend
from tests.build import crop, patch, picture, region, smooth

BOX, WINDOW = (20, 16, 36, 32), (12, 8, 44, 40)


def soft_region():
    """A mask that is full in the middle and falls off to 0 two pixels before its box ends."""
    ramp = np.clip(np.minimum(np.arange(16), np.arange(16)[::-1]) - 1, 0, 4) / 4
    return region(BOX, values=(np.outer(ramp, ramp) * 255).astype(np.uint8))


@pytest.mark.parametrize("match_colour", [True, False])
def test_outside_the_soft_mask_every_pixel_is_bit_identical(match_colour):
    seen, found = picture(64, 48), soft_region()
    cut = crop(seen, found, WINDOW, (96, 96))
    noise = np.random.default_rng(1).random((96, 96, 3), np.float32)
    fixed = blend(seen, patch(cut, noise), Blend(match_colour=match_colour))
    changed = (fixed.pixels != seen.pixels).any(axis=2)
    covered = found.mask.within((0, 0, 64, 48)) > 0
    assert not changed[~covered].any()
    assert changed[covered].mean() > 0.9


def test_inside_a_full_mask_the_patch_alone_is_seen():
    seen = picture(64, 48)
    cut = crop(seen, region(BOX), BOX, (16, 16))
    fixed = blend(seen, patch(cut, (0.2, 0.4, 0.6)), Blend(match_colour=False))
    assert (fixed.pixels[16:32, 20:36] == (51, 102, 153)).all()


def test_a_half_covered_pixel_is_half_of_each():
    seen = smooth()
    half = region(BOX, values=np.full((16, 16), 51, np.uint8))  # one fifth
    fixed = blend(seen, patch(crop(seen, half, BOX, (16, 16)), 1.0), Blend(match_colour=False))
    expected = seen.pixels[16:32, 20:36] * 0.8 + 255 * 0.2
    assert np.abs(fixed.pixels[16:32, 20:36] - expected).max() <= 0.5


def test_a_patch_that_shows_the_same_changes_next_to_nothing():
    seen = smooth()
    cut = crop(seen, soft_region(), WINDOW, (96, 96))
    fixed = blend(seen, patch(cut), Blend())
    assert np.abs(fixed.pixels.astype(int) - seen.pixels).max() <= 1


def test_a_colour_cast_is_taken_out_by_the_ring():
    """Asks 8 to 10: a brighter square round the face."""
    seen = smooth()
    cut = crop(seen, soft_region(), WINDOW, (96, 96))
    cast = cut.pixels.astype(np.float32) / 255 + np.array((0.06, 0.0, -0.05), np.float32)
    plain = blend(seen, patch(cut, cast), Blend(match_colour=False))
    matched = blend(seen, patch(cut, cast), Blend())
    assert np.abs(plain.pixels.astype(int) - seen.pixels).max() > 10
    assert np.abs(matched.pixels.astype(int) - seen.pixels).max() <= 2


def test_the_shift_is_bounded():
    seen = smooth()
    cut = crop(seen, soft_region(), WINDOW, (96, 96))
    fixed = blend(seen, patch(cut, 0.0), Blend())
    assert fixed.pixels[24, 28].max() <= RING_LIMIT


def test_a_mask_that_fills_the_crop_has_no_ring_and_is_pasted_as_it_is():
    seen = smooth()
    fixed = blend(seen, patch(crop(seen, region(BOX), BOX, (16, 16)), 0.0), Blend())
    assert fixed.pixels[24, 28].tolist() == [0, 0, 0]


def test_a_crop_that_reaches_outside_the_picture_is_pasted_where_it_belongs():
    seen = picture(40, 10)
    found = region((5, 2, 11, 8))
    cut = crop(seen, found, (0, -5, 20, 15), (20, 20))
    fixed = blend(seen, patch(cut), Blend())
    assert np.array_equal(fixed.pixels, seen.pixels)
