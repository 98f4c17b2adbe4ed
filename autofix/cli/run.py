"""autofix run: fix files and folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from autofix.cli.options import chosen_recipe, recipe_options
from autofix.cli.progress import Reasons, download_bar, where_time_went, with_progress
from autofix.cli.reporting import (
    open_jsonl,
    pictures_text,
    region_line,
    regions_text,
    report_record,
    show_warnings,
    warn_unread_prompts,
)
from autofix.errors import UsageError
from autofix.frontends.files.batch import Batch, Destination
from autofix.frontends.files.output_lock import locked_output
from autofix.imagefiles.files import FoundFile, find_pictures, printable, remove_temporaries
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.region_sections import Check


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The folder for the results.")
@click.option("--in-place", is_flag=True, help="Replace the pictures themselves.")
@click.option("--backup", type=click.Path(path_type=Path), help="Copy originals here first.")
@click.option("--force", is_flag=True, help="Fix again what an earlier run finished.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--keep-candidates", is_flag=True, help="Save all --candidates beside the results.")
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
    keep_candidates: bool,
    jsonl: str | None,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Fix pictures: files, folders (with all below them), or globs.

    Results mirror the inputs' tree under OUT, in the same format and size; a picture with nothing
    to fix is copied byte for byte. What an earlier run finished is not done again.
    """
    show_warnings(quiet=quiet)
    recipe = chosen_recipe(settings)
    _check_destination(out, in_place, backup)
    # Originals go to the backup under the same names: they may not collide there either.
    found = find_pictures([Path(given) for given in inputs], out=out or backup)
    destination = Destination(out, _journal_folder(found, out), backup)
    with ExitStack() as stack:
        progress = None if quiet else download_bar()
        toolbox = stack.enter_context(Toolbox(recipe, progress=progress))
        pipeline = stack.enter_context(
            Pipeline(recipe, toolbox, bulk=True, keep_candidates=keep_candidates)
        )
        if dry_run:
            return _dry_run(found, pipeline)
        if not quiet:
            warn_unread_prompts(pipeline)
        batch = Batch(pipeline, destination, force=force)
        lines = open_jsonl(jsonl, stack)
        counts: Counter[str] = Counter()
        reasons = Reasons()
        with locked_output(destination.journal):
            _sweep_folders(found, destination)
            with batch:
                for record in with_progress(batch.run(found), total=len(found), quiet=quiet):
                    report_record(record, counts, lines=lines, verbose=verbose)
                    reasons.add_record(record)
    if not quiet and jsonl != "-":
        _print_summary(batch, counts, reasons)
    return 1 if counts["pictures failed"] else 0


def _print_summary(batch: Batch, counts: Counter[str], reasons: Reasons) -> None:
    if batch.outdated:
        click.echo(f"{batch.outdated} done again: the recipe, model or autofix has changed")
    place = batch.destination.out or "their own places"
    click.echo(
        f"pictures: {pictures_text(counts)}; faces and hands: {regions_text(counts)}; "
        f"results in {place}"
    )
    for line in reasons.summary_lines():
        click.echo(line)
    click.echo(where_time_went(batch.pipeline.timing, counts["regions fixed"]))


def _check_destination(out: Path | None, in_place: bool, backup: Path | None) -> None:
    if in_place == (out is not None):
        raise UsageError(
            "a run needs one place for its results", "give either -o OUT or --in-place"
        )
    if backup is not None and not in_place:
        raise UsageError("--backup is for --in-place", "with -o the inputs are never touched")


def _journal_folder(found: Sequence[FoundFile], out: Path | None) -> Path:
    """The output folder, or in place the folder that holds all the pictures."""
    if out is not None or not found:
        return out or Path()
    return Path(os.path.commonpath([picture.path.absolute().parent for picture in found]))


def _sweep_folders(found: Sequence[FoundFile], destination: Destination) -> None:
    """Remove what a killed run left half-written."""
    if destination.out is not None:
        remove_temporaries(destination.out)
        return
    for folder in {picture.path.parent for picture in found}:
        remove_temporaries(folder, deep=False)


def _dry_run(found: Sequence[FoundFile], pipeline: Pipeline) -> int:
    from autofix.cli.detect import detect_files

    failed = False
    for record in detect_files(found, pipeline):
        click.echo(f"{printable(Path(record['input']))}: {record['reason'] or record['status']}")
        for region in record["regions"]:
            click.echo(region_line(region))
        failed |= record["status"] == "failed"
    for one in pipeline.passes_of():
        click.echo(_check_in_words(one.bounds))
    return int(failed)


def _check_in_words(settings: Check) -> str:
    """The bounds that every inpainted crop must keep before it is pasted."""
    if not settings.enabled:
        return "check: off, whatever comes out is pasted"
    bounds = ", ".join(
        f"{name} {value:g}"
        for name, value in settings.model_dump().items()
        if name.startswith(("min_", "max_"))
    )
    return (
        f"check: each inpainted crop must keep {bounds}; a refused one is tried again "
        f"{settings.retries} times, then the original is kept (docs/checks.md explains the bounds)"
    )
