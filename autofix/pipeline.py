"""The order of the stages, and the batching of Crops across pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from autofix.engines.base import Engine
from autofix.errors import EngineError
from autofix.recipe import Recipe
from autofix.stages.blend import blend
from autofix.stages.check import check, refusal
from autofix.stages.choose import choose
from autofix.stages.crop import crop, frame
from autofix.stages.detect import detect
from autofix.stages.inpaint import inpaint
from autofix.stages.mask import mask
from autofix.toolbox import Toolbox
from autofix.values import Crop, Finding, Outcome, Picture, Region, RegionResult, Status
from autofix.window import IntBox, Window
from detectors.detection import Detection

RETRY_SEED = 1_000_003
"""Added to a refused region's seed: far from the seeds of its neighbours, which count up by one."""

RETRY_STRENGTH = 0.75


@dataclass
class _Work:
    """One picture on its way: the only thing that changes while a fix is made."""

    picture: Picture
    regions: tuple[Region, ...]
    windows: dict[int, Window]
    results: dict[int, RegionResult] = field(default_factory=dict)

    def settle(self, result: RegionResult) -> None:
        self.results[result.region.index] = result

    def outcome(self) -> Outcome:
        return Outcome(self.picture, tuple(self.results[i] for i in sorted(self.results)))


@dataclass(frozen=True)
class _Job:
    """One region to repaint, with the picture it belongs to."""

    work: _Work
    region: Region

    @property
    def window(self) -> Window:
        return self.work.windows[self.region.index]


