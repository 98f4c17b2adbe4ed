"""One pass over a picture: what its recipe and its tools make of the stages between the batches."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from autofix.engines.base import ModelInfo
from autofix.engines.diffusion.steps import plan_of
from autofix.engines.resilient import PatchOrError
from autofix.errors import EngineError
from autofix.geometry import Window
from autofix.metadata import GenerationText
from autofix.pipeline.region_graph import Step
from autofix.pipeline.toolbox import Toolbox
from autofix.prompts import assign_prompts, picture_seed
from autofix.settings.recipe import Recipe
from autofix.stages.blend import blend
from autofix.stages.check import refusal, score
from autofix.stages.choose import choose
from autofix.stages.crop import crop, crop_window, unfit_reason
from autofix.stages.mask import mask, merge
from autofix.stages.strength import strength_of
from autofix.values import Crop, Finding, Patch, Picture, Region, RegionResult, Status
from detectors.detection import Detection

RETRY_SEED = 1_000_003
CANDIDATE_SEED = 10_007
CYCLE_SEED = 100_000_007
"""Added to a region's seed for each further attempt, candidate or cycle: far from the seeds of its
neighbours, which count up by one, and from each other's."""

RETRY_STRENGTH = 0.75
"""Times the denoising strength of the attempt before."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region tried with one seed: its crop, then its patch, then the check's findings.

    `error` says why it has no crop or no patch.
    """

    region: Region
    window: Window
    crop: Crop | None = None
    patch: Patch | None = None
    findings: tuple[Finding, ...] = ()
    error: str = ""

    def with_answer(self, answer: PatchOrError) -> Candidate:
        """The same, with what an engine answered to its crop."""
        if isinstance(answer, Patch):
            return replace(self, patch=answer)
        return replace(self, error=str(answer))

    @property
    def refusal_reason(self) -> str:
        """Why the check refuses its patch; empty where it does not."""
        return refusal(self.findings)

    @property
    def rank(self) -> tuple[bool, float]:
        """The best of several has the greatest."""
        return not self.refusal_reason, score(self.findings)


