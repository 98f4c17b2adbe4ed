"""The order of the passes and of the stages, and the batching of Crops across pictures."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from autofix.engines.base import Engine
from autofix.engines.diffusion.steps import plan_of
from autofix.errors import EngineError
from autofix.geometry import Window
from autofix.metadata import GenerationText, read_generation, record_fix
from autofix.pipeline.region_graph import Job, Node, Tries, Try, Work
from autofix.pipeline.stream import Answer, Stream
from autofix.pipeline.timing import Timing
from autofix.pipeline.toolbox import Toolbox
from autofix.prompts import instruct, picture_seed
from autofix.settings.recipe import Recipe
from autofix.stages.blend import blend
from autofix.stages.check import check, refusal, score
from autofix.stages.choose import choose
from autofix.stages.crop import crop, frame, unfit
from autofix.stages.detect import detect
from autofix.stages.inpaint import inpaint
from autofix.stages.mask import mask, merge
from autofix.stages.strength import strength_of
from autofix.values import Crop, Outcome, Patch, Picture, Region, RegionResult, Status
from detectors.detection import Detection

RETRY_SEED, CANDIDATE_SEED, CYCLE_SEED = 1_000_003, 10_007, 100_000_007
"""Added to a region's seed for each further try, candidate or cycle: far from the seeds of its
neighbours, which count up by one, and from each other's."""

RETRY_STRENGTH = 0.75


