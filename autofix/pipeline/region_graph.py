"""One picture on its way through one pass: what can be repainted now, and what waits for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autofix.geometry import Window
from autofix.values import Finding, Outcome, Patch, Picture, Region, RegionResult

Node = tuple[int, int]
"""One repaint of one region: the cycle, and the region's index."""


class Work:
    """A picture, its regions, and what has become of them: all that changes while it is fixed.

    Regions whose windows overlap are repainted one after the other in the order of their numbers,
    cycle after cycle, so that each sees what was done before it; all others need not wait.
    """

    def __init__(
        self,
        picture: Picture,
        regions: Sequence[Region],
        windows: Mapping[int, Window],
        *,
        cycles: int = 1,
    ) -> None:
        """`windows` holds those of the regions that are to be repainted, by index."""
        self.picture = picture
        self.regions = {region.index: region for region in regions}
        self.windows = windows
        self.results: dict[int, RegionResult] = {}
        self.lock = threading.Lock()  # held while the picture is changed
        nodes: list[Node] = [(cycle, index) for cycle in range(cycles) for index in windows]
        self._before: dict[Node, set[Node]] = {
            node: {other for other in nodes[:place] if self._meet(node[1], other[1])}
            for place, node in enumerate(nodes)
        }
        for region in regions:
            if region.skip:
                self.settle(RegionResult(region, "skipped", region.skip))

    @property
    def done(self) -> bool:
        """Whether nothing is left to repaint."""
        return not self._before

    def start(self) -> list[Node]:
        """What need not wait for anything."""
        return [node for node, before in self._before.items() if not before]

    def finish(self, node: Node) -> list[Node]:
        """Note that a repaint is over; gives those that need not wait any longer."""
        del self._before[node]
        waited = [other for other, before in self._before.items() if node in before]
        for other in waited:
            self._before[other].remove(node)
        return [other for other in waited if not self._before[other]]

    def settle(self, result: RegionResult) -> None:
        """Keep what became of a region; what an earlier cycle fixed stays fixed."""
        known = self.results.get(result.region.index)
        if known is None or known.status != "fixed" or result.status == "fixed":
            self.results[result.region.index] = result

    def outcome(self) -> Outcome:
        """The picture as it is now, and all results in the regions' order."""
        return Outcome(self.picture, tuple(self.results[i] for i in sorted(self.results)))

    def _meet(self, one: int, other: int) -> bool:
        a, b = self.windows[one].bounds_xyxy, self.windows[other].bounds_xyxy
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass(frozen=True, eq=False)
class Job:
    """One region to repaint once, with the work it belongs to. `attempt` counts the retries."""

    work: Work
    node: Node
    region: Region
    attempt: int = 0

    @property
    def window(self) -> Window:
        """The window through which the engine sees it."""
        return self.work.windows[self.region.index]

    def seeded(self, more: int, strength: float | None = None) -> Job:
        """The same job with another seed, and perhaps another strength."""
        region = self.region
        strength = region.strength if strength is None else strength
        return replace(self, region=replace(region, seed=region.seed + more, strength=strength))


@dataclass(frozen=True, eq=False)
class Try:
    """What came of one job: a patch with its findings, or the engine's complaint."""

    job: Job
    patch: Patch | None
    findings: tuple[Finding, ...] = ()
    error: str = ""


@dataclass
class Tries:
    """The tries of one repaint of one region, one for each candidate."""

    job: Job
    wanted: int
    made: list[Try] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every candidate has come."""
        return len(self.made) == self.wanted
