#!/usr/bin/env python3
"""Whether this checkout gives the same results as another: pixels, files and metadata.

    scripts/compare_versions.py ../autofix-before --count 40

The pictures are those in samples/ and some of scripts/bench. Equal means: the same files, the same
pixels to the last bit, and the same metadata, but for the version in the record and settings that
have another name now. Exits 1 where anything differs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click
import numpy as np
from PIL import Image

from autofix.settings.recipe import parse_recipe, with_new_names
from benching.pictures import ROOT, make_pictures


@click.command()
@click.argument("other", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=40, show_default=True, help="Pictures of scripts/bench.")
def main(other: Path, count: int) -> None:
    """Fix the same pictures with both checkouts and compare what they made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder, count)
        inputs = folder / "pictures"
        shutil.copytree(ROOT / "samples", inputs / "samples")
        made = {}
        for checkout in (other.resolve(), ROOT):
            made[checkout] = folder / f"made {len(made)}"
            _run_autofix(checkout, inputs, made[checkout])
        old, new = made.values()
        names = [{path.relative_to(out) for path in _results(out)} for out in (old, new)]
        problems = [f"{name}: only one of both made it" for name in names[0] ^ names[1]]
        same = sorted(names[0] & names[1])
        problems += [f"{name}: {what}" for name in same for what in _differences(old, new, name)]
    click.echo("\n".join(problems) or f"{len(same)} results are equal")
    sys.exit(bool(problems))


def _run_autofix(checkout: Path, inputs: Path, out: Path) -> None:
    command = [sys.executable, "-m", "autofix", "run", str(inputs), "-o", str(out), "-q"]
    subprocess.run(
        command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, check=True
    )


def _results(out: Path) -> list[Path]:
    found = [path for path in out.rglob("*") if path.is_file() and ".autofix" not in path.parts]
    return sorted(found)


def _differences(old: Path, new: Path, name: Path) -> list[str]:
    if (old / name).read_bytes() == (new / name).read_bytes():
        return []
    with Image.open(old / name) as before, Image.open(new / name) as after:
        metadata = [_comparable(image.info | dict(image.getexif())) for image in (before, after)]
        if before.size != after.size or not np.array_equal(np.asarray(before), np.asarray(after)):
            return ["its pixels differ"]
    keys = metadata[0].keys() | metadata[1].keys()
    return [
        f"its {key} differs: {metadata[0].get(key)!r} and {metadata[1].get(key)!r}"
        for key in sorted(keys, key=str)
        if metadata[0].get(key) != metadata[1].get(key)
    ]


def _comparable(info: dict[Any, Any]) -> dict[Any, Any]:
    """The metadata, records without their version and with today's names of settings."""
    return {key: _comparable_value(value) for key, value in info.items()}


def _comparable_value(value: Any) -> Any:
    start = value.find('{"version"') if isinstance(value, str) else -1
    if start < 0:
        return value
    try:
        record = json.loads(value[start:])
    except ValueError:
        return value
    recipe = parse_recipe(with_new_names(record.pop("recipe", {})), origin="the record")
    del record["version"]
    return value[:start], record, recipe.model_dump()


if __name__ == "__main__":
    main()
