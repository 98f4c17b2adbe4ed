"""Whole runs over the same pictures, files to files: autofix's, and the plain loop's."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autofix.engines.devices import device_and_dtype
from autofix.engines.diffusion.samplers import make_scheduler
from autofix.engines.model_info import read_own_toml
from autofix.frontends.files.batch import Batch, Destination
from autofix.imagefiles.files import find_pictures
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from autofix.stages.strength import strength_of
from benching.models import diffusers_folder
from benching.pictures import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import sequential


@dataclass(frozen=True)
class Run:
    """One run: its seconds, its faces by what became of them, and seconds by stage, if known."""

    seconds: float
    results: Counter[str]
    stages: dict[str, float]

    @property
    def faces(self) -> int:
        """Faces that were repainted, whether or not the check let them pass."""
        return self.results["fixed"] + self.results["kept"]

    @property
    def pace(self) -> float:
        """Faces per second."""
        return self.faces / self.seconds


def autofix_run(recipe: Recipe, toolbox: Toolbox, pictures: Path) -> Run:
    """Fix a folder as `autofix run` does, with what the toolbox has open.

    Raises RuntimeError where a picture failed or a face was skipped: that would look fast.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Pipeline(recipe, toolbox.for_recipe(recipe), bulk=True) as pipeline,
    ):
        out = Path(folder)
        found = find_pictures([pictures], out=out)
        started = time.perf_counter()
        with Batch(pipeline, Destination(out, out)) as batch:
            records = list(batch.run(found))
        seconds = time.perf_counter() - started
    regions = [region for record in records for region in record["regions"]]
    skipped = [region["reason"] for region in regions if region["result"] == "skipped"]
    failed = [record["reason"] for record in records if record["status"] == "failed"]
    if bad := failed + skipped:
        raise RuntimeError(f"{len(bad)} pictures failed or faces were skipped, the first: {bad[0]}")
    results = Counter(region["result"] for region in regions)
    return Run(seconds, results, dict(pipeline.timing.seconds))


class PlainLoop:
    """The loop of bench/sequential.py with a recipe's settings and its own copy of the model."""

    def __init__(self, recipe: Recipe, toolbox: Toolbox) -> None:
        self._toolbox = toolbox.for_recipe(recipe)
        sampling, info = recipe.sampling, self._toolbox.info
        folder = diffusers_folder(recipe.model.name)
        own = read_own_toml(folder)
        named = sampling.sampler != "auto" or own.get("sampler")
        sampler = info.sampler if sampling.sampler == "auto" else sampling.sampler
        self._pipe = sequential.load(
            folder,
            *device_and_dtype(recipe.device),
            partial(make_scheduler, sampler) if named else None,
        )
        cfg = info.cfg if sampling.cfg == "auto" else sampling.cfg
        self._prompts = sequential.encode(
            self._pipe, recipe.prompt.positive, recipe.prompt.negative, cfg
        )
        size = recipe.crop.size
        self._settings = sequential.Settings(
            size=info.size.native if size == "auto" else size[0],
            steps=info.steps if sampling.steps == "auto" else sampling.steps,
            strength=lambda face, size_wh: strength_of(face, size_wh, recipe.inpaint, info),
            padding=info.padding.px,
            seed=0 if recipe.seed == "auto" else recipe.seed,
            whole_crop=own.get("conditioning") == "crop",
            coarse_sigma=float(own.get("coarse_from_crop", 0)),
        )

    def run(self, pictures: Path) -> Run:
        """Fix a folder."""
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            faces = self.fix(sorted(pictures.iterdir()), Path(folder))
            seconds = time.perf_counter() - started
        return Run(seconds, Counter(fixed=faces), {})

    def fix(self, paths: list[Path], out: Path) -> int:
        """Fix these pictures, save them in `out`, and count the faces."""
        with self._toolbox.detectors() as detectors:
            return sequential.fix_all(
                paths, out, self._pipe, detectors[0], self._prompts, self._settings
            )
