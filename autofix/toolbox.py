"""Recipe -> detectors and engines, opened once and closed together."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from autofix.engines.base import Engine
from autofix.engines.null import NullEngine
from autofix.engines.upscaling import Upscaler
from autofix.errors import DetectorSetupError, ModelError, UsageError
from autofix.recipe import Recipe
from detectors.base import Detector
from detectors.errors import DetectorError
from detectors.mesh import FaceMesh
from detectors.outlined import Outlined
from detectors.registry import kind_of, open_detector
from detectors.settings import DetectorSettings
from detectors.turned import Turned
from weights.download import Progress
from weights.environment import default_store
from weights.errors import WeightsError
from weights.store import Store

BUILTIN_MODEL = "face"
FACE_MESH = "face-mesh"
PIXELS_AT_ONCE = 4 * 192 * 192
"""Working-size pixels in one batch where `batch_size` is auto: what `scripts/bench` found fastest
on two CPU cores. A GPU wants more: set the size until it is measured there."""


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
        self._opened: dict[object, Detector | Engine | Upscaler] = {}

    @property
    def each(self) -> tuple[Toolbox, ...]:
        """One for each pass, closed with this one."""
        return tuple(self.using(recipe) for recipe in self.recipe.each)

    def using(self, recipe: Recipe) -> Toolbox:
        """Another recipe's toolbox: what both need is opened once, and closed with this one."""
        box = Toolbox(recipe, store=self._store, progress=self._progress, pipe=self._pipe)
        box._opened = self._opened
        return box

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
    def engine(self) -> Engine:
        """The recipe's engine; its weights load at the first repaint. Raises ModelError."""
        settings = self.recipe.inpaint
        key = (settings.model, settings.device, settings.dtype, settings.sampler)
        if key not in self._opened:
            self._opened[key] = self._open_engine()
        return cast(Engine, self._opened[key])

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
        """How many crops of this working size are repainted at once."""
        asked = self.recipe.inpaint.batch_size
        if asked != "auto":
            return asked
        return max(1, PIXELS_AT_ONCE // (size_wh[0] * size_wh[1]))

    def close(self) -> None:
        """Close what was opened."""
        for tool in self._opened.values():
            tool.close()
        self._opened.clear()

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
        return self.store.entry(given).kind, self.store.path(given, progress=self._progress)

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

    def _open_engine(self) -> Engine:
        given = self.recipe.inpaint.model
        if self._pipe is not None:
            from autofix.engines.diffusion import PipelineEngine

            return PipelineEngine(self._pipe, self.recipe.inpaint)
        if given == "null":
            return NullEngine()
        from autofix.engines.diffusion import DiffusionEngine

        if given == "builtin":
            try:
                folder = self.store.path(BUILTIN_MODEL)
            except WeightsError as error:
                raise ModelError(error.problem, error.advice) from error
        else:
            folder = Path(given).expanduser()
        return DiffusionEngine(folder, self.recipe.inpaint)
