"""The way of a picture through passes and stages, and the batches that pictures share.

`Pipeline.fix_picture` is that way, top to bottom.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType

from autofix.engines.resilient import PatchOrError
from autofix.errors import UsageError
from autofix.geometry import Window
from autofix.metadata import read_generation, record_fix
from autofix.pipeline.batcher import Batcher
from autofix.pipeline.in_flight import InFlight, Ticket
from autofix.pipeline.passes import Candidate, Pass
from autofix.pipeline.region_graph import overlap_waves
from autofix.pipeline.timing import PictureTime, Timing
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from autofix.stages.check import check
from autofix.stages.detect import detect
from autofix.stages.inpaint import inpaint
from autofix.values import Crop, Finding, Outcome, Patch, Picture, Region, RegionResult
from detectors.detection import Detection

DETECT_AT_ONCE = 4
"""Pictures of one size at most that are searched together."""

CHECK_AT_ONCE = 16
"""Patches at most that are checked together."""

RECIPES_KEPT = 64
"""Recipes at most whose passes are kept ready: clients may send one with each picture."""


class Pipeline:
    """Fixes pictures, many at a time, with models that stay open. A context manager. Thread-safe.

    Every way in submits its pictures here. Each picture in flight is fixed in a thread of its own;
    detection, inpainting and checks happen in batches, in worker threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        toolbox: Toolbox,
        *,
        bulk: bool = False,
        keep_candidates: bool = False,
        timing: Timing | None = None,
        idle_seconds: float = 0.0,
        on_unload: Callable[[], object] = lambda: None,
    ) -> None:
        """`recipe` is for pictures that are submitted without one.

        `bulk` is for many pictures, whose bytes must be the same in every run: short batches are
        filled up, since the size of its batch moves a face's pixels by rounding; and on a CPU a
        small model inpaints several batches side by side, each with one core. Without it one batch
        has all cores, so that a single picture is done sooner.
        After `idle_seconds` without a picture, if not 0, the models are closed and `on_unload` is
        called; the next picture opens them again.
        """
        self.recipe = recipe
        self.toolbox = toolbox
        self.timing = timing or Timing()
        self._bulk = bulk
        self._keep_candidates = keep_candidates
        self._on_unload = on_unload
        self.in_flight = InFlight(idle_seconds=idle_seconds, on_idle=self._unload_models)
        self._passes: dict[str, tuple[Pass, ...]] = {}
        self._lock = threading.Lock()
        self._cores = _Cores()
        of_no_item: tuple[type[BaseException], ...] = (UsageError, *toolbox.cancellations)
        self._detection = Batcher(
            self._detect_batch,
            self.in_flight,
            name="detect",
            size=lambda _: DETECT_AT_ONCE,
            workers=lambda: toolbox.cpu_workers,
            fatal=of_no_item,
        )
        self._inpainting = Batcher(
            self._inpaint_batch,
            self.in_flight,
            name="inpaint",
            size=_inpaint_size,
            workers=self._count_inpaint_workers,
            set_up_worker=self._cores.take_share,
            patient=True,
            fatal=of_no_item,
        )
        self._checking = Batcher(
            self._check_batch,
            self.in_flight,
            name="check",
            size=lambda _: CHECK_AT_ONCE,
            workers=lambda: toolbox.cpu_workers,
            fatal=of_no_item,
        )

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # On Ctrl-C, do not wait for the running batch.
        self.close(wait=kind is None or issubclass(kind, Exception))

    def close(self, *, wait: bool = True) -> None:
        """End all threads; `wait` for what is in flight. Closing again does nothing."""
        self.in_flight.close(wait=wait)
        for batcher in (self._detection, self._inpainting, self._checking):
            batcher.close(wait=wait)
        self._cores.give_back()

    @property
    def model(self) -> str:
        """The names of the passes' models, each once. Raises ModelError."""
        return " + ".join(dict.fromkeys(one.info.name for one in self.passes_of()))

    @property
    def closed(self) -> bool:
        """Whether no more pictures can be submitted."""
        return self.in_flight.closed

    @property
    def most_in_flight(self) -> int:
        """How many pictures may be in flight together; it grows with the size of the batches."""
        return self.in_flight.limit

    def passes_of(self, recipe: Recipe | None = None) -> tuple[Pass, ...]:
        """The passes of a recipe, which their models can obey. Raises UsageError."""
        recipe = recipe or self.recipe
        with self._lock:
            if (passes := self._passes.get(recipe.fingerprint)) is None:
                passes = tuple(
                    Pass(
                        index,
                        each,
                        self.toolbox.for_recipe(each),
                        keep_candidates=self._keep_candidates,
                    )
                    for index, each in enumerate(recipe.each_pass)
                )
                if len(self._passes) >= RECIPES_KEPT:
                    self._passes.clear()
                self._passes[recipe.fingerprint] = passes
        return passes

    def open_models(self, recipe: Recipe | None = None) -> None:
        """Open what every pass needs, but for weights, so that what is missing is reported now.

        Raises UsageError, as DetectorSetupError or ModelError.
        """
        for one in self.passes_of(recipe):
            with one.toolbox.engine(), one.toolbox.detectors():
                pass
        self.in_flight.start_idle_timer()

    def plan(self, picture: Picture, recipe: Recipe | None = None) -> tuple[Region, ...]:
        """What would be inpainted in a picture, and what skipped; loads no engine's weights.

        Of a recipe with several passes each sees the picture as it is now. Raises UsageError, and
        detectors' DetectorError where a model fails.
        """
        generation = read_generation(picture.source)
        regions: tuple[Region, ...] = ()
        for one in self.passes_of(recipe):
            (found,) = self._detect_batch([(one, picture)])
            regions += one.choose_regions(picture, found, generation)
        return regions

    def window_of(self, picture: Picture, region: Region) -> Window:
        """The window through which the engine will see a region of `plan`."""
        return self.passes_of()[region.pass_index].window_of(picture, region)

    def submit(self, picture: Picture, recipe: Recipe | None = None) -> Future[Outcome]:
        """Fix a picture as soon as there is room. The future can be cancelled until it is done.

        An engine's failure makes its regions `failed` and leaves their pixels as they were. The
        future raises UsageError for a setting, detector or model that cannot work, and otherwise
        what went wrong with this picture.
        """
        return self.in_flight.start_picture(partial(self.fix_picture, picture, recipe))

    def stream(self, pictures: Iterable[Picture]) -> Iterator[Outcome | Exception]:
        """For each picture in order its Outcome, or what went wrong with it.

        Pictures are taken from the iterable as there is room for them. Raises UsageError, and what
        an engine names as its cancellation.
        """
        for future in self.in_flight.feed_pictures(
            self.submit, pictures, room=lambda: self.most_in_flight
        ):
            yield self._outcome_or_error(future)

    def fix(self, pictures: Iterable[Picture]) -> list[Outcome]:
        """One Outcome a picture, in order. Raises what went wrong with any."""
        outcomes = []
        for answer in self.stream(pictures):
            if isinstance(answer, Exception):
                raise answer
            outcomes.append(answer)
        return outcomes

    def fix_picture(self, picture: Picture, recipe: Recipe | None, ticket: Ticket) -> Outcome:
        """The way of one picture through every pass, in a thread of its own; see `submit`."""
        spent = PictureTime(self.timing)
        generation = read_generation(picture.source)
        results: list[RegionResult] = []
        for one in self.passes_of(recipe):
            detections = self._detect_batched(one, picture, ticket, spent)
            regions = one.choose_regions(picture, detections, generation)
            windows = one.windows_of(picture, regions)
            done = {each.index: RegionResult(each, "skipped", each.skip) for each in regions}
            for wave in overlap_waves(windows, cycles=one.recipe.inpaint.cycles):
                to_fix = one.regions_of(wave, regions, done, picture)
                for attempt in range(one.attempts):
                    last = attempt == one.attempts - 1
                    with spent.time_stage("crop"):
                        candidates = one.crop_candidates(picture, to_fix, windows)
                    candidates = self._inpaint_batched(one, candidates, ticket, spent)
                    candidates = self._check_batched(one, candidates, ticket, spent)
                    with spent.time_stage("blend"):
                        picture, ended = one.blend_passing(picture, candidates, last=last)
                    _add_results(done, ended)
                    to_fix = [one.next_attempt(each) for each in to_fix if each.index not in ended]
            results += done.values()
        outcome = Outcome(picture, tuple(results), spent.seconds)
        return _with_record(outcome, recipe or self.recipe)

    def _detect_batched(
        self, one: Pass, picture: Picture, ticket: Ticket, spent: PictureTime
    ) -> tuple[Detection, ...]:
        (found,), seconds = self._detection.make_all(
            ticket, [(one.detect_kind(picture), (one, picture))]
        )
        spent.seconds += seconds
        return found

    def _inpaint_batched(
        self, one: Pass, candidates: Sequence[Candidate], ticket: Ticket, spent: PictureTime
    ) -> list[Candidate]:
        """The candidates, each with its patch, or with the reason why it has none."""
        crops = [each.crop for each in candidates if each.crop is not None]
        made, seconds = self._inpainting.make_all(
            ticket, [(one.inpaint_kind(crop), (one, crop)) for crop in crops]
        )
        spent.seconds += seconds
        answers = iter(made)
        return [
            each if each.crop is None else each.with_answer(next(answers)) for each in candidates
        ]

    def _check_batched(
        self, one: Pass, candidates: Sequence[Candidate], ticket: Ticket, spent: PictureTime
    ) -> list[Candidate]:
        """The candidates, those with a patch with its findings."""
        patches = [each.patch for each in candidates if each.patch is not None]
        made, seconds = self._checking.make_all(
            ticket, [(one.check_kind, (one, patch)) for patch in patches]
        )
        spent.seconds += seconds
        findings = iter(made)
        return [
            each if each.patch is None else replace(each, findings=next(findings))
            for each in candidates
        ]

    def _detect_batch(self, batch: Sequence[tuple[Pass, Picture]]) -> list[tuple[Detection, ...]]:
        """In a worker thread: what is in each picture; all are of one `Pass.detect_kind`."""
        one = batch[0][0]
        with self.timing.time_stage("detect"), one.toolbox.detectors() as detectors:
            return detect([picture for _, picture in batch], detectors, one.recipe.detect)

    def _inpaint_batch(self, batch: Sequence[tuple[Pass, Crop]]) -> list[PatchOrError]:
        """In a worker thread: a patch a crop; all are of one `Pass.inpaint_kind`."""
        one, crops = batch[0][0], [crop for _, crop in batch]
        short = _inpaint_size(batch[0]) - len(crops) if self._bulk else 0
        with self.timing.time_stage("inpaint"), one.toolbox.engine() as engine:
            answers = inpaint([*crops, *[crops[-1]] * short], engine, one.recipe)
        return answers[: len(crops)]

    def _check_batch(self, batch: Sequence[tuple[Pass, Patch]]) -> list[tuple[Finding, ...]]:
        """In a worker thread: what the check finds; all are of one `Pass.check_kind`."""
        one, patches = batch[0][0], [patch for _, patch in batch]
        with self.timing.time_stage("check"), one.toolbox.detectors() as detectors:
            by_name = {detector.name: detector for detector in detectors}
            return check(patches, by_name, one.bounds, identity=self.toolbox.identity)

    def _count_inpaint_workers(self) -> int:
        count = min(one.toolbox.inpaint_workers for one in self.passes_of()) if self._bulk else 1
        self._cores.share_among(count)
        return count

    def _outcome_or_error(self, future: Future[Outcome]) -> Outcome | Exception:
        """Raises what is wrong with more than this picture."""
        error = future.exception()
        if error is None:
            return future.result()
        for_all = isinstance(error, (UsageError, *self.toolbox.cancellations))
        if for_all or not isinstance(error, Exception):
            raise error
        return error

    def _unload_models(self) -> None:
        self.toolbox.close()
        self._on_unload()