class Pass:
    """One pass of a recipe, with the tools it needs. Many pictures can be in it at a time.

    Raises UsageError for a recipe that its model cannot obey.
    """

    def __init__(
        self, index: int, recipe: Recipe, toolbox: Toolbox, *, keep_candidates: bool = False
    ) -> None:
        self.index = index
        self.recipe = recipe
        self.toolbox = toolbox
        toolbox.check()
        self.info: ModelInfo = toolbox.info
        self.bounds = recipe.check.for_model(faithful=self.info.faithful)
        self._keep_candidates = keep_candidates

    @property
    def attempts(self) -> int:
        """How often a region is tried at most, before its original is kept."""
        return self.recipe.check.retries + 1

    def choose_regions(
        self,
        picture: Picture,
        detections: Sequence[Detection],
        generation: GenerationText | None,
    ) -> tuple[Region, ...]:
        """Choose, mask and merge what was found; decide prompt, seed and strength of each."""
        recipe, size_wh = self.recipe, picture.size_wh
        chosen = choose(picture, detections, recipe.choose)
        regions = merge([mask(each, size_wh, recipe.mask) for each in chosen], size_wh, recipe.mask)
        seed = picture_seed(recipe.seed, generation)
        regions = assign_prompts(
            regions, recipe.prompt, main=generation, picture_wh=size_wh, seed=seed
        )
        return tuple(
            self._skip_unfit(
                picture,
                replace(each, pass_index=self.index, strength=self._strength_of(each, picture)),
            )
            for each in regions
        )

    def windows_of(self, picture: Picture, regions: Sequence[Region]) -> dict[int, Window]:
        """The windows of the regions that are to be inpainted, by the regions' index."""
        return {each.index: self.window_of(picture, each) for each in regions if not each.skip}

    def window_of(self, picture: Picture, region: Region) -> Window:
        """The window through which the engine sees a region."""
        return crop_window(
            picture.size_wh,
            region,
            self.recipe.crop,
            native=self.info.size.native,
            multiple=self.info.size.multiple,
            padding=self.info.padding,
        )

    def regions_of(
        self,
        wave: Sequence[Step],
        regions: Sequence[Region],
        done: Mapping[int, RegionResult],
        picture: Picture,
    ) -> list[Region]:
        """The regions of a wave, each with the seed and the strength of its cycle.

        A region that its last cycle did not change is left out of further ones.
        """
        found = []
        for cycle, index in wave:
            region = regions[index]
            if cycle > 0:
                strength = self._strength_of(region, picture, cycle=cycle)
                if done[index].status != "fixed" or strength == 0:
                    continue
                region = replace(region, strength=strength, seed=region.seed + cycle * CYCLE_SEED)
            found.append(region)
        return found

    def crop_candidates(
        self, picture: Picture, regions: Sequence[Region], windows: Mapping[int, Window]
    ) -> list[Candidate]:
        """Every candidate of the regions, with its crop; those of one region side by side."""
        return [
            self._crop_candidate(picture, candidate, windows[candidate.index])
            for region in regions
            for candidate in self._candidate_regions(region)
        ]

    def next_attempt(self, region: Region) -> Region:
        """The region with another seed and less strength."""
        return replace(
            region, seed=region.seed + RETRY_SEED, strength=region.strength * RETRY_STRENGTH
        )

    def inpaint_kind(self, crop: Crop) -> Hashable:
        """What crops must share to be inpainted together: model, settings, size and steps."""
        plan = plan_of(crop.region.strength, self.recipe.sampling, self.info)
        return self.toolbox.engine_key, self.recipe.of_model, crop.window.size_wh, plan

    def detect_kind(self, picture: Picture) -> Hashable:
        """What pictures must share to be searched together: detectors and size."""
        return self.toolbox.detectors_key, self.recipe.detect, picture.size_wh

    @property
    def check_kind(self) -> Hashable:
        """What patches must share to be checked together: detectors and bounds."""
        return self.toolbox.detectors_key, self.bounds

    def blend_passing(
        self, picture: Picture, candidates: Sequence[Candidate], *, last: bool
    ) -> tuple[Picture, dict[int, RegionResult]]:
        """The picture with the best candidate of each region blended in, and results by index.

        A region whose best candidate the check refuses has no result, and should be tried again;
        on the `last` attempt it is kept as it is.
        """
        results = {}
        for index, own in groupby(candidates, key=lambda each: each.region.index):
            tried = list(own)
            made = [each for each in tried if each.patch is not None]
            if not made:
                results[index] = RegionResult(
                    tried[0].region, "failed", tried[0].error, tried[0].window
                )
                continue
            best = max(made, key=lambda each: each.rank)
            if best.refusal_reason and not last:
                continue
            previews = self._candidate_previews(picture, best, made)
            if not best.refusal_reason:
                picture = self._blend_candidate(picture, best)
            status: Status = "kept" if best.refusal_reason else "fixed"
            results[index] = RegionResult(
                best.region, status, best.refusal_reason, best.window, best.findings, previews
            )
        return picture, results

    def _candidate_regions(self, region: Region) -> Iterator[Region]:
        for number in range(self.recipe.inpaint.candidates):
            yield replace(region, seed=region.seed + number * CANDIDATE_SEED)

    def _crop_candidate(self, picture: Picture, region: Region, window: Window) -> Candidate:
        settings = self.recipe.crop
        try:
            if settings.upscaler == "lanczos":
                made = crop(picture, region, settings, window)
            else:
                with self.toolbox.upscaler() as upscale:
                    made = crop(picture, region, settings, window, upscale=upscale)
        except EngineError as error:  # of the model that scales it up
            return Candidate(region, window, error=str(error))
        return Candidate(region, window, made)

    def _strength_of(self, region: Region, picture: Picture, *, cycle: int = 0) -> float:
        return strength_of(
            region.detection, picture.size_wh, self.recipe.inpaint, self.info, cycle=cycle
        )

    def _skip_unfit(self, picture: Picture, region: Region) -> Region:
        """The region, skipped where this model could not improve it."""
        info = self.info
        if region.skip:
            return region
        if not info.inpaints(region.detection.label):
            known = ", ".join(sorted(info.labels))
            return region.with_skip(
                f"{info.name} paints only: {known}; for {region.detection.label} set --model"
            )
        if region.strength == 0:
            return region.with_skip("denoising strength 0 keeps everything")
        reason = unfit_reason(self.window_of(picture, region), picture.size_wh, self.recipe.crop)
        return region.with_skip(reason) if reason else region

    def _candidate_previews(
        self, picture: Picture, best: Candidate, made: Sequence[Candidate]
    ) -> tuple[Picture, ...]:
        """The picture with each candidate in it, the best first, where they are to be kept."""
        if not self._keep_candidates:
            return ()
        ranked = [best, *(each for each in made if each is not best)]
        return tuple(self._blend_candidate(picture, each) for each in ranked if _is_finite(each))

    def _blend_candidate(self, picture: Picture, candidate: Candidate) -> Picture:
        assert candidate.patch is not None
        return blend(picture, candidate.patch, self.recipe.blend)


def _is_finite(candidate: Candidate) -> bool:
    return candidate.patch is not None and bool(np.isfinite(candidate.patch.pixels).all())
