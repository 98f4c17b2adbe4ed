"""What only a process of its own can tell: peak memory, and the time to the first face."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benching.pictures import ROOT

POINTS = 20
"""At so many places of a long run its peak is noted."""


def peak_memory(recipe: Path, pictures: Path, marks: Sequence[int]) -> dict[str, Any]:
    """Peak memory of one run, in MB, when so many pictures were done; the last mark is all.

    `pictures` are met again and again, by other names, until there are enough. `curve` has pairs
    of pictures done and peak so far; `cuda` is None where no CUDA is used. Raises
    subprocess.CalledProcessError.
    """
    with tempfile.TemporaryDirectory(dir=pictures.parent) as folder:
        many = _many(pictures, Path(folder) / "pictures", marks[-1])
        command = [Path(__file__), recipe, many, *map(str, marks)]
        done = subprocess.run(
            [sys.executable, *command], stdout=subprocess.PIPE, check=True, env=_environment()
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def first_face(recipe: Path, picture: Path) -> float:
    """Seconds from the start of `autofix run` to the first finished picture, which has one face.

    Raises RuntimeError where it was not fixed.
    """
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        run = [sys.executable, "-m", "autofix", "run", picture, "-o", out, "--recipe", recipe]
        with subprocess.Popen(
            [*run, "--quiet", "--jsonl", "-"],
            stdout=subprocess.PIPE,
            env=_environment(),
        ) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            seconds = time.perf_counter() - started
    record = json.loads(line) if line else {"status": "failed", "reason": "no record"}
    if record["status"] not in ("fixed", "unchanged") or not record["regions"]:
        raise RuntimeError(f"{picture.name} was not fixed: {record['reason']}")
    return seconds


def _many(pictures: Path, folder: Path, count: int) -> Path:
    """A folder with links to the pictures, over and over; their names still end as before."""
    originals = sorted(pictures.iterdir())
    for number in range(count):
        original = originals[number % len(originals)]
        place = folder / f"{number // len(originals):04}" / original.name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(original, place)
    return folder


def _environment() -> dict[str, str]:
    """With this checkout's autofix, installed or not, and this package."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def _peak_mb() -> float:
    """The high-water mark of resident memory.

    Not getrusage on Linux: there that of the process that started this one counts too.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


def _measure(recipe_file: str, pictures: Path, marks: Sequence[int]) -> dict[str, Any]:
    """The child's work: fix, and note the peaks. Results are removed as soon as they are made."""
    import torch

    from autofix.frontends.files.batch import Batch, Destination
    from autofix.imagefiles.files import find_pictures
    from autofix.pipeline.pipeline import Pipeline
    from autofix.pipeline.toolbox import Toolbox
    from autofix.settings.recipe_toml import load_recipe

    recipe = load_recipe(recipe_file)
    every = max(marks[-1] // POINTS, 1)
    curve, told = [], {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Toolbox(recipe) as toolbox,
        Pipeline(recipe, toolbox, bulk=True) as pipeline,
        Batch(pipeline, Destination(Path(folder), Path(folder))) as batch,
    ):
        out = Path(folder)
        for done, record in enumerate(batch.run(find_pictures([pictures], out=out)), start=1):
            if record["status"] == "failed":
                raise SystemExit(f"{record['input']} failed: {record['reason']}")
            Path(record["output"]).unlink()
            if done % every == 0:
                curve.append((done, round(_peak_mb(), 1)))
            if done in marks:
                cuda = torch.cuda.max_memory_allocated() / 2**20 if _uses_cuda() else None
                told[done] = {"rss": _peak_mb(), "cuda": cuda}
    return {"marks": [{"pictures": each, **told[each]} for each in marks], "curve": curve}


def _uses_cuda() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(_measure(given[0], Path(given[1]), [int(each) for each in given[2:]])))
