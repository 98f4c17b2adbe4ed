"""The order of the passes and of the stages, and the batching of Crops across pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from autofix.engines.base import Engine
from autofix.errors import EngineError
from autofix.metadata import GenerationText, read_generation, record_fix
from autofix.prompts import instruct, picture_seed
from autofix.recipe import Recipe
from autofix.stages.blend import blend
from autofix.stages.check import check, refusal, score
from autofix.stages.choose import choose
from autofix.stages.crop import crop, frame, unfit
from autofix.stages.detect import detect
from autofix.stages.inpaint import inpaint
from autofix.stages.mask import mask, merge
from autofix.strength import strength_of
from autofix.toolbox import Toolbox
from autofix.values import Crop, Finding, Outcome, Patch, Picture, Region, RegionResult, Status
from autofix.window import IntBox, Window
from detectors.detection import Detection

RETRY_SEED, CANDIDATE_SEED, CYCLE_SEED = 1_000_003, 10_007, 100_000_007
"""Added to a region's seed for each further try, candidate or cycle: far from the seeds of its
neighbours, which count up by one, and from each other's."""

RETRY_STRENGTH = 0.75


class Pipeline:
    """Fixes pictures with one recipe and the tools opened for it: pass after pass."""

    def __init__(self, recipe: Recipe, toolbox: Toolbox, *, keep_candidates: bool = False) -> None:
        self.recipe = recipe
        self.toolbox = toolbox
        self.keep_candidates = keep_candidates
        self.passes = tuple(
            _Pass(index, each, tools, keep_candidates)
            for index, (each, tools) in enumerate(zip(recipe.each, toolbox.each, strict=True))
        )

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engine of each pass, its weights perhaps not yet loaded."""
        return tuple(each.engine for each in self.passes)

    @property
    def model(self) -> str:
        """The names of the passes' models, each once."""
        return " + ".join(dict.fromkeys(engine.facts.name for engine in self.engines))

    def using(self, recipe: Recipe) -> Pipeline:
        """The same open tools with other settings."""
        return Pipeline(recipe, self.toolbox.using(recipe), keep_candidates=self.keep_candidates)

    def prepare(self) -> None:
        """Open what every pass needs, but for weights, so that what is missing is said now.

        Raises DetectorSetupError or ModelError.
        """
        for each in self.passes:
            _ = each.toolbox.detectors, each.engine.facts

    def plan(self, pictures: Sequence[Picture]) -> list[tuple[Region, ...]]:
        """What would be repainted in each picture, and what skipped; loads no engine's weights.

        Of a recipe with several passes each looks at the picture as it is now. Raises
        DetectorSetupError, or detectors' DetectorError where a model fails.
        """
        said = [read_generation(picture.source) for picture in pictures]
        plans = [each.plan(pictures, said) for each in self.passes]
        return [sum(of_one, ()) for of_one in zip(*plans, strict=True)]

    def window(self, picture: Picture, region: Region) -> Window:
        """The window through which the engine will see this region."""
        return self.passes[region.pass_index].window(picture, region)

    def fix(self, pictures: Sequence[Picture]) -> list[Outcome]:
        """One Outcome a picture, in order. Crops of all the pictures share denoising batches.

        Within a picture, regions whose windows overlap go in successive waves in the order of
        their numbers, so that each sees what was done before it; all others go together. An
        engine's failure makes its regions `failed` and leaves their pixels as they were.
        """
        said = [read_generation(picture.source) for picture in pictures]
        outcomes = [Outcome(picture) for picture in pictures]
        for each in self.passes:
            fixed = each.fix([outcome.picture for outcome in outcomes], said)
            outcomes = [
                Outcome(after.picture, before.results + after.results)
                for before, after in zip(outcomes, fixed, strict=True)
            ]
        return [self._recorded(outcome) for outcome in outcomes]

    def _recorded(self, outcome: Outcome) -> Outcome:
        """The outcome, its picture saying what was fixed."""
        if not outcome.changed:
            return outcome
        source = record_fix(outcome.picture.source, outcome, self.recipe)
        return replace(outcome, picture=replace(outcome.picture, source=source))