class Pipeline:
    """Fixes pictures with one recipe and the tools opened for it."""

    def __init__(self, recipe: Recipe, toolbox: Toolbox) -> None:
        self.recipe = recipe
        self.toolbox = toolbox

    def plan(self, pictures: Sequence[Picture]) -> list[tuple[Region, ...]]:
        """What would be repainted in each picture, and what skipped; loads no engine's weights.

        Raises DetectorSetupError, or detectors' DetectorError where a model fails.
        """
        found = detect(pictures, self.toolbox.detectors, self.recipe.detect)
        return [self._regions(*each) for each in zip(pictures, found, strict=True)]

    def fix(self, pictures: Sequence[Picture]) -> list[Outcome]:
        """One Outcome a picture, in order. Crops of all the pictures share denoising batches.

        Within a picture, regions whose windows overlap go in successive waves in the order of
        their numbers, so that each sees what was done before it; all others go together. An
        engine's failure makes its regions `failed` and leaves their pixels as they were.
        """
        works = [
            _Work(picture, regions, {r.index: self.window(picture, r) for r in _open(regions)})
            for picture, regions in zip(pictures, self.plan(pictures), strict=True)
        ]
        for work in works:
            for region in work.regions:
                if region.skip:
                    work.settle(RegionResult(region, "skipped", region.skip))
        for wave in _waves(works):
            self._repaint(wave)
        return [work.outcome() for work in works]

    def window(self, picture: Picture, region: Region) -> Window:
        """The window through which the engine will see this region."""
        size_wh = self.engine.facts.size.size_for(self.recipe.crop.size)
        return frame(picture.size_wh, region, self.recipe.crop, size_wh=size_wh)

    @property
    def engine(self) -> Engine:
        """The engine of this recipe, its weights perhaps not yet loaded."""
        return self.toolbox.engine

    def _regions(self, picture: Picture, found: Sequence[Detection]) -> tuple[Region, ...]:
        regions = choose(picture, found, self.recipe.choose)
        return tuple(
            self._suited(picture, self._instructed(mask(region, picture.size_wh, self.recipe.mask)))
            for region in regions
        )

    def _instructed(self, region: Region) -> Region:
        """The region with its prompt, seed and strength."""
        settings = self.recipe.inpaint
        strength = settings.strength
        return replace(
            region,
            prompt=settings.prompt,
            negative_prompt=settings.negative_prompt,
            seed=self.recipe.seed + region.index,
            strength=self.engine.facts.strength if strength == "auto" else strength,
        )

    def _suited(self, picture: Picture, region: Region) -> Region:
        """The region, skipped where this engine could not improve it."""
        facts = self.engine.facts
        if region.skip:
            return region
        if not facts.paints(region.detection.label):
            known = ", ".join(sorted(facts.labels))
            return region.skipped(
                f"{facts.name} paints only: {known}; for {region.detection.label} set --model"
            )
        if region.strength == 0:
            return region.skipped("denoising strength 0 keeps everything")
        window = self.window(picture, region)
        if window.scale < self.recipe.crop.min_scale:
            wide, high = window.box_wh
            return region.skipped(
                f"its crop of {wide}x{high} px would be shrunk to {window.size_wh[0]}x"
                f"{window.size_wh[1]} and lose detail; crop.min_scale = 0 repaints it all the same"
            )
        return region

    def _repaint(self, jobs: Sequence[_Job]) -> None:
        """Repaint independent jobs, trying those again that the check refused."""
        for attempt in range(self.recipe.check.retries + 1):
            last = attempt == self.recipe.check.retries
            refused = [job for batch in self._batches(jobs) for job in self._batch(batch, last)]
            jobs = [_again(job) for job in refused]

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs of one working size and strength, at most a batch size together."""
        alike: dict[tuple[tuple[int, int], float], list[_Job]] = defaultdict(list)
        for job in jobs:
            alike[(job.window.size_wh, job.region.strength)].append(job)
        for (size_wh, _), group in alike.items():
            size = self.toolbox.batch_size(size_wh)
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _batch(self, jobs: Sequence[_Job], last: bool) -> list[_Job]:
        """Repaint, check and blend one batch; returns the refused jobs, if not last."""
        crops = [self._crop(job) for job in jobs]
        try:
            patches = inpaint(crops, self.engine, self.recipe.inpaint)
        except EngineError as error:
            for job in jobs:
                job.work.settle(RegionResult(job.region, "failed", str(error), job.window))
            return []
        checked = check(patches, self.toolbox.detectors_by_name, self.recipe.check)
        refused = []
        for job, patch, findings in zip(jobs, patches, checked, strict=True):
            reason = refusal(findings)
            if not reason:
                job.work.picture = blend(job.work.picture, patch, self.recipe.blend)
                job.work.settle(_result(job, "", findings))
            elif last:
                job.work.settle(_result(job, reason, findings))
            else:
                refused.append(job)
        return refused

    def _crop(self, job: _Job) -> Crop:
        return crop(job.work.picture, job.region, self.recipe.crop, size_wh=job.window.size_wh)


def _result(job: _Job, refused: str, findings: tuple[Finding, ...]) -> RegionResult:
    status: Status = "kept" if refused else "fixed"
    return RegionResult(job.region, status, refused, job.window, findings)


def _again(job: _Job) -> _Job:
    """The same job with another seed and less strength."""
    region = replace(
        job.region,
        seed=job.region.seed + RETRY_SEED,
        strength=job.region.strength * RETRY_STRENGTH,
    )
    return replace(job, region=region)


def _open(regions: Sequence[Region]) -> list[Region]:
    return [region for region in regions if not region.skip]


def _waves(works: Sequence[_Work]) -> list[list[_Job]]:
    """All jobs in waves: within a picture, one wave holds no two windows that overlap."""
    waves: dict[int, list[_Job]] = defaultdict(list)
    for work in works:
        level: dict[int, int] = {}
        for region in _open(work.regions):
            window = work.windows[region.index].box_xyxy
            before = [
                level[index] for index in level if _overlap(work.windows[index].box_xyxy, window)
            ]
            level[region.index] = 1 + max(before, default=-1)
            waves[level[region.index]].append(_Job(work, region))
    return [waves[number] for number in sorted(waves)]


def _overlap(a: IntBox, b: IntBox) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
