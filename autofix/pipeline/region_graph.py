"""Which regions of a picture can be inpainted together: those that do not see each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autofix.geometry import Window

REGIONS_AT_ONCE = 32
"""Regions of one picture at most that are inpainted together: their patches are held in memory."""

Step = tuple[int, int]
"""A cycle, from 0, and the index of the region that is inpainted in it."""


def overlap_waves(windows: Mapping[int, Window], *, cycles: int = 1) -> Iterator[tuple[Step, ...]]:
    """Yield the steps that can be done together, wave after wave.

    `windows` has those of the regions to inpaint, by index. A region waits for those of lower
    index whose windows overlap its own, cycle after cycle, so that it sees what was done to them.
    """
    wave_of: dict[Step, int] = {}
    for cycle in range(cycles):
        for index, window in windows.items():
            earlier = (
                wave
                for (_, other), wave in wave_of.items()
                if windows_overlap(window, windows[other])
            )
            wave_of[cycle, index] = max(earlier, default=-1) + 1
    for number in range(max(wave_of.values(), default=-1) + 1):
        steps = tuple(step for step, wave in wave_of.items() if wave == number)
        for start in range(0, len(steps), REGIONS_AT_ONCE):
            yield steps[start : start + REGIONS_AT_ONCE]


def windows_overlap(one: Window, other: Window) -> bool:
    """Whether some pixel of the picture is seen through both."""
    a, b = one.bounds_xyxy, other.bounds_xyxy
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