class _Cores:
    """Torch's threads, shared among workers that compute side by side."""

    def __init__(self) -> None:
        self._all = 0
        self._share = 0

    def share_among(self, workers: int) -> None:
        """Each worker that asks gets its share from now on; with one worker nothing changes."""
        if workers > 1:
            import torch

            self._all = torch.get_num_threads()
            self._share = max(1, self._all // workers)

    def take_share(self) -> None:
        """To be called in a worker's thread."""
        if self._share:
            import torch

            torch.set_num_threads(self._share)

    def give_back(self) -> None:
        """Let the calling thread have all of them again."""
        if self._all:
            import torch

            torch.set_num_threads(self._all)


def _inpaint_size(given: tuple[Pass, Crop]) -> int:
    """How many crops like this one are a full batch."""
    one, crop = given
    return one.toolbox.batch_size(crop.window.size_wh)


def _add_results(done: dict[int, RegionResult], ended: dict[int, RegionResult]) -> None:
    """Keep what became of regions; what an earlier cycle fixed stays fixed."""
    for index, result in ended.items():
        if done[index].status != "fixed" or result.status == "fixed":
            done[index] = result


def _with_record(outcome: Outcome, recipe: Recipe) -> Outcome:
    """The outcome, its picture saying what was fixed."""
    if not outcome.changed:
        return outcome
    source = record_fix(outcome.picture.source, outcome, recipe)
    return replace(outcome, picture=replace(outcome.picture, source=source))
