"""How fast autofix is here: efficiency, against a plain loop, by batch size, memory, and start."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click

from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe, to_toml
from benching import report
from benching.models import RANDOM, model_folder
from benching.pictures import ROOT, make_pictures

PROMPT, UNWANTED = "portrait of a person, sharp focus", "blurry, deformed"
FIRST_MARK, LONG_MARK = 50, 2000
QUICK = {"count": 4, "repeats": 1, "pictures": 6, "batches": "1,2"}


@click.command()
@click.option("--model", default="builtin", show_default=True,
              help="builtin, tiny, sd15, sdxl (random weights), or a folder.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="As for autofix run.")
@click.option("--dtype", default="auto", show_default=True, help="As for autofix run.")
@click.option("--size", default="auto", show_default=True, help="Working size; the model's own.")
@click.option("--steps", default="auto", show_default=True, help="The model's own.")
@click.option("--strength", default="auto", show_default=True,
              help="Denoising strength; what the model's facts say.")  # fmt: skip
@click.option("--batch", default="auto", show_default=True, help="Batch size but in --batches.")
@click.option("--batches", default="1,2,4,8", show_default=True, help="Those that are compared.")
@click.option("--detector", default="auto", show_default=True,
              help="What finds the faces end to end. auto: blazeface, or without mediapipe none: "
              "boxes are given.")  # fmt: skip
@click.option("--count", default=64, show_default=True, help="Pictures with 1 to 6 faces each.")
@click.option("--repeats", default=3, show_default=True, help="Each figure is the median of these.")
@click.option("--pictures", default=100, show_default=True,
              help="Peak memory after so many is compared with that after 50.")  # fmt: skip
@click.option("--long", "long_", is_flag=True, help=f"--pictures {LONG_MARK}")
@click.option("--only", multiple=True, type=click.Choice(list(report.ROWS)),
              help="Measure only these parts; figures of the others stay.")  # fmt: skip
@click.option("--quick", is_flag=True,
              help="A look in a minute, into build/bench: few pictures, no repeats.")  # fmt: skip
@click.option("--render", is_flag=True, help="Only write RESULTS.md and .png from what is kept.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="bench/")
def main(**given: Any) -> None:
    """Measure one configuration and write its section of OUT/RESULTS.md."""
    quick = given["quick"]
    out: Path = given["out"] or (ROOT / "build" / "bench" if quick else ROOT / "bench")
    if not given["render"]:
        if quick:
            given |= QUICK
        elif given["long_"]:
            given["pictures"] = LONG_MARK
        _measure_all(given, out)
    report.render(out)
    click.echo(f"written: {out / 'RESULTS.md'}")


def _measure_all(given: dict[str, Any], out: Path) -> None:
    """Measure part after part, and keep each as soon as it is known."""
    names = ("model", "device", "dtype", "size", "steps", "strength", "batch", "detector", "count")
    settings = {name: given[name] for name in (*names, "repeats")}
    named = (given[name] for name in ("dtype", "size") if given[name] != "auto")
    name = "-".join([Path(given["model"]).name, given["device"].replace(":", ""), *named])
    with tempfile.TemporaryDirectory() as folder:
        boxes = make_pictures(Path(folder), given["count"])
        recipe = _recipe(given, boxes)
        with Toolbox(recipe) as toolbox:
            bench = Bench(recipe, toolbox, boxes, given)
            for part in given["only"] or report.ROWS:
                figures = getattr(bench, part)()
                report.store(out, name, settings, {part: figures})
                for what, figure in report.ROWS[part](figures):
                    click.echo(f"{what}: {figure}")


def _recipe(given: dict[str, Any], boxes: Path) -> Recipe:
    """The settings of all runs; boxes are given."""
    cache = boxes.parent if given["model"] == "tiny" else ROOT / "build" / "bench" / "models"
    model = model_folder(given["model"], cache)
    changes: dict[str, object] = {
        "seed": 0,
        "detect.detectors": [f"scripted:{boxes}"],
        "crop.size": given["size"],
        # The plain loop turns no crop and skips none.
        "crop.align": "off",
        "crop.min_scale": 0,
        "model.name": model,
        "device.name": given["device"],
        "device.dtype": given["dtype"],
        "sampling.steps": given["steps"],
        "inpaint.strength": given["strength"],
        "device.batch_size": given["batch"],
        # A plain pipeline call counts its steps so.
        "sampling.step_count": "diffusers",
        "prompt.positive": PROMPT,
        "prompt.negative": UNWANTED,
    }
    if given["model"] in RANDOM:
        changes["check.enabled"] = False
    return load_recipe("face").override({key: _number(value) for key, value in changes.items()})


def _number(value: object) -> object:
    """Options are texts; the recipe wants numbers."""
    try:
        return float(value) if isinstance(value, str) and "." in value else int(str(value))
    except ValueError:
        return value


class Bench:
    """One configuration: each method measures one part and returns its figures as plain data."""

    def __init__(
        self, recipe: Recipe, toolbox: Toolbox, boxes: Path, given: dict[str, Any]
    ) -> None:
        self.recipe, self.toolbox, self.given = recipe, toolbox, given
        self.pictures, self.folder = boxes.parent / "pictures", boxes.parent

    def efficiency(self) -> list[dict[str, Any]]:
        """The bare calls' time over the run's: boxes given, and found by the real detector."""
        return [self._efficiency(*each) for each in self._detectors()]

    def sequential(self) -> dict[str, Any]:
        """Both autofix and the plain loop, in turns, end to end."""
        from benching.runs import PlainLoop

        detector, recipe = self._detectors()[-1]
        loop = PlainLoop(recipe, self.toolbox)
        self._warm(recipe)
        loop.run(self._one())
        pairs = [(self._run(recipe), loop.run(self.pictures)) for _ in self._repeats()]
        return {
            "detector": detector,
            "batch": self._batch(recipe),
            "faces": pairs[0][0].faces,
            "plain_faces": pairs[0][1].faces,
            "autofix": _median(ours.pace for ours, _ in pairs),
            "plain": _median(plain.pace for _, plain in pairs),
            "ratio": _median(ours.pace / plain.pace for ours, plain in pairs),
        }

    def batches(self) -> dict[str, float]:
        """Faces per second by batch size, boxes given; the sizes in turns."""
        sizes = [int(size) for size in self.given["batches"].split(",")]
        recipes = {size: self.recipe.override({"device.batch_size": size}) for size in sizes}
        for recipe in recipes.values():
            self._warm(recipe)
        runs = [
            {size: self._run(each).pace for size, each in recipes.items()} for _ in self._repeats()
        ]
        return {str(size): _median(run[size] for run in runs) for size in sizes}

    def memory(self) -> dict[str, Any]:
        """Peak memory after 50 pictures and after all; in the quick form after the first half."""
        from benching.children import peak_memory

        last = self.given["pictures"]
        marks = [FIRST_MARK if last > FIRST_MARK else max(last // 2, 1), last]
        return peak_memory(self._recipe_file(), self.pictures, marks)

    def start(self) -> dict[str, float]:
        """Seconds from process start to the first finished face."""
        from benching.children import first_face

        picture, recipe = next(self._one().iterdir()), self._recipe_file()
        return {"seconds": _median(first_face(recipe, picture) for _ in self._repeats())}

    def _efficiency(self, detector: str, recipe: Recipe) -> dict[str, Any]:
        from benching.recording import Recorder

        self._warm(recipe)
        measured = []
        for _ in self._repeats():
            recorder = Recorder()
            with recorder.recording():
                run = self._run(recipe)
            bare = recorder.bare_seconds()
            device = {part: recorder.seconds(part) for part in ("denoiser", "VAE")}
            where = {**device, "device idle": run.seconds - sum(device.values()), **run.stages}
            measured.append((bare / run.seconds, bare, run, where, recorder.wanted))
        middle = sorted(measured, key=lambda each: each[0])[len(measured) // 2]
        efficiency, bare, run, where, repaints = middle
        return {
            "detector": detector,
            "batch": self._batch(recipe),
            "pictures": self.given["count"],
            "faces": run.faces,
            "efficiency": efficiency,
            "wall": run.seconds,
            "bare": bare,
            "repaints": repaints,
            "where": where,
        }

    def _detectors(self) -> list[tuple[str, Recipe]]:
        """Boxes given; then, if there is one, the real detector."""
        name = self.given["detector"]
        if name == "auto":
            name = "blazeface" if importlib.util.find_spec("mediapipe") else "none"
        real = self.recipe.override({"detect.detectors": [name]}) if name != "none" else None
        return [("script", self.recipe), *([(name, real)] if real else [])]

    def _run(self, recipe: Recipe) -> Any:
        from benching.runs import autofix_run

        return autofix_run(recipe, self.toolbox, self.pictures)

    def _warm(self, recipe: Recipe) -> None:
        """Load what is needed, and let the libraries settle."""
        from benching.runs import autofix_run

        few = self.folder / "few"
        if not few.is_dir():
            few.mkdir()
            for picture in sorted(self.pictures.iterdir())[:8]:
                os.link(picture, few / picture.name)
        autofix_run(recipe, self.toolbox, few)

    def _batch(self, recipe: Recipe) -> int:
        """How many faces were repainted at once; auto is known once it has been tried."""
        toolbox, size = self.toolbox.for_recipe(recipe), recipe.crop.size
        side = toolbox.info.size.native
        return toolbox.batch_size((side, side) if size == "auto" else size)

    def _one(self) -> Path:
        """A folder with one picture of one face, whose box is known too."""
        one = self.folder / "one"
        if not one.is_dir():
            one.mkdir()
            boxes = json.loads((self.folder / "boxes.json").read_text(encoding="utf-8"))
            name = min(boxes, key=lambda each: len(boxes[each]))
            os.link(self.pictures / name, one / name)
        return one

    def _recipe_file(self) -> Path:
        """For other processes, with the real detector if there is one."""
        path = self.folder / "recipe.toml"
        path.write_text(to_toml(self._detectors()[-1][1]), encoding="utf-8")
        return path

    def _repeats(self) -> range:
        return range(self.given["repeats"])


def _median(values: Iterator[float]) -> float:
    return statistics.median(list(values))


if __name__ == "__main__":
    main()
