"""autofix detect: show what would be fixed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from autofix.cli.options import chosen_recipe, recipe_options
from autofix.cli.overlay import draw_overlay
from autofix.cli.reporting import region_line
from autofix.errors import PictureError
from autofix.imagefiles import files
from autofix.imagefiles.files import FoundFile
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.records import picture_record, region_record
from detectors.errors import DetectorError


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Draw numbered overlays here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
@recipe_options
def command(inputs: tuple[str, ...], out: Path | None, as_json: bool, **settings: Any) -> int:
    """Show what a run would fix: numbers, boxes, scores. Loads no inpainting model.

    With -o every picture is drawn as PNG, with mask, box, crop and number of each region.
    """
    recipe = chosen_recipe(settings)
    found = files.find_pictures([Path(given) for given in inputs], out=out)
    failed = False
    with Toolbox(recipe) as toolbox, Pipeline(recipe, toolbox) as pipeline:
        for record in detect_files(found, pipeline, out=out):
            failed |= record["status"] == "failed"
            if as_json:
                click.echo(json.dumps(record))
                continue
            count = f"{len(record['regions'])} found"
            line = f"{files.printable(record['input'])}: {record['reason'] or count}"
            click.echo(line, err=record["status"] == "failed")
            for region in record["regions"]:
                click.echo(region_line(region))
    return int(failed)


def detect_files(
    found: Sequence[FoundFile], pipeline: Pipeline, *, out: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Yields a record a picture of what would be done; with `out`, also writes an overlay each."""
    for picture in found:
        try:
            yield _detect_file(picture, pipeline, out)
        except (PictureError, DetectorError, OSError) as error:
            yield _record_of(picture, pipeline, status="failed", reason=str(error))


def _detect_file(found: FoundFile, pipeline: Pipeline, out: Path | None) -> dict[str, Any]:
    picture = files.read(found.path, name=found.relative)
    regions = pipeline.plan(picture)
    windows = [
        None if region.mask.empty else pipeline.window_of(picture, region) for region in regions
    ]
    drawn = None
    if out is not None:
        drawn = out / f"{found.relative}.png"
        buffer = io.BytesIO()
        draw_overlay(picture, regions, windows).save(buffer, "PNG")
        files.write_bytes(drawn, buffer.getvalue(), inside=out)
    records = [region_record(*pair) for pair in zip(regions, windows, strict=True)]
    return _record_of(
        found, pipeline, status="found", regions=records, output=str(drawn) if drawn else None
    )


def _record_of(found: FoundFile, pipeline: Pipeline, **more: Any) -> dict[str, Any]:
    return picture_record(
        input=str(found.path),
        recipe=pipeline.recipe.name,
        model=pipeline.model,
        **{"output": None, **more},
    )
