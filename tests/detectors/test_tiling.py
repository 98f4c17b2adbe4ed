from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.detection import Detection
from detectors.tiling import (
    Window,
    cut_view,
    halve_repeatedly,
    is_cut,
    pyramid_windows,
    tile_windows,
    window_around,
)

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))
OVERLAPS = st.floats(0, 0.75)


def covered(windows, size_wh):
    """How many windows show each pixel: height x width."""
    count = np.zeros((size_wh[1], size_wh[0]), dtype=int)
    for x0, y0, x1, y1 in windows:
        count[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] += 1
    return count


@given(SIZES, st.integers(12, 200), st.floats(1.2, 3), OVERLAPS)
@example((1, 1), 160, 1.6, 0.5)
@example((300, 1), 12, 1.6, 0.5)
def test_levels_of_a_pyramid_show_every_pixel(size, smallest, shrink, overlap):
    windows = pyramid_windows(size, smallest=smallest, shrink=shrink, overlap=overlap)
    sides = [window.size_wh[0] for window in windows]
    assert sides == sorted(sides, reverse=True)
    for side in set(sides):
        level = [window for window in windows if window.size_wh == (side, side)]
        assert covered(level, size).min() >= 1
        assert side == max(size) or side >= smallest - 0.5
    assert len(windows) == len(set(windows)) == sum(w.size_wh[0] == w.size_wh[1] for w in windows)


@given(SIZES, st.integers(12, 200), st.floats(1.2, 3))
@example((160, 100), 160, 1.6)
@example((250, 100), 50, 5.0)
def test_even_pyramid_ends_at_the_smallest_and_never_shrinks_faster(size, smallest, shrink):
    windows = pyramid_windows(size, smallest=smallest, shrink=shrink, even=True)
    sides = list(dict.fromkeys(window.size_wh[0] for window in windows))
    assert sides[-1] == min(smallest, max(size)) or max(size) < smallest
    for side, smaller in itertools.pairwise(sides):
        assert side <= smaller * shrink + shrink  # sides are whole px
        level = [window for window in windows if window.size_wh == (smaller, smaller)]
        assert covered(level, size).min() >= 1


@given(SIZES, st.integers(8, 120), st.floats(0, 1), st.floats(0, 1))
def test_window_around_a_box_has_it_in_its_middle_or_is_moved_into_the_picture(size, side, u, v):
    x, y = u * size[0], v * size[1]
    window = window_around((x - 3, y - 3, x + 3, y + 3), side, size_wh=size)
    assert window.size_wh == (side, side)
    for low, high, middle, length in zip(window[:2], window[2:], (x, y), size, strict=True):
        if side > length:
            assert low == (length - side) // 2
        else:
            assert 0 <= low < high <= length
            assert abs((low + high) / 2 - middle) <= 0.5 or low == 0 or high == length


@given(SIZES, st.integers(1, 200), OVERLAPS)
@example((1, 1), 1, 0.0)
@example((300, 1), 7, 0.5)
def test_tiles_show_every_pixel_and_stay_inside(size, tile, overlap):
    windows = tile_windows(size, tile=tile, overlap=overlap)
    assert covered(windows, size).min() >= 1
    assert {window.size_wh for window in windows} == {(min(tile, size[0]), min(tile, size[1]))}
    assert all(w.x0 >= 0 and w.y0 >= 0 and w.x1 <= size[0] and w.y1 <= size[1] for w in windows)


@given(SIZES, st.integers(4, 100), OVERLAPS)
def test_neighbours_share_at_least_what_was_asked(size, tile, overlap):
    for axis in (0, 1):
        starts = sorted({window[axis] for window in tile_windows(size, tile=tile, overlap=overlap)})
        steps = np.diff(starts)
        assert (steps <= max(min(tile, size[axis]) * (1 - overlap), 1) + 1e-9).all()


@given(st.integers(200, 400), st.integers(200, 400), st.floats(0, 1), st.floats(0, 1))
def test_thing_half_a_window_wide_is_whole_in_some_window_of_each_level(width, height, u, v):
    for side in {window.size_wh[0] for window in pyramid_windows((width, height), smallest=50)}:
        half = side // 2 - 1
        x, y = u * max(width - half, 0), v * max(height - half, 0)
        assert any(
            w.x0 <= x and w.y0 <= y and x + half <= w.x1 and y + half <= w.y1
            for w in pyramid_windows((width, height), smallest=50)
            if w.size_wh[0] == side
        )


def test_first_window_is_the_whole_picture_in_the_middle_of_a_square():
    assert pyramid_windows((100, 40))[0] == Window(0, -30, 100, 70)
    assert pyramid_windows((1, 1)) == (Window(0, 0, 1, 1),)


def test_strip_gets_a_row_of_windows():
    windows = pyramid_windows((9000, 30))
    assert len(windows) < 400
    assert {math.copysign(1, window.y0) for window in windows} == {-1.0}
    assert min(window.size_wh[0] for window in windows) >= 160


