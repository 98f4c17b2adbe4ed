import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autofix.geometry import (
    Window,
    compose_affine,
    crop_box,
    expand_box,
    grow_box,
    inverse_affine,
    map_point,
)
from tests.build import picture, smooth
from tests.detectors.photos import photo

LEANS = (20.0, -37.5, 90.0, 135.0, 180.0, -90.0)


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


def test_a_box_grown_to_a_size_keeps_what_it_has():
    assert grow_box((0, 0, 10, 40), least_wh=(20, 20), picture_wh=(100, 100)) == (0, 0, 20, 40)
    assert grow_box((0, 0, 10, 4), least_wh=(16, 8), picture_wh=(10, 4)) == (-3, -2, 13, 6)


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
    assert map_point(window.to_working, -10, 20) == (0, 0)
    assert map_point(window.to_working, 90, 70) == pytest.approx((512, 256))
    assert map_point(window.to_picture, *map_point(window.to_working, 3.25, 44)) == pytest.approx(
        (3.25, 44)
    )
    assert map_point(window.to_picture, 512, 256) == pytest.approx((90, 70))
    assert window.scale == pytest.approx(5.12)
    assert window.bounds_xyxy == window.box_xyxy
    assert window.corners == ((-10, 20), (90, 20), (90, 70), (-10, 70))


def test_a_turned_window_leans_clockwise():
    window = Window((10, 20, 50, 40), (80, 40), 90)  # centre 30, 30
    assert window.corners[0] == pytest.approx((40, 10))  # its top left, at the picture's right
    assert window.corners[1] == pytest.approx((40, 50))
    assert window.bounds_xyxy == (20, 10, 40, 50)
    assert map_point(window.to_working, 40, 10) == pytest.approx((0, 0), abs=1e-9)
    assert map_point(window.to_picture, 80, 40) == pytest.approx((20, 50))
    assert Window((0, 0, 10, 10), (8, 8), 45).bounds_xyxy == (-3, -3, 13, 13)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    origin=st.tuples(st.integers(-9000, 9000), st.integers(-9000, 9000)),
    extent=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    size_wh=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    degrees=st.floats(-180, 180),
    point=st.tuples(st.floats(-9000, 9000), st.floats(-9000, 9000)),
)
def test_any_window_maps_there_and_back(origin, extent, size_wh, degrees, point):
    box = (*origin, origin[0] + extent[0], origin[1] + extent[1])
    window = Window(box, size_wh, degrees)
    back = map_point(window.to_picture, *map_point(window.to_working, *point))
    assert back == pytest.approx(point, abs=1e-6)
    assert compose_affine(window.to_picture, window.to_working) == pytest.approx(
        (1, 0, 0, 0, 1, 0), abs=1e-6
    )
    assert inverse_affine(window.to_working) == pytest.approx(window.to_picture, rel=1e-6, abs=1e-6)
    x0, y0, x1, y1 = window.bounds_xyxy
    corners = ((0, 0), (size_wh[0], 0), size_wh, (0, size_wh[1]))
    for own, corner in zip(window.corners, corners, strict=True):
        assert map_point(window.to_picture, *corner) == pytest.approx(own, abs=1e-6)
        assert x0 - 1e-5 <= own[0] <= x1 + 1e-5
        assert y0 - 1e-5 <= own[1] <= y1 + 1e-5


def test_a_cut_and_its_way_back_change_next_to_nothing():
    seen = smooth(120, 90)
    window = Window((20, 10, 84, 74), (192, 192))
    back = window.uncut(window.cut(seen.pixels).astype(np.float32), window.box_xyxy)
    assert np.abs(back - seen.pixels[10:74, 20:84].astype(np.float32)).max() <= 2


@pytest.mark.parametrize("degrees", LEANS)
@pytest.mark.parametrize("size_wh", [(60, 60), (100, 100), (300, 300)])
def test_a_turned_cut_and_its_way_back_change_next_to_nothing(degrees, size_wh):
    seen = smooth(240, 200)
    window = Window((50, 40, 170, 160), size_wh, degrees)
    inner = (90, 80, 130, 120)
    back = window.uncut(window.cut(seen.pixels).astype(np.float32), inner)
    assert np.abs(back - seen.pixels[80:120, 90:130].astype(np.float32)).max() <= 2


@pytest.mark.parametrize("degrees", LEANS)
def test_a_turned_cut_is_as_sharp_as_an_upright_one(degrees):
    """A photograph through the window and back: not much more is lost than without the turn."""
    pixels, box, inner = photo("astronaut"), (114, 22, 336, 244), (190, 70, 260, 170)

    def lost(turn):
        window = Window(box, (512, 512), turn)
        back = window.uncut(window.cut(pixels).astype(np.float32), inner)
        x0, y0, x1, y1 = inner
        return np.abs(back - pixels[y0:y1, x0:x1]).mean()

    assert lost(0.0) < 1.2
    assert lost(degrees) < 1.6


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_quarter_turn_at_its_own_size_is_exact(degrees, turns):
    seen = picture(60, 50)
    cut = Window((12, 8, 44, 40), (32, 32), degrees).cut(seen.pixels)
    assert np.array_equal(cut, np.rot90(seen.pixels[8:40, 12:44], turns))


