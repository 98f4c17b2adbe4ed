from dataclasses import replace

import numpy as np
import pytest

from autofix.values import (
    Outcome,
    Patch,
    Picture,
    RegionResult,
    SoftMask,
)
from tests.build import crop, patch, picture, region, smooth


def test_a_picture_cannot_be_written_to():
    seen = picture()
    with pytest.raises(ValueError, match="read-only"):
        seen.pixels[0, 0] = 0


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_a_picture_of_another_kind_is_refused(pixels):
    with pytest.raises(ValueError, match="must be uint8 of shape height x width x 3, but got"):
        Picture(pixels)


def test_other_pixels_must_have_the_same_size():
    with pytest.raises(ValueError, match="must have shape"):
        picture(8, 8).with_pixels(picture(8, 9).pixels)


def test_a_mask_must_fill_its_box():
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(2, 3\), but got uint8"):
        SoftMask((0, 0, 3, 2), np.zeros((3, 2), np.uint8))


def test_a_mask_is_trimmed_to_what_it_covers():
    values = np.zeros((6, 8), np.uint8)
    values[2:4, 3:7] = 128
    trimmed = SoftMask((10, 20, 18, 26), values).trim()
    assert trimmed.box_xyxy == (13, 22, 17, 24)
    assert trimmed.area == pytest.approx(8 * 128 / 255)
    nothing = SoftMask((10, 20, 18, 26), values * 0).trim()
    assert nothing.empty
    assert nothing.box_xyxy == (10, 20, 10, 20)


def test_a_mask_is_seen_through_any_box():
    mask = SoftMask((2, 2, 4, 4), np.full((2, 2), 255, np.uint8))
    assert mask.within((3, 3, 6, 5)).tolist() == [[255, 0, 0], [0, 0, 0]]
    assert mask.within((-1, -1, 1, 1)).tolist() == [[0, 0], [0, 0]]


def test_the_first_reason_to_skip_stays():
    assert region((0, 0, 2, 2)).with_skip("a").with_skip("b").skip == "a"


def test_a_patch_must_have_its_crops_shape():
    cut = crop(picture(), region((8, 8, 24, 24)), (8, 8, 24, 24), (32, 32))
    with pytest.raises(ValueError, match=r"crop's shape \(32, 32, 3\), but got float32"):
        Patch(cut, np.zeros((16, 16, 3), np.float32), seed=0, strength=0.4)
    assert patch(cut).pixels.max() <= 1


def test_an_outcome_tells_changed_from_failed_from_nothing():
    seen, found = picture(), region((0, 0, 4, 4))
    assert not Outcome(seen).changed
    assert not Outcome(seen).failed
    assert Outcome(seen, (RegionResult(found, "fixed"),)).changed
    kept = Outcome(seen, (RegionResult(found, "kept", "why"), RegionResult(found, "failed", "why")))
    assert not kept.changed
    assert kept.failed


def test_a_patch_is_pasted_through_its_own_mask_where_it_has_one():
    made = patch(crop(smooth(), region((20, 16, 44, 40)), (10, 6, 54, 46), (44, 40)))
    own = (made.crop.mask // 2).astype(np.uint8)
    assert made.paste_mask is made.crop.mask
    assert np.array_equal(replace(made, mask=own).paste_mask, own)