class Pipeline:
    """Fixes pictures with one recipe and the tools opened for it: pass after pass."""

    def __init__(
        self,
        recipe: Recipe,
        toolbox: Toolbox,
        *,
        keep_candidates: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.recipe = recipe
        self.toolbox = toolbox
        self.keep_candidates = keep_candidates
        self.passes = tuple(
            _Pass(index, each, tools, keep_candidates, self.timing)
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
        return Pipeline(
            recipe,
            self.toolbox.using(recipe),
            keep_candidates=self.keep_candidates,
            timing=self.timing,
        )

    def prepare(self) -> None:
        """Open what every pass needs, but for weights, so that what is missing is said now.

        Raises DetectorSetupError or ModelError.
        """
        for each in self.passes:
            _ = each.engine.facts
            # Of all threads, and here: a detector must not be opened while a model is loaded.
            for looker in range(self.toolbox.lookers):
                _ = each.toolbox.apart(looker).detectors

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
        """One Outcome a picture, in order; see `stream`. Raises what went wrong with any."""
        outcomes = []
        for answer in self.stream(pictures):
            if isinstance(answer, Exception):
                raise answer
            assert answer is not None
            outcomes.append(answer)
        return outcomes

    def stream(
        self, pictures: Iterable[Picture | None], *, repeatable: bool = False
    ) -> Iterator[Answer]:
        """For each picture in order its Outcome, or what went wrong with it; None for None.

        Pictures are taken in ahead, looked at while others are repainted, and their crops share
        denoising batches. Within a picture, regions whose windows overlap are repainted one after
        the other in the order of their numbers, so that each sees what was done before it. An
        engine's failure makes its regions `failed` and leaves their pixels as they were.
        `repeatable`: short batches are filled up, for the size of its batch moves a face's pixels
        by rounding; so this machine gives the same bits again, whichever batch a face comes into
        (on a CPU only with batches of one, as they are by default: docs/batching.md).
        Raises UsageError for a setting, detector or model that cannot work.
        """
        self.prepare()
        stream = Stream(
            self.passes,
            lookers=self.toolbox.lookers,
            lanes=self._lanes if repeatable else None,
            said=lambda picture: read_generation(picture.source),
        )
        for answer in stream.run(pictures):
            yield self._recorded(answer) if isinstance(answer, Outcome) else answer

    def _lanes(self) -> int:
        return min(each.toolbox.lanes for each in self.passes)

    def _recorded(self, outcome: Outcome) -> Outcome:
        """The outcome, its picture saying what was fixed."""
        if not outcome.changed:
            return outcome
        source = record_fix(outcome.picture.source, outcome, self.recipe)
        return replace(outcome, picture=replace(outcome.picture, source=source))


class _Pass:
    """One pass over pictures, with its own recipe and tools."""

    def __init__(
        self, index: int, recipe: Recipe, toolbox: Toolbox, keep: bool, timing: Timing
    ) -> None:
        self.timing = timing
        self.index = index
        self.recipe = recipe
        self.toolbox = toolbox
        self.keep_candidates = keep

    @property
    def engine(self) -> Engine:
        return self.toolbox.engine

    def plan(
        self,
        pictures: Sequence[Picture],
        said: Sequence[GenerationText | None],
        *,
        looker: int = 0,
    ) -> list[tuple[Region, ...]]:
        """The regions of each picture; `looker` is the thread that asks, which has detectors."""
        with self.timing.spent("detect"):
            detectors = self.toolbox.apart(looker).detectors
            found = detect(pictures, detectors, self.recipe.detect)
        return [self._regions(*each) for each in zip(pictures, found, said, strict=True)]

    def begin(
        self,
        pictures: Sequence[Picture],
        said: Sequence[GenerationText | None],
        *,
        looker: int = 0,
    ) -> list[Work]:
        """What there is to repaint in each picture."""
        return [
            Work(
                picture,
                regions,
                {r.index: self.window(picture, r) for r in regions if not r.skip},
                cycles=self.recipe.inpaint.cycles,
            )
            for picture, regions in zip(
                pictures, self.plan(pictures, said, looker=looker), strict=True
            )
        ]

    def window(self, picture: Picture, region: Region) -> Window:
        facts = self.engine.facts
        return frame(
            picture.size_wh,
            region,
            self.recipe.crop,
            native=facts.size.native,
            multiple=facts.size.multiple,
            padding=facts.padding,
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

    def jobs(self, work: Work, node: Node) -> list[Job]:
        """One repaint of a region, once a candidate; none where its last cycle changed nothing."""
        cycle, index = node
        job = Job(work, node, work.regions[index])
        if cycle > 0:
            strength = self._strength(job.region, work.picture, cycle=cycle)
            if work.results[index].status != "fixed" or strength == 0:
                return []
            job = job.seeded(cycle * CYCLE_SEED, strength)
        return self._candidates(job)

    def kind(self, job: Job) -> Hashable:
        """What jobs must share to be repainted together: working size and sampling steps."""
        plan = plan_of(job.region.strength, self.recipe.inpaint, self.engine.facts)
        return job.window.size_wh, plan

    def batch_size(self, job: Job) -> int:
        """How many jobs of its kind are repainted together."""
        return self.toolbox.batch_size(job.window.size_wh)

    def paint(self, jobs: Sequence[Job], *, width: int = 0, lane: int = 0) -> list[Try]:
        """Repaint one batch; of less than `width` jobs, filled up with the last one."""
        engine = self.toolbox.apart(lane).engine
        with self.timing.spent("inpaint"):
            try:
                crops = [self._crop(job) for job in jobs]
            except EngineError as error:  # a model that scales crops up
                return [Try(job, None, error=str(error)) for job in jobs]
            filled = [*crops, *[crops[-1]] * (width - len(crops))]
            answers = inpaint(filled, engine, self.recipe.inpaint)[: len(crops)]
        return [
            Try(job, answer) if isinstance(answer, Patch) else Try(job, None, error=str(answer))
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def judge(self, tries: Sequence[Tries], *, looker: int = 0) -> list[Tries]:
        """The tries with the check's findings."""
        made = [each for group in tries for each in group.made if each.patch is not None]
        settings = self.recipe.check.for_model(faithful=self.engine.facts.faithful)
        detectors = self.toolbox.apart(looker).detectors_by_name
        with self.timing.spent("check"):
            checked = check([_patch(each) for each in made], detectors, settings)
        findings = {id(each): found for each, found in zip(made, checked, strict=True)}
        return [
            replace(
                group,
                made=[replace(each, findings=findings.get(id(each), ())) for each in group.made],
            )
            for group in tries
        ]

    def settle(self, tries: Tries) -> list[Job]:
        """Blend the best try; where all were refused, the jobs of trying again, if any is left."""
        last = tries.job.attempt == self.recipe.check.retries
        with self.timing.spent("blend"):
            settled = self._settled(tries.job, tries.made, last)
        return [] if settled else self._candidates(_again(tries.job))

    def _candidates(self, job: Job) -> list[Job]:
        return [job.seeded(n * CANDIDATE_SEED) for n in range(self.recipe.inpaint.candidates)]

    def _settled(self, job: Job, tries: Sequence[Try], last: bool) -> bool:
        """Blend the best try that the check lets pass. Where none does: false, or kept if last."""
        work, patched = job.work, [each for each in tries if each.patch is not None]
        if not patched:
            work.settle(RegionResult(job.region, "failed", tries[0].error, job.window))
            return True
        best = max(patched, key=lambda each: (not refusal(each.findings), score(each.findings)))
        reason = refusal(best.findings)
        if reason and not last:
            return False
        with work.lock:
            shown: tuple[Picture, ...] = ()
            if self.keep_candidates:
                others = [each for each in patched if each is not best and _finite(each)]
                shown = tuple(self._pasted(each) for each in [best, *others] if _finite(each))
            if not reason:
                work.picture = self._pasted(best)
        status: Status = "kept" if reason else "fixed"
        work.settle(RegionResult(best.job.region, status, reason, job.window, best.findings, shown))
        return True

    def _pasted(self, each: Try) -> Picture:
        return blend(each.job.work.picture, _patch(each), self.recipe.blend)

    def _crop(self, job: Job) -> Crop:
        settings = self.recipe.crop
        upscale = None if settings.upscaler == "lanczos" else self.toolbox.upscaler
        return crop(job.work.picture, job.region, settings, job.window, upscale=upscale)


def _again(job: Job) -> Job:
    """The next attempt at a job: another seed, and less strength."""
    again = job.seeded(RETRY_SEED, job.region.strength * RETRY_STRENGTH)
    return replace(again, attempt=job.attempt + 1)


def _patch(each: Try) -> Patch:
    assert each.patch is not None
    return each.patch


def _finite(each: Try) -> bool:
    return bool(np.isfinite(_patch(each).pixels).all())