def test_shrinking_does_not_alias_turned_or_not():
    """Stripes two px wide, shrunk four times, are grey."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    for degrees in (0.0, 30.0, 90.0):
        cut = Window((100, 100, 300, 300), (50, 50), degrees).cut(stripes)[4:-4, 4:-4]
        assert np.abs(cut.astype(int) - 127).max() < 4, degrees


def test_a_turned_mask_stays_where_it_is():
    full = np.zeros((200, 240), np.uint8)
    full[90:110, 100:140] = 255
    window = Window((60, 40, 180, 160), (240, 240), 25)
    x0, y0, x1, y1 = window.bounds_xyxy
    shown = window.cut_mask(full[max(y0, 0) : y1, max(x0, 0) : x1])
    assert shown.shape == (240, 240)
    back = window.uncut(shown[..., None].astype(np.float32), (60, 40, 180, 160))[..., 0]
    old = full[40:160, 60:180].astype(float)
    assert np.abs(back - old).mean() < 1.5
    assert np.array_equal(back[54:66, 44:76] > 200, old[54:66, 44:76] > 0)
    for corner in ((100, 90), (140, 90), (140, 110), (100, 110)):
        x, y = map_point(window.to_working, *corner)
        assert 20 < shown[round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3].mean() < 110


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_shrunk_mask_keeps_its_share(degrees):
    full = np.zeros((300, 300), np.uint8)
    full[100:200, 120:180] = 255
    window = Window((50, 50, 250, 250), (40, 40), degrees)
    x0, y0, x1, y1 = window.bounds_xyxy
    shown = window.cut_mask(full[y0:y1, x0:x1])
    assert shown.sum() / 255 * 25 == pytest.approx(100 * 60, rel=0.02)


def test_a_cut_at_its_own_size_is_exact():
    seen = picture(40, 30)
    window = Window((4, 5, 24, 25), (20, 20))
    assert np.array_equal(window.cut(seen.pixels), seen.pixels[5:25, 4:24])
    values = np.random.default_rng(0).random((20, 20, 3), np.float32)
    assert np.array_equal(window.uncut(values, (4, 5, 24, 25)), values)
    assert np.array_equal(window.uncut(values, (6, 7, 10, 9)), values[2:4, 2:6])


@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_beyond_the_window_the_edge_is_repeated(degrees):
    values = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    laid = Window((5, 5, 8, 8), (3, 3), degrees).uncut(values, (3, 5, 9, 10))[..., 0]
    expected = np.pad(np.rot90(values[..., 0], 2 if degrees else 0), ((0, 2), (2, 1)), mode="edge")
    assert laid == pytest.approx(expected, abs=1e-4)


def test_outside_the_picture_it_is_reflected():
    pixels = np.arange(5, dtype=np.uint8)[None, :, None].repeat(3, 2)  # 5 x 1: 0 1 2 3 4
    cut = Window((-3, 0, 8, 1), (11, 1)).cut(pixels)
    assert cut[0, :, 0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    assert Window((-2, -2, 3, 3), (5, 5)).cut(pixels[:, :1]).max() == 0  # a picture of one pixel
    turned = Window((-3, 0, 8, 1), (11, 1), 180).cut(pixels)
    assert turned[0, :, 0].tolist() == [1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    picture_wh=st.tuples(st.integers(1, 9000), st.integers(1, 30)),
    origin=st.tuples(st.integers(-500, 9000), st.integers(-500, 500)),
    extent=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    size_wh=st.tuples(st.integers(1, 96), st.integers(1, 96)),
    degrees=st.sampled_from([0.0, 16.0, 45.0, -90.0, 180.0, 123.4]),
)
@example((9000, 30), (0, -700), (1400, 1400), (64, 64), 45.0)
@example((1, 1), (0, 0), (1, 1), (64, 64), 30.0)
def test_any_window_cuts_any_picture(picture_wh, origin, extent, size_wh, degrees):
    window = Window((*origin, origin[0] + extent[0], origin[1] + extent[1]), size_wh, degrees)
    pixels = np.full((picture_wh[1], picture_wh[0], 3), 77, np.uint8)
    assert np.array_equal(window.cut(pixels), np.full((size_wh[1], size_wh[0], 3), 77))
    x0, y0, x1, y1 = window.bounds_xyxy
    shown = window.cut_mask(np.zeros((y1 - y0, x1 - x0), np.uint8))
    assert shown.shape == (size_wh[1], size_wh[0])
    assert not shown.any()
    onto = (0, 0, min(picture_wh[0], 50), picture_wh[1])
    back = window.uncut(np.full((size_wh[1], size_wh[0], 3), 0.5, np.float32), onto)
    assert back.shape == (onto[3], onto[2], 3)
    assert back == pytest.approx(0.5, abs=1e-3)


def test_a_window_without_area_is_refused():
    with pytest.raises(ValueError, match=r"at least 1 x 1, but got box \(5, 5, 5, 9\)"):
        Window((5, 5, 5, 9), (64, 64))


def test_the_scale_of_a_turned_window_is_that_of_its_box():
    assert Window((0, 0, 100, 100), (64, 64), 45).scale == 0.64
    assert math.dist(*Window((0, 0, 100, 50), (64, 32), 33).corners[:2]) == pytest.approx(100)
