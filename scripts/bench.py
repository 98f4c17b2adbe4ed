"""How fast it is here: end to end on the sample pictures, by batch size, and detection alone."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PACKAGES = ("autofix", "torch", "diffusers", "mediapipe", "ultralytics", "numpy", "pillow")


@click.command()
@click.option("--model", default="builtin", show_default=True, help="As for autofix run.")
@click.option("--device", default="auto", show_default=True, help="As for autofix run.")
@click.option(
    "--batch", "batches", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True
)
@click.option("--repeat", default=3, show_default=True, help="Take the best of so many runs.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench" / "RESULTS.md")
def main(model: str, device: str, batches: tuple[int, ...], repeat: int, out: Path) -> None:
    """Measure, print, and write OUT with machine, date and versions."""
    lines = [
        "# Measured",
        "",
        f"{datetime.date.today()}, {_machine()}, device {device}, model {model}.",
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES) + ".",
        "Best of " + f"{repeat} runs; `scripts/bench` measures it again.",
        "",
        "| what | figure |",
        "| --- | --- |",
    ]
    for what, figure in _measured(model, device, batches, repeat):
        click.echo(f"{what}: {figure}")
        lines.append(f"| {what} | {figure} |")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _measured(
    model: str, device: str, batches: tuple[int, ...], repeat: int
) -> Iterator[tuple[str, str]]:
    from autofix.files import find, read
    from autofix.pipeline import Pipeline
    from autofix.recipe_file import load
    from autofix.toolbox import Toolbox

    found = find([ROOT / "samples"], out=None)
    pictures = [read(each.path, name=each.relative) for each in found]
    recipe = load("face").override({"inpaint.model": model, "inpaint.device": device})
    with Toolbox(recipe) as toolbox:
        pipeline = Pipeline(recipe, toolbox)
        started = time.perf_counter()
        pipeline.fix(pictures[1:2])
        yield "first picture, libraries and models loaded on the way", _seconds(started)
        seconds = min(_timed(lambda: pipeline.plan(pictures)) for _ in range(repeat))
        yield "detection", f"{seconds / len(pictures):.2f} s a picture"
    for batch in batches:
        with Toolbox(recipe.override({"inpaint.batch_size": batch})) as toolbox:
            pipeline = Pipeline(toolbox.recipe, toolbox)
            pipeline.fix(pictures)
            seconds, faces = min(_whole_run(pipeline, repeat))
            yield f"end to end, files to files, batch {batch}", f"{faces / seconds:.2f} faces/s"


def _whole_run(pipeline: object, repeat: int) -> Iterator[tuple[float, int]]:
    """Seconds and repainted faces of whole runs over samples/, models already loaded."""
    from autofix.files import find
    from autofix.frontends.batch import Batch, Destination
    from autofix.pipeline import Pipeline

    assert isinstance(pipeline, Pipeline)
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            found = find([ROOT / "samples"], out=out)
            started = time.perf_counter()
            records = list(Batch(pipeline, Destination(out, out)).run(found))
            seconds = time.perf_counter() - started
        regions = [region for record in records for region in record["regions"]]
        yield seconds, sum(region["result"] == "fixed" for region in regions)


def _timed(call: object) -> float:
    started = time.perf_counter()
    assert callable(call)
    call()
    return time.perf_counter() - started


def _seconds(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"


def _machine() -> str:
    """Processor, cores and memory, and the GPU where torch has one."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [n for n in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in n]
        processor = names[0].partition(":")[2].strip() if names else processor
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


if __name__ == "__main__":
    main()
