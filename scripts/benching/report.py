"""Figures kept as JSON, one file a configuration, and the page and plot made of all of them."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "mediapipe", "numpy", "pillow")
HEAD = """\
# Measured

`scripts/bench` measures this, each configuration by itself; its figures are in `results/`. The
pictures are made from `samples/` under a fixed seed: about a million pixels each, with 1 to 6 small
faces. A figure is the median of its repeats. Models with random weights (tiny, sd15, sdxl) paint
nonsense at the true model's speed, and without the check, which would refuse it.

- Efficiency is the time that the bare denoiser and VAE calls need for the same faces, in full
  batches with nothing else running, in parts of the whole run's, from files to files. These calls
  come one after the other with all cores; on a CPU a run repaints small faces side by side, a core
  each, which is faster, so that it can exceed 1.
- The plain loop (`sequential.py`) is what one writes with diffusers and Pillow: the same detector,
  boxes, padding, size, steps, strength and precision, one face a call, and no check.
- In both the libraries and models are loaded before the clock starts.

![Faces per second by batch size, where the time goes, and peak memory](RESULTS.png)
"""

Config = dict[str, Any]


def store(folder: Path, name: str, settings: dict[str, Any], parts: dict[str, Any]) -> None:
    """Keep figures of a configuration, beside its earlier ones of other parts.

    Those of another machine, or with other settings or library versions, are dropped.
    """
    path = folder / "results" / f"{name}.json"
    about = {"settings": settings, "machine": machine(), "versions": versions()}
    known: Config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(known.get(key) == value for key, value in about.items())
    kept = known["parts"] if same else {}
    config = {"name": name, "date": str(date.today()), **about, "parts": {**kept, **parts}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def render(folder: Path) -> None:
    """Write RESULTS.md and RESULTS.png anew from all that is kept under `folder`.

    Without matplotlib the plot stays as it is.
    """
    kept = sorted((folder / "results").glob("*.json"))
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
    sections = ["\n".join(_section(config)) for config in configs]
    (folder / "RESULTS.md").write_text("\n".join([HEAD, *sections]), encoding="utf-8")
    if configs and importlib.util.find_spec("matplotlib"):
        plot(configs, folder / "RESULTS.png")


def _section(config: Config) -> Iterator[str]:
    yield f"## {config['name']}\n"
    settings = ", ".join(f"{key} {value}" for key, value in config["settings"].items())
    said = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    yield f"{config['date']}, {config['machine']}. {said}.\n"
    yield f"Settings: {settings}.\n"
    yield "| what | figure |\n| --- | --- |"
    for name, rows in ROWS.items():
        if name in config["parts"]:
            yield from (f"| {what} | {figure} |" for what, figure in rows(config["parts"][name]))
    yield ""


def _efficiency(part: Any) -> Iterator[tuple[str, str]]:
    for each in part:
        where = f"{each['pictures']} pictures, {each['faces']} faces, boxes by {each['detector']}"
        yield f"**efficiency**, {where}, batch {each['batch']}", f"**{each['efficiency']:.3f}**"
        yield (
            "the run; its bare denoiser and VAE calls",
            (f"{each['wall']:.1f} s; {each['bare']:.1f} s for {each['repaints']} repaints"),
        )
        # Faces repainted side by side take more time than the run has: nothing is idle then.
        seconds = ", ".join(f"{name} {max(value, 0):.1f}" for name, value in each["where"].items())
        yield "where its time went, s (the stages overlap)", seconds


def _sequential(part: Any) -> Iterator[tuple[str, str]]:
    where = f"{part['faces']} faces, boxes by {part['detector']}"
    yield f"autofix, batch {part['batch']}, {where}", f"{part['autofix']:.2f} faces/s"
    yield f"plain loop, {part['plain_faces']} faces", f"{part['plain']:.2f} faces/s"
    yield "**autofix over the plain loop**", f"**{part['ratio']:.2f} x**"


def _batches(part: Any) -> Iterator[tuple[str, str]]:
    for batch, pace in part.items():
        yield f"autofix, batch {batch}, boxes given", f"{pace:.2f} faces/s"


def _memory(part: Any) -> Iterator[tuple[str, str]]:
    first, *_, last = part["marks"]
    for mark in part["marks"]:
        cuda = f", {mark['cuda']:.0f} MB on the GPU" if mark["cuda"] else ""
        yield f"peak memory after {mark['pictures']} pictures", f"{mark['rss']:.0f} MB{cuda}"
    more = last["rss"] / first["rss"] - 1
    yield "**growth of the peak**", f"**{more:+.1%}**"


def _start(part: Any) -> Iterator[tuple[str, str]]:
    yield "process start to the first finished face", f"{part['seconds']:.1f} s"


ROWS = {
    "efficiency": _efficiency,
    "sequential": _sequential,
    "batches": _batches,
    "memory": _memory,
    "start": _start,
}
"""What is measured, in this order: the parts by the names that `--only` takes."""


def plot(configs: list[Config], path: Path) -> None:
    """One row a configuration: pace by batch size, where the time went, and peak memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2 * len(configs)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(configs), 3, squeeze=False)
    for (pace, where, memory), config in zip(axes, configs, strict=True):
        parts = config["parts"]
        _plot_pace(pace, parts)
        _plot_where(where, parts.get("efficiency", []))
        for part in filter(None, [parts.get("memory")]):
            memory.plot(*zip(*part["curve"], strict=True))
            memory.set_ylim(bottom=0)
        pace.set(title=f"{config['name']}: pace", xlabel="batch", ylabel="faces / s")
        memory.set(title="peak memory", xlabel="pictures", ylabel="MB")
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _plot_pace(axis: Any, parts: Config) -> None:
    batches = parts.get("batches", {})
    axis.bar(list(batches), list(batches.values()))
    if "sequential" in parts:
        axis.axhline(parts["sequential"]["plain"], color="C1", label="plain loop")
        axis.legend(loc="lower right")


def _plot_where(axis: Any, runs: Any) -> None:
    """Seconds in denoiser and VAE on a bar of the whole run's length."""
    for run in runs:
        place, left = f"boxes by\n{run['detector']}", 0.0
        busy = sum(run["where"].get(name, 0.0) for name in ("denoiser", "VAE"))
        side_by_side = max(1, math.ceil(busy / run["wall"]))
        axis.barh(place, run["wall"], color="0.85")
        for colour, name in enumerate(("denoiser", "VAE")):
            width = run["where"].get(name, 0.0) / side_by_side
            axis.barh(place, width, left=left, color=f"C{colour}", height=0.6)
            axis.text(left + width / 2, place, name, ha="center", va="center", fontsize=8)
            left += width
    axis.set(title="the run's time (grey: device idle)", xlabel="s")


def machine() -> str:
    """Processor and cores, and the GPU where torch has one."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [n for n in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in n]
        processor = names[0].partition(":")[2].strip() if names else processor
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, as far as they are installed."""
    told = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = "none"
    return told
