"""autofix run: fix files and folders."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click
from tqdm import tqdm

from autofix.cli.looking import region_line
from autofix.cli.options import chosen_recipe, recipe_options
from autofix.cli.pulling import download_bar
from autofix.errors import UsageError
from autofix.files import Found, find, shown
from autofix.frontends.batch import Batch, Destination, Record
from autofix.pipeline import Pipeline
from autofix.toolbox import Toolbox


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The folder for the results.")
@click.option("--in-place", is_flag=True, help="Replace the pictures themselves.")
@click.option("--backup", type=click.Path(path_type=Path), help="Copy originals here first.")
@click.option("--force", is_flag=True, help="Fix again what an earlier run finished.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--jsonl", metavar="FILE|-", help="One JSON object a picture.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="One line a region.")
@recipe_options
def command(
    inputs: tuple[str, ...],
    out: Path | None,
    in_place: bool,
    backup: Path | None,
    force: bool,
    dry_run: bool,
    jsonl: str | None,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Fix pictures: files, folders (with all below them), or globs.

    Results mirror the inputs' tree under OUT, in the same format and size; a picture with nothing
    to fix is copied byte for byte. What an earlier run finished is not done again.
    """
    recipe = chosen_recipe(settings)
    _check_destination(out, in_place, backup)
    # Originals go to the backup under the same names: they may not collide there either.
    found = find([Path(given) for given in inputs], out=out or backup)
    destination = Destination(out, _journal_folder(found, out), backup)
    with (
        Toolbox(recipe, progress=None if quiet else download_bar()) as toolbox,
        ExitStack() as stack,
    ):
        pipeline = Pipeline(recipe, toolbox)
        if dry_run:
            return _dry_run(found, pipeline)
        if recipe.inpaint.prompt and not pipeline.engine.facts.reads_prompt and not quiet:
            click.echo(f"{pipeline.engine.facts.name} does not read the prompt", err=True)
        batch = Batch(pipeline, destination, force=force)
        lines = _open_jsonl(jsonl, stack)
        counts: Counter[str] = Counter()
        for record in _with_bar(batch, found, quiet=quiet):
            _tell(record, counts, lines=lines, verbose=verbose)
    if not quiet and jsonl != "-":
        click.echo(_summary(counts, destination))
    return 1 if counts["pictures failed"] else 0


def _check_destination(out: Path | None, in_place: bool, backup: Path | None) -> None:
    if in_place == (out is not None):
        raise UsageError(
            "a run needs one place for its results", "give either -o OUT or --in-place"
        )
    if backup is not None and not in_place:
        raise UsageError("--backup is for --in-place", "with -o the inputs are never touched")


def _journal_folder(found: Sequence[Found], out: Path | None) -> Path:
    """The output folder, or in place the folder that holds all the pictures."""
    if out is not None or not found:
        return out or Path()
    return Path(os.path.commonpath([each.path.absolute().parent for each in found]))


def _with_bar(batch: Batch, found: Sequence[Found], *, quiet: bool) -> Any:
    return tqdm(
        batch.run(found),
        total=len(found),
        unit="picture",
        disable=True if quiet else None,  # None: off where stderr is no terminal
        file=sys.stderr,
    )


def _open_jsonl(jsonl: str | None, stack: ExitStack) -> IO[str] | None:
    if jsonl is None:
        return None
    if jsonl == "-":
        return sys.stdout
    try:
        return stack.enter_context(Path(jsonl).open("w", encoding="ascii"))
    except OSError as error:
        raise UsageError(
            f"--jsonl {jsonl!r} cannot be written: {error}", "name a file in a folder that exists"
        ) from error


def _tell(record: Record, counts: Counter[str], *, lines: IO[str] | None, verbose: bool) -> None:
    counts[f"pictures {record['status']}"] += 1
    for region in record["regions"]:
        counts[f"regions {region['result']}"] += 1
    if lines is not None:
        lines.write(json.dumps(record) + "\n")
        lines.flush()
    if record["status"] == "failed":
        name = shown(Path(record["input"]))
        where = "" if name in record["reason"] else f"{name}: "
        tqdm.write(f"failed: {where}{record['reason']}", file=sys.stderr)
    if verbose:
        tqdm.write(f"{record['status']}: {shown(Path(record['input']))}", file=sys.stderr)
        for said in (*record["notes"], *map(region_line, record["regions"])):
            tqdm.write(said, file=sys.stderr)


def _dry_run(found: Sequence[Found], pipeline: Pipeline) -> int:
    from autofix.cli.detect import look

    failed = False
    for record in look(found, pipeline):
        click.echo(f"{shown(Path(record['input']))}: {record['reason'] or record['status']}")
        for region in record["regions"]:
            click.echo(region_line(region))
        failed |= record["status"] == "failed"
    return int(failed)


def _summary(counts: Counter[str], destination: Destination) -> str:
    def part(kind: str, statuses: tuple[str, ...]) -> str:
        return ", ".join(
            f"{counts[f'{kind} {status}']} {status}"
            for status in statuses
            if counts[f"{kind} {status}"]
        )

    pictures = part("pictures", ("fixed", "unchanged", "done", "failed")) or "none"
    regions = part("regions", ("fixed", "kept", "skipped", "failed")) or "none found"
    place = destination.out or "their own places"
    return f"pictures: {pictures}; faces and hands: {regions}; results in {place}"
