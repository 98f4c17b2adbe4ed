"""Recipe -> detectors and engines, opened once and closed together."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from autofix.engines.base import Engine, EngineFacts
from autofix.engines.locate import Source, resolve
from autofix.engines.memory import free
from autofix.engines.null import NullEngine
from autofix.engines.resilient import Resilient
from autofix.engines.restoration.upscaler import Upscaler
from autofix.errors import DetectorSetupError, ModelError, UsageError
from autofix.settings.recipe import Recipe
from autofix.settings.user_config import model_folders
from detectors.base import Detector
from detectors.errors import DetectorError
from detectors.face_mesh import FaceMesh
from detectors.face_outline import Outlined
from detectors.isolation import light_imports
from detectors.registry import kind_of, open_detector
from detectors.rotated import Turned
from detectors.settings import DetectorSettings
from weights.download import Progress
from weights.environment import default_store, hub, offline
from weights.errors import WeightsError
from weights.store import Store

BUILTIN_MODEL = "face"
FACE_MESH = "face-mesh"
CORES_A_LOOKER, MOST_LOOKERS = 4, 4

SMALL_PX, MOST_LANES = 256, 8
"""Crops up to this side keep several cores badly busy: on a CPU some are repainted side by side."""


class Toolbox:
    """What a recipe needs, opened when first used. A context manager; closing twice is fine.

    `each` has one toolbox for each pass of the recipe; passes that name the same model share it.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        store: Store | None = None,
        progress: Progress | None = None,
        pipe: Any = None,
    ) -> None:
        """`pipe` is a loaded diffusers pipeline that repaints in place of the recipe's model."""
        self.recipe = recipe
        self._pipe = pipe
        self._store = store
        self._progress = progress
        self._opened: dict[object, Detector | Engine | Upscaler | Toolbox] = {}
        self._batch_sizes: dict[object, int] = {}
        self._checked = False

    @property
    def each(self) -> tuple[Toolbox, ...]:
        """One for each pass, closed with this one."""
        return tuple(self.using(recipe) for recipe in self.recipe.each)

    def using(self, recipe: Recipe) -> Toolbox:
        """Another recipe's toolbox: what both need is opened once, and closed with this one."""
        box = Toolbox(recipe, store=self._store, progress=self._progress, pipe=self._pipe)
        box._opened, box._batch_sizes = self._opened, self._batch_sizes
        return box

    @property
    def lookers(self) -> int:
        """How many threads look at pictures beside the one that repaints."""
        cores = os.cpu_count() or 1
        return 1 if cores < CORES_A_LOOKER * 2 else min(MOST_LOOKERS, cores // CORES_A_LOOKER)

    @property
    def lanes(self) -> int:
        """How many batches a run repaints side by side, each in a thread with its own model."""
        if self.engine.facts.size.native > SMALL_PX or not self._on_cpu:
            return 1
        import torch

        return min(torch.get_num_threads(), MOST_LANES)

    def apart(self, thread: int) -> Toolbox:
        """The toolbox of one thread: neither detectors nor engines are shared by threads."""
        if thread == 0:
            return self
        key = ("apart", thread, self.recipe.fingerprint)
        if key not in self._opened:
            self._opened[key] = Toolbox(self.recipe, store=self._store, progress=self._progress)
        return cast(Toolbox, self._opened[key])

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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
    def detectors(self) -> tuple[Detector, ...]:
        """The recipe's detectors, in order. Raises DetectorSetupError."""
        detectors = []
        for given in self.recipe.detect.detectors:
            outlined = self.recipe.mask.shape == "outline"
            key = (given, self._detector_settings(), self.recipe.detect.turns, outlined)
            if key not in self._opened:
                self._opened[key] = self._open_detector(given)
            detectors.append(cast(Detector, self._opened[key]))
        return tuple(detectors)

    @property
    def detectors_by_name(self) -> dict[str, Detector]:
        """The same by the name that their detections carry."""
        return {detector.name: detector for detector in self.detectors}

    @property
    def engine(self) -> Resilient:
        """The recipe's engine; its weights load at the first repaint. Raises UsageError."""
        settings = self.recipe.inpaint
        where = (settings.device, settings.dtype, settings.vram, settings.compile)
        model = (settings.model, settings.revision, settings.vae, settings.trust_pickle)
        key = (*model, *where)
        if key not in self._opened:
            self._opened[key] = Resilient(self._open_engine())
        engine = cast(Resilient, self._opened[key])
        if not self._checked:
            engine.check(settings)
            self._checked = True
        return engine

    @property
    def facts(self) -> EngineFacts:
        """What can be told of the recipe's model without its weights. Raises ModelError."""
        return self._open_engine(weights=False).facts

    @property
    def upscaler(self) -> Upscaler:
        """The model file that scales crops up. Raises ModelError."""
        settings = self.recipe.inpaint
        path = Path(self.recipe.crop.upscaler).expanduser()
        key = (path, settings.device, settings.dtype)
        if key not in self._opened:
            from autofix.engines.devices import device_and_dtype

            self._opened[key] = Upscaler(
                path,
                device=device_and_dtype(settings)[0],
                trust_pickle=settings.trust_pickle,
            )
        return cast(Upscaler, self._opened[key])

    def batch_size(self, size_wh: tuple[int, int]) -> int:
        """How many crops of this working size are repainted at once.

        Auto: on the CPU one, since more gain nothing there (bench/RESULTS.md) and one always gives
        the same bits; else the fastest, found by trying once for each model and size.
        """
        settings = self.recipe.inpaint
        if settings.batch_size != "auto":
            return settings.batch_size
        if self._on_cpu:
            return 1
        key = (id(self.engine), size_wh, settings.control)
        if key not in self._batch_sizes:
            from autofix.engines.batch_size import fastest_batch

            self._batch_sizes[key] = fastest_batch(self.engine.engine, size_wh, settings)
        return self._batch_sizes[key]

    @property
    def _on_cpu(self) -> bool:
        from autofix.engines.devices import device_and_dtype

        if self.recipe.inpaint.model == "null" or self._pipe is not None:
            return True
        return device_and_dtype(self.recipe.inpaint)[0].startswith("cpu")

    def close(self) -> None:
        """Close what was opened, and give its memory back, a card's too."""
        for tool in self._opened.values():
            tool.close()
        self._opened.clear()
        self._batch_sizes.clear()
        free()

    def _open_detector(self, given: str) -> Detector:
        """A name from the manifest, a model file, or scripted:boxes.json."""
        try:
            kind, path = self._locate(given)
            detector = open_detector(kind, path, settings=self._detector_settings())
            if self.recipe.mask.shape == "outline":
                detector = Outlined(detector, FaceMesh(self.store.path(FACE_MESH)))
            return Turned(detector) if self.recipe.detect.turns else detector
        except DetectorError as error:
            raise DetectorSetupError(f"detector {given!r} cannot be opened", str(error)) from error
        except WeightsError as error:
            raise DetectorSetupError(error.problem, error.advice) from error

    def _locate(self, given: str) -> tuple[str, Path]:
        if given.startswith("scripted:"):
            return "scripted", Path(given.removeprefix("scripted:"))
        path = Path(given).expanduser()
        if path.suffix and (path.is_file() or os.sep in given):
            return kind_of(path), path
        try:
            return self.store.entry(given).kind, self.store.path(given, progress=self._progress)
        except WeightsError:
            if kept := model_folders().look("detector", given):
                return kind_of(kept), kept
            raise

    def _detector_settings(self) -> DetectorSettings:
        settings = self.recipe.detect
        return DetectorSettings(
            confidence=None if settings.confidence == "auto" else settings.confidence,
            classes=settings.classes,
            image_size=settings.image_size,
            tile=settings.tile or None,
            device=None if self.recipe.inpaint.device == "auto" else self.recipe.inpaint.device,
            trust_pickle=settings.trust_pickle,
        )

    def _open_engine(self, *, weights: bool = True) -> Engine:
        with light_imports():
            import torch  # noqa: F401
        given = self.recipe.inpaint.model
        if self._pipe is not None:
            from autofix.engines.diffusion.engine import PipelineEngine

            return PipelineEngine(self._pipe, self.recipe.inpaint)
        if given == "null":
            return NullEngine()
        from autofix.engines.diffusion.engine import DiffusionEngine
        from autofix.engines.restoration.engine import RestorationEngine

        if given == "builtin":
            try:
                folder = self.store.path(BUILTIN_MODEL)
            except WeightsError as error:
                raise ModelError(error.problem, error.advice) from error
            return DiffusionEngine(folder, self.recipe.inpaint)
        source = self._source(given, weights=weights)
        if source.kind == "restoration":
            return RestorationEngine(source.path, self.recipe.inpaint)
        return DiffusionEngine(source, self.recipe.inpaint)

    def _source(self, given: str, *, weights: bool) -> Source:
        """Where a model is; one of a hub is fetched, or its configs alone."""
        try:
            return resolve(
                given,
                self.recipe.inpaint,
                model_folders(),
                offline=offline(),
                endpoint=hub(),
                weights=weights,
            )
        except WeightsError as error:
            raise UsageError(error.problem, error.advice) from error