def test_picture_of_one_tile_is_its_own_tile():
    assert tile_windows((640, 480), tile=640) == (Window(0, 0, 640, 480),)


@pytest.mark.parametrize(
    ("wrong", "quoted"),
    [
        (lambda: pyramid_windows((0, 5)), r"\(0, 5\)"),
        (lambda: pyramid_windows((5, 5), overlap=1.0), "overlap"),
        (lambda: pyramid_windows((5, 5), shrink=1.0), "shrink"),
        (lambda: pyramid_windows((5, 5), smallest=0), "at least 1 px"),
        (lambda: tile_windows((5, 5), tile=0), "at least 1 px"),
        (lambda: tile_windows((5, 5), tile=2, overlap=-0.1), "-0.1"),
    ],
)
def test_impossible_windows_are_refused(wrong, quoted):
    with pytest.raises(ValueError, match=quoted):
        wrong()


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((20, 20, 30, 30), False),  # in the middle
        ((10.5, 20, 30, 30), True),  # left
        ((20, 10.5, 30, 30), True),  # top
        ((20, 20, 39.5, 30), True),  # right
        ((20, 20, 30, 39.5), True),  # bottom
        ((11, 11, 39, 39), False),  # just not
    ],
)
def test_box_at_an_inner_edge_is_cut(box, cut):
    assert is_cut(box, Window(10, 10, 40, 40), size_wh=(100, 100)) is cut
    assert is_cut(box, Window(10, 10, 40, 40), size_wh=(100, 100), margin_px=0) is False


def test_pictures_own_edges_cut_nothing():
    assert not is_cut((0, 0, 50, 40), Window(0, -5, 50, 45), size_wh=(50, 40), margin_px=10)


def test_cut_view_shows_the_window_and_pads_with_black():
    picture = np.full((10, 20, 3), 200, dtype=np.uint8)
    picture[:, 10:] = (0, 100, 255)
    view = cut_view(halve_repeatedly(picture), Window(0, -5, 20, 15), seen_at_wh=(40, 40))
    assert view.shape == (40, 40, 3)
    assert (view[:10] == 0).all()
    assert (view[30:] == 0).all()
    assert (view[10:30, :18] == 200).all()
    assert (view[10:30, 22:] == (0, 100, 255)).all()


def test_cut_view_sees_all_of_a_very_long_strip():
    strip = np.full((2, 40_000, 3), 7, np.uint8)
    assert (
        cut_view(
            halve_repeatedly(strip), Window(0, -19_999, 40_000, 20_001), seen_at_wh=(8, 8)
        ).max()
        == 7
    )


def test_cut_view_averages_what_it_makes_smaller():
    fine = np.zeros((321, 479, 3), np.uint8)
    fine[::2, ::2] = fine[1::2, 1::2] = 200  # a chequer that must not become stripes
    for side in (70, 150, 320):
        view = cut_view(
            halve_repeatedly(fine), Window(3, 1, 3 + side, 1 + side), seen_at_wh=(32, 32)
        )
        assert abs(view[2:-2, 2:-2].astype(int) - 100).max() < 12, side


@given(SIZES, st.integers(8, 64), st.integers(12, 60))
def test_cut_view_fits_any_window_of_any_picture(size, seen, smallest):
    picture = np.full((size[1], size[0], 3), 7, dtype=np.uint8)
    picture.setflags(write=False)
    for window in pyramid_windows(size, smallest=smallest, shrink=2.5)[:20]:
        view = cut_view(halve_repeatedly(picture), window, seen_at_wh=(seen, seen))
        assert view.shape == (seen, seen, 3)
        assert view.flags.c_contiguous
        assert view.max() == 7


def test_cut_view_refuses_a_window_outside():
    with pytest.raises(ValueError, match="outside a picture of 5 x 4 px"):
        cut_view(
            halve_repeatedly(np.zeros((4, 5, 3), np.uint8)), Window(5, 0, 9, 4), seen_at_wh=(8, 8)
        )


@given(SIZES, st.integers(12, 60), st.integers(16, 64))
def test_detections_in_a_view_map_to_where_they_were(size, smallest, seen):
    for window in pyramid_windows(size, smallest=smallest, shrink=2.5)[:20]:
        whole = Detection((0, 0, seen, seen), "face", 1, "test")
        box = window.to_picture(whole, seen_at_wh=(seen, seen)).box_xyxy
        assert box == pytest.approx(tuple(window))


def test_bright_spot_is_where_the_mapping_says():
    picture = np.zeros((200, 300, 3), dtype=np.uint8)
    picture[120:140, 180:200] = 255
    window = Window(150, 50, 300, 200)
    rows, columns = np.nonzero(
        cut_view(halve_repeatedly(picture), window, seen_at_wh=(75, 75)).max(axis=2) > 127
    )
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    found = window.to_picture(Detection(box, "spot", 1, "test"), seen_at_wh=(75, 75))
    assert found.box_xyxy == (180, 120, 200, 140)