@dataclass
class _Work:
    """One picture on its way: the only thing that changes while a fix is made."""

    picture: Picture
    regions: tuple[Region, ...]
    windows: dict[int, Window]
    results: dict[int, RegionResult] = field(default_factory=dict)

    def settle(self, result: RegionResult) -> None:
        """Keep what became of a region; what an earlier cycle fixed stays fixed."""
        known = self.results.get(result.region.index)
        if known is None or known.status != "fixed" or result.status == "fixed":
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

    def seeded(self, more: int, strength: float | None = None) -> _Job:
        """The same job with another seed, and perhaps another strength."""
        region = self.region
        strength = region.strength if strength is None else strength
        return replace(self, region=replace(region, seed=region.seed + more, strength=strength))


@dataclass(frozen=True)
class _Try:
    """What came of one repaint of a job: a patch with its findings, or the engine's complaint."""

    job: _Job
    patch: Patch | None
    findings: tuple[Finding, ...] = ()
    error: str = ""


class _Pass:
    """One pass over pictures, with its own recipe and tools."""

    def __init__(self, index: int, recipe: Recipe, toolbox: Toolbox, keep: bool) -> None:
        self.index = index
        self.recipe = recipe
        self.toolbox = toolbox
        self.keep_candidates = keep

    @property
    def engine(self) -> Engine:
        return self.toolbox.engine

    def plan(
        self, pictures: Sequence[Picture], said: Sequence[GenerationText | None]
    ) -> list[tuple[Region, ...]]:
        found = detect(pictures, self.toolbox.detectors, self.recipe.detect)
        return [self._regions(*each) for each in zip(pictures, found, said, strict=True)]

    def fix(
        self, pictures: Sequence[Picture], said: Sequence[GenerationText | None]
    ) -> list[Outcome]:
        works = [
            _Work(picture, regions, {r.index: self.window(picture, r) for r in _open(regions)})
            for picture, regions in zip(pictures, self.plan(pictures, said), strict=True)
        ]
        for work in works:
            for region in work.regions:
                if region.skip:
                    work.settle(RegionResult(region, "skipped", region.skip))
        for cycle in range(self.recipe.inpaint.cycles):
            for wave in _waves(works):
                self._repaint(list(self._cycled(wave, cycle)))
        return [work.outcome() for work in works]

    def window(self, picture: Picture, region: Region) -> Window:
        size = self.engine.facts.size
        return frame(
            picture.size_wh,
            region,
            self.recipe.crop,
            native=size.native,
            multiple=size.multiple,
        )

    def _regions(
        self, picture: Picture, found: Sequence[Detection], said: GenerationText | None
    ) -> tuple[Region, ...]:
        recipe, size_wh = self.recipe, picture.size_wh
        regions = tuple(
            mask(region, size_wh, recipe.mask) for region in choose(picture, found, recipe.choose)
        )
        regions = merge(regions, size_wh, recipe.mask)
        seed = picture_seed(recipe.seed, said)
        regions = instruct(regions, recipe.inpaint, main=said, picture_wh=size_wh, seed=seed)
        return tuple(
            self._suited(
                picture,
                replace(
                    region,
                    pass_index=self.index,
                    strength=self._strength(region, picture, cycle=0),
                ),
            )
            for region in regions
        )

    def _strength(self, region: Region, picture: Picture, *, cycle: int) -> float:
        settings, facts = self.recipe.inpaint, self.engine.facts
        return strength_of(region.detection, picture.size_wh, settings, facts, cycle=cycle)

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
        reason = unfit(self.window(picture, region), picture.size_wh, self.recipe.crop)
        return region.skipped(reason) if reason else region

    def _cycled(self, jobs: Sequence[_Job], cycle: int) -> Iterator[_Job]:
        """The jobs of a cycle: after the first, those that the last one fixed."""
        for job in jobs:
            if cycle == 0:
                yield job
            elif job.work.results[job.region.index].status == "fixed":
                strength = self._strength(job.region, job.work.picture, cycle=cycle)
                if strength > 0:
                    yield job.seeded(cycle * CYCLE_SEED, strength)

    def _repaint(self, jobs: Sequence[_Job]) -> None:
        """Repaint independent jobs, trying those again that the check refused."""
        for attempt in range(self.recipe.check.retries + 1):
            last = attempt == self.recipe.check.retries
            refused = [job for job, tries in self._tried(jobs) if not self._settled(tries, last)]
            jobs = [job.seeded(RETRY_SEED, job.region.strength * RETRY_STRENGTH) for job in refused]

    def _tried(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, list[_Try]]]:
        """Each job with its candidates' tries, as soon as they are complete."""
        count = self.recipe.inpaint.candidates
        owner = {(id(job.work), job.region.index): job for job in jobs}
        tries: dict[tuple[int, int], list[_Try]] = defaultdict(list)
        for batch in self._batches(
            [job.seeded(n * CANDIDATE_SEED) for job in jobs for n in range(count)]
        ):
            for each in self._batch(batch):
                key = (id(each.job.work), each.job.region.index)
                tries[key].append(each)
                if len(tries[key]) == count:
                    yield owner[key], tries.pop(key)

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs of one working size and strength, at most a batch size together."""
        alike: dict[tuple[tuple[int, int], float], list[_Job]] = defaultdict(list)
        for job in jobs:
            alike[(job.window.size_wh, job.region.strength)].append(job)
        for (size_wh, _), group in alike.items():
            size = self.toolbox.batch_size(size_wh)
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _batch(self, jobs: Sequence[_Job]) -> list[_Try]:
        """Repaint and check one batch."""
        try:
            crops = [self._crop(job) for job in jobs]
            patches = inpaint(crops, self.engine, self.recipe.inpaint)
        except EngineError as error:
            return [_Try(job, None, error=str(error)) for job in jobs]
        settings = self.recipe.check.for_model(faithful=self.engine.facts.faithful)
        checked = check(patches, self.toolbox.detectors_by_name, settings)
        return [_Try(*each) for each in zip(jobs, patches, checked, strict=True)]

    def _settled(self, tries: Sequence[_Try], last: bool) -> bool:
        """Blend the best try that the check lets pass. Where none does: false, or kept if last."""
        job = tries[0].job
        work, patched = job.work, [each for each in tries if each.patch is not None]
        if not patched:
            work.settle(RegionResult(job.region, "failed", tries[0].error, job.window))
            return True
        best = max(patched, key=lambda each: (not refusal(each.findings), score(each.findings)))
        reason = refusal(best.findings)
        if reason and not last:
            return False
        shown: tuple[Picture, ...] = ()
        if self.keep_candidates:
            others = [each for each in patched if each is not best and _finite(each)]
            shown = tuple(self._pasted(each) for each in [best, *others] if _finite(each))
        if not reason:
            work.picture = self._pasted(best)
        status: Status = "kept" if reason else "fixed"
        work.settle(RegionResult(best.job.region, status, reason, job.window, best.findings, shown))
        return True

    def _pasted(self, each: _Try) -> Picture:
        assert each.patch is not None
        return blend(each.job.work.picture, each.patch, self.recipe.blend)

    def _crop(self, job: _Job) -> Crop:
        settings = self.recipe.crop
        upscale = None if settings.upscaler == "lanczos" else self.toolbox.upscaler
        return crop(job.work.picture, job.region, settings, job.window, upscale=upscale)


def _finite(each: _Try) -> bool:
    return each.patch is not None and bool(np.isfinite(each.patch.pixels).all())


def _open(regions: Sequence[Region]) -> list[Region]:
    return [region for region in regions if not region.skip]


def _waves(works: Sequence[_Work]) -> list[list[_Job]]:
    """All jobs in waves: within a picture, one wave holds no two windows that overlap."""
    waves: dict[int, list[_Job]] = defaultdict(list)
    for work in works:
        level: dict[int, int] = {}
        for region in _open(work.regions):
            bounds = work.windows[region.index].bounds_xyxy
            before = [
                level[index] for index in level if _overlap(work.windows[index].bounds_xyxy, bounds)
            ]
            level[region.index] = 1 + max(before, default=-1)
            waves[level[region.index]].append(_Job(work, region))
    return [waves[number] for number in sorted(waves)]


def _overlap(a: IntBox, b: IntBox) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
