import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.window import Window, apply, apply_box, crop_box, expand_box
from tests.build import picture, smooth


def test_only_masked_has_the_golden_values_of_a1111():
    """Mask (400,300)-(499,419) in 1000x800, blur 4, padding 32."""
    box = crop_box((390, 290, 510, 430), pad_px=32, picture_wh=(1000, 800))
    assert box == (358, 258, 542, 462)
    square = expand_box(box, aspect_wh=(512, 512), picture_wh=(1000, 800))
    assert square == (348, 258, 552, 462)
    tall = expand_box(box, aspect_wh=(832, 1216), picture_wh=(1000, 800))
    assert tall == (358, 226, 542, 494)


def test_a_box_at_the_edge_moves_inside():
    assert expand_box((0, 0, 10, 40), aspect_wh=(1, 1), picture_wh=(100, 100)) == (0, 0, 40, 40)
    assert expand_box((90, 0, 100, 40), aspect_wh=(1, 1), picture_wh=(100, 100)) == (60, 0, 100, 40)


def test_a_box_too_wide_for_the_picture_reaches_out_instead_of_stretching():
    """A1111 gives (0,0,900,300) here, three times wider than high, for a square."""
    box = expand_box((0, 0, 900, 100), aspect_wh=(512, 512), picture_wh=(1000, 300))
    assert box == (0, -300, 900, 600)


boxes = st.tuples(
    st.integers(0, 8999), st.integers(0, 8999), st.integers(1, 9000), st.integers(1, 9000)
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    picture_wh=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    box=boxes,
    pad_px=st.integers(0, 500),
    aspect=st.sampled_from([(512, 512), (832, 1216), (1536, 640), (64, 4096)]),
)
def test_any_box_is_held_and_has_its_aspect(picture_wh, box, pad_px, aspect):
    x0, y0 = min(box[0], picture_wh[0] - 1), min(box[1], picture_wh[1] - 1)
    x1, y1 = min(x0 + box[2], picture_wh[0]), min(y0 + box[3], picture_wh[1])
    grown = crop_box((x0, y0, x1, y1), pad_px=pad_px, picture_wh=picture_wh)
    left, top, right, bottom = expand_box(grown, aspect_wh=aspect, picture_wh=picture_wh)
    assert left <= grown[0] <= x0 < x1 <= grown[2] <= right
    assert top <= grown[1] <= y0 < y1 <= grown[3] <= bottom
    width, height = right - left, bottom - top
    assert abs(width * aspect[1] / aspect[0] - height) <= max(1, aspect[1] / aspect[0]) + 1e-6
    for low, high, limit in ((left, right, picture_wh[0]), (top, bottom, picture_wh[1])):
        assert (low >= 0 and high <= limit) or high - low > limit


def test_the_maps_are_inverse_and_meet_the_corners():
    window = Window((-10, 20, 90, 70), (512, 256))
    assert apply(window.to_working, -10, 20) == (0, 0)
    assert apply(window.to_working, 90, 70) == pytest.approx((512, 256))
    assert apply(window.to_picture, *apply(window.to_working, 3.25, 44)) == pytest.approx(
        (3.25, 44)
    )
    assert apply_box(window.to_picture, (0, 0, 512, 256)) == pytest.approx((-10, 20, 90, 70))
    assert window.scale == pytest.approx(5.12)


def test_a_cut_and_its_way_back_change_next_to_nothing():
    seen = smooth(120, 90)
    window = Window((20, 10, 84, 74), (192, 192))
    back = window.uncut(window.cut(seen.pixels).astype(np.float32))
    assert np.abs(back - seen.pixels[10:74, 20:84].astype(np.float32)).max() <= 2


def test_a_cut_at_its_own_size_is_exact():
    seen = picture(40, 30)
    window = Window((4, 5, 24, 25), (20, 20))
    assert np.array_equal(window.cut(seen.pixels), seen.pixels[5:25, 4:24])
    values = np.zeros((20, 20, 3), np.float32)
    assert window.uncut(values) is values


def test_outside_the_picture_it_is_reflected():
    pixels = np.arange(5, dtype=np.uint8)[None, :, None].repeat(3, 2)  # 5 x 1: 0 1 2 3 4
    cut = Window((-3, 0, 8, 1), (11, 1)).cut(pixels)
    assert cut[0, :, 0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    assert Window((-2, -2, 3, 3), (5, 5)).cut(pixels[:, :1]).max() == 0  # a picture of one pixel


def test_a_window_without_area_is_refused():
    with pytest.raises(ValueError, match=r"at least 1 x 1, but got box \(5, 5, 5, 9\)"):
        Window((5, 5, 5, 9), (64, 64))
