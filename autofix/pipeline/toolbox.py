"""Recipe -> detectors and engines: what is opened, how many of each, and where its files are."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from autofix.engines.base import LOADING, Engine, ModelInfo, cancellations_of, owns_memory
from autofix.engines.devices import device_and_dtype
from autofix.engines.locate import Source, resolve
from autofix.engines.null import NullEngine
from autofix.engines.resilient import Resilient
from autofix.engines.restoration.upscaler import Upscaler
from autofix.errors import DetectorSetupError, ModelError, UsageError
from autofix.pipeline.plugins import find_plugin, plugin_names
from autofix.pipeline.shared_models import SharedModels
from autofix.settings.model_folders import model_folders
from autofix.settings.recipe import Recipe
from autofix.stages.check import Identity
from detectors.base import Detector
from detectors.errors import DetectorError
from detectors.face_mesh import FaceMesh
from detectors.face_outline import OutlinedDetector
from detectors.registry import kind_of, open_detector
from detectors.rotated import RotatedDetector
from detectors.settings import DetectorSettings
from weights.download import Progress
from weights.environment import default_store, hub_url, is_offline
from weights.errors import WeightsError
from weights.store import Store

BUILTIN_MODEL = "face"
FACE_MESH = "face-mesh"

CORES_A_CPU_WORKER = 4
MOST_CPU_WORKERS = 4
"""Threads at most that search and check, each with detectors of its own."""

SMALL_PX = 256
"""Crops up to this side cannot use all cores: on a CPU some batches are inpainted side by side."""

MOST_INPAINT_WORKERS = 8


class Toolbox:
    """The tools of one recipe, opened when first used. A context manager. Thread-safe.

    While one thread uses a tool, no other does. Toolboxes that came from each other by
    `for_recipe` share what they both need.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        engine: Engine | None = None,
        detectors: Sequence[Detector] = (),
        identity: Identity | None = None,
        pipe: Any = None,
        store: Store | None = None,
        progress: Progress | None = None,
        shared: SharedModels | None = None,
    ) -> None:
        """`engine` and `detectors`, if given, take the place of the recipe's; the caller closes
        them. `identity` tells the check whether two faces are the same person. `pipe` is a loaded
        diffusers pipeline that inpaints in place of the recipe's model.
        """
        self.recipe = recipe
        self.identity = identity
        self._engine = engine
        self._detectors = tuple(detectors)
        self._pipe = pipe
        self._store = store
        self._progress = progress
        self._shared = shared or SharedModels()

    def for_recipe(self, recipe: Recipe) -> Toolbox:
        """Another recipe's toolbox: what both need is opened once, and closed with this one."""
        return Toolbox(
            recipe,
            engine=self._engine,
            detectors=self._detectors,
            identity=self.identity,
            pipe=self._pipe,
            store=self._store,
            progress=self._progress,
            shared=self._shared,
        )

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened and no thread uses. Closing again does nothing."""
        self._shared.close()

    @property
    def cpu_workers(self) -> int:
        """How many threads search and check: each has detectors of its own."""
        cores = os.cpu_count() or 1
        if self._detectors or cores < CORES_A_CPU_WORKER * 2:
            return 1
        return min(MOST_CPU_WORKERS, cores // CORES_A_CPU_WORKER)

    @property
    def inpaint_workers(self) -> int:
        """How many batches a run inpaints side by side, each in a thread with its own model."""
        if self._engine or self.info.size.native > SMALL_PX or not self._on_cpu:
            return 1
        import torch

        return min(torch.get_num_threads(), MOST_INPAINT_WORKERS)

    @property
    def info(self) -> ModelInfo:
        """What is known of the recipe's model without its weights. Raises UsageError."""
        return self._weightless_engine.info

    def check(self) -> None:
        """Raises UsageError where the model cannot obey the recipe. Loads no weights."""
        if self.recipe.device.name not in ("auto", "cpu"):
            device_and_dtype(self.recipe.device)  # else a run without faces would not miss it
        self._weightless_engine.check(self.recipe)

    @property
    def store(self) -> Store:
        """Where model files are. Raises UsageError for a setting that does not hold."""
        if self._store is None:
            try:
                self._store = default_store()
            except WeightsError as error:
                raise UsageError(error.problem, error.advice) from error
        return self._store

    @property
    def detectors_key(self) -> Hashable:
        """What recipes must share to search with the same detectors."""
        if self._detectors:
            return "given"
        detect, outlined = self.recipe.detect, self.recipe.mask.shape == "outline"
        return detect.detectors, self._detector_settings(), detect.turns, outlined

    @property
    def engine_key(self) -> Hashable:
        """What recipes must share to inpaint with the same weights."""
        if self._engine is not None or self._pipe is not None:
            return "given"
        model, device = self.recipe.model, self.recipe.device
        source = (model.name, model.revision, model.vae, model.trust_pickle)
        return source, (device.name, device.dtype, device.vram, device.compile)

    def detectors(self) -> AbstractContextManager[tuple[Detector, ...]]:
        """The recipe's detectors, in order, for this thread alone. Raises DetectorSetupError."""
        return self._shared.detectors.lend(
            self.detectors_key,
            self._open_detectors,
            _leave_open if self._detectors else _close_all,
            count=self.cpu_workers,
        )

    def engine(self) -> AbstractContextManager[Resilient]:
        """The recipe's engine, for this thread alone; its weights load at the first use.

        Raises UsageError.
        """
        given = self._engine is not None
        return self._shared.engines.lend(
            self.engine_key,
            lambda: Resilient(self._open_engine()),
            _leave_open if given else Resilient.close,
            count=1 if given else MOST_INPAINT_WORKERS,
        )

    def upscaler(self) -> AbstractContextManager[Upscaler]:
        """The model file that scales crops up, for this thread alone. Raises ModelError."""
        path = Path(self.recipe.crop.upscaler).expanduser()
        device = self.recipe.device
        return self._shared.upscalers.lend(
            (path, device.name, device.dtype),
            lambda: self._open_upscaler(path),
            Upscaler.close,
        )

    def batch_size(self, size_wh: tuple[int, int]) -> int:
        """How many crops of this working size are inpainted at once.

        Auto: on the CPU one, since more gain nothing there (bench/RESULTS.md) and one always gives
        the same bits; else the fastest, found by trying once for each model and size.
        """
        if self.recipe.device.batch_size != "auto":
            return self.recipe.device.batch_size
        if self._on_cpu or owns_memory(self._weightless_engine):
            return 1
        key = (self.engine_key, size_wh, self.recipe.inpaint.control)
        if key not in self._shared.batch_sizes:
            from autofix.engines.batch_size import fastest_batch

            with self.engine() as engine:
                self._shared.batch_sizes[key] = fastest_batch(engine.engine, size_wh, self.recipe)
        return self._shared.batch_sizes[key]

    @property
    def cancellations(self) -> tuple[type[BaseException], ...]:
        """What an engine raises where its host wants everything to end."""
        if self._engine is not None:
            return cancellations_of(self._engine)
        plugins = plugin_names("autofix.engines")
        passes = [one for one in self.recipe.each_pass if one.model.name in plugins]
        return tuple(
            kind
            for one in passes
            for kind in cancellations_of(self.for_recipe(one)._weightless_engine)
        )

    @property
    def _on_cpu(self) -> bool:
        if self.recipe.model.name == "null" or self._pipe is not None:
            return True
        return device_and_dtype(self.recipe.device)[0].startswith("cpu")

    @property
    def _weightless_engine(self) -> Engine:
        """An engine without weights, for questions that must not wait for a batch."""
        probes = self._shared.probes
        with self._shared.lock:
            if self.engine_key not in probes:
                probes[self.engine_key] = self._open_engine(weights=False)
            return probes[self.engine_key]

    def _open_detectors(self) -> tuple[Detector, ...]:
        # Libraries empty the parameters of all threads' models while they load weights.
        with LOADING:
            return self._detectors or tuple(map(self._open_detector, self.recipe.detect.detectors))

    def _open_upscaler(self, path: Path) -> Upscaler:
        device = device_and_dtype(self.recipe.device)[0]
        return Upscaler(path, device=device, trust_pickle=self.recipe.model.trust_pickle)

    def _open_detector(self, given: str) -> Detector:
        """A name from the manifest, a model file, or scripted:boxes.json."""
        try:
            settings = self._detector_settings()
            if make := find_plugin("autofix.detectors", given):
                detector: Detector = make(settings)
            else:
                detector = open_detector(*self._locate_detector(given), settings=settings)
            if self.recipe.mask.shape == "outline":
                detector = OutlinedDetector(detector, FaceMesh(self.store.path(FACE_MESH)))
            return RotatedDetector(detector) if self.recipe.detect.turns else detector
        except DetectorError as error:
            raise DetectorSetupError(f"detector {given!r} cannot be opened", str(error)) from error
        except WeightsError as error:
            raise DetectorSetupError(error.problem, error.advice) from error

    def _locate_detector(self, given: str) -> tuple[str, Path]:
        if given.startswith("scripted:"):
            return "scripted", Path(given.removeprefix("scripted:"))
        path = Path(given).expanduser()
        if path.suffix and (path.is_file() or os.sep in given):
            return kind_of(path), path
        try:
            path = self.store.path(given, progress=self._progress)
            return self.store.find_entry(given).kind, path
        except WeightsError:
            if kept := model_folders().look_up("detector", given):
                return kind_of(kept), kept
            raise

    def _detector_settings(self) -> DetectorSettings:
        settings = self.recipe.detect
        return DetectorSettings(
            confidence=None if settings.confidence == "auto" else settings.confidence,
            classes=settings.classes,
            image_size=settings.image_size,
            tile=settings.tile or None,
            device=None if self.recipe.device.name == "auto" else self.recipe.device.name,
            trust_pickle=settings.trust_pickle,
        )

    def _open_engine(self, *, weights: bool = True) -> Engine:
        given = self.recipe.model.name
        if self._engine is not None:
            return self._engine
        if self._pipe is not None:
            from autofix.engines.diffusion.engine import PipelineEngine

            return PipelineEngine(self._pipe, self.recipe)
        if given == "null":
            return NullEngine()
        if make := find_plugin("autofix.engines", given):
            engine: Engine = make(self.recipe)
            return engine
        from autofix.engines.diffusion.engine import DiffusionEngine
        from autofix.engines.restoration.engine import RestorationEngine

        if given == "builtin":
            try:
                folder = self.store.path(BUILTIN_MODEL)
            except WeightsError as error:
                raise ModelError(error.problem, error.advice) from error
            return DiffusionEngine(folder, self.recipe)
        source = self._locate_model(given, weights=weights)
        if source.kind == "restoration":
            return RestorationEngine(source.path, self.recipe)
        return DiffusionEngine(source, self.recipe)

    def _locate_model(self, given: str, *, weights: bool) -> Source:
        """Where a model is; one of a hub is fetched, or its configs alone."""
        try:
            return resolve(
                given,
                self.recipe,
                model_folders(),
                offline=is_offline(),
                endpoint=hub_url(),
                weights=weights,
            )
        except WeightsError as error:
            raise UsageError(error.problem, error.advice) from error


def _close_all(detectors: Sequence[Detector]) -> None:
    for detector in detectors:
        detector.close()


def _leave_open(tool: object) -> None:
    """Of what the caller made, and closes."""
