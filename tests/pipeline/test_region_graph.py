"""Which regions can be inpainted together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autofix.geometry import Window
from autofix.pipeline.region_graph import REGIONS_AT_ONCE, overlap_waves, windows_overlap


def window(x, y=0, side=10):
    return Window((x, y, x + side, y + side), (64, 64))


def test_regions_that_see_each_other_wait_for_the_lower_number():
    windows = {0: window(0), 1: window(5), 2: window(100), 4: window(8)}
    assert list(overlap_waves(windows)) == [((0, 0), (0, 2)), ((0, 1),), ((0, 4),)]


def test_cycles_start_from_the_one_before():
    windows = {0: window(0), 1: window(50)}
    assert list(overlap_waves(windows, cycles=2)) == [((0, 0), (0, 1)), ((1, 0), (1, 1))]


def test_without_regions_there_is_no_wave():
    assert list(overlap_waves({})) == []


def test_a_wave_has_a_bound():
    windows = {n: window(20 * n) for n in range(REGIONS_AT_ONCE + 1)}
    assert [len(wave) for wave in overlap_waves(windows)] == [REGIONS_AT_ONCE, 1]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12), st.integers(1, 3))
def test_every_region_has_its_turn_after_those_it_sees(places, cycles):
    windows = {n: window(x, y) for n, (x, y) in enumerate(places)}
    steps = [step for wave in overlap_waves(windows, cycles=cycles) for step in wave]
    waves = [set(wave) for wave in overlap_waves(windows, cycles=cycles)]
    assert sorted(steps) == [(cycle, n) for cycle in range(cycles) for n in windows]
    for wave in waves:
        for _, one in wave:
            others = [other for _, other in wave if other != one]
            assert not any(windows_overlap(windows[one], windows[other]) for other in others)
    position = {step: n for n, wave in enumerate(waves) for step in wave}
    for cycle, index in steps:
        for lower in range(index):
            if windows_overlap(windows[index], windows[lower]):
                assert position[cycle, lower] < position[cycle, index]
