import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.recipe import CropSection
from autofix.stages.crop import crop
from tests.build import picture, region


def test_the_crop_shows_the_golden_window_of_a1111():
    seen = picture(1000, 800)
    found = region((390, 290, 510, 430))  # as blurred by 4 px
    cut = crop(seen, found, CropSection(padding=32), size_wh=(512, 512))
    assert cut.window.box_xyxy == (348, 258, 552, 462)
    assert cut.pixels.shape == (512, 512, 3)
    assert cut.mask.shape == (512, 512)
    assert cut.mask[256, 256] == 255
    assert cut.mask[:, :90].max() == 0


def test_padding_can_be_a_share_of_the_box():
    seen = picture(200, 200)
    small = crop(seen, region((95, 80, 105, 100)), CropSection(padding="25%"), size_wh=(96, 96))
    large = crop(seen, region((80, 80, 120, 160)), CropSection(padding="25%"), size_wh=(96, 96))
    assert small.window.box_xyxy == (85, 75, 115, 105)
    assert large.window.box_xyxy == (40, 60, 160, 180)


def test_pixels_and_mask_belong_together():
    seen = picture(64, 64)
    cut = crop(seen, region((20, 24, 30, 34)), CropSection(padding=3), size_wh=(16, 16))
    assert cut.window.box_xyxy == (17, 21, 33, 37)
    assert np.array_equal(cut.pixels, seen.pixels[21:37, 17:33])
    assert np.array_equal(np.argwhere(cut.mask).min(0), [3, 3])


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    size_wh=st.tuples(st.integers(1, 500), st.integers(1, 120)),
    box=st.tuples(
        st.integers(0, 499), st.integers(0, 119), st.integers(1, 500), st.integers(1, 120)
    ),
    padding=st.sampled_from([0, 4, "32%", "400%"]),
    working=st.sampled_from([(64, 64), (96, 64), (64, 160)]),
)
def test_any_region_can_be_cropped(size_wh, box, padding, working):
    x0, y0 = min(box[0], size_wh[0] - 1), min(box[1], size_wh[1] - 1)
    inside = (x0, y0, min(x0 + box[2], size_wh[0]), min(y0 + box[3], size_wh[1]))
    cut = crop(picture(*size_wh), region(inside), CropSection(padding=padding), size_wh=working)
    assert cut.pixels.shape == (working[1], working[0], 3)
    assert cut.mask.max() > 0
    wide, high = cut.window.box_wh
    assert wide / high == pytest.approx(working[0] / working[1], rel=max(2 / wide, 2 / high))
