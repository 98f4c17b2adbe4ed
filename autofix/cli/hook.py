"""autofix hook: fix files in place, as a generator's command after saving."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from autofix.cli.options import recipe_options, stated_changes
from autofix.imagefiles.discovery import printable


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option("--backup", type=click.Path(path_type=Path), help="Copy originals here first.")
@recipe_options
@click.pass_context
def command(
    ctx: click.Context, /, files: tuple[Path, ...], backup: Path | None, **settings: Any
) -> int:
    """Fix files in place, and print the path of each when it is done.

    `autofix serve` and `autofix watch --serve` keep the models loaded: where one runs it does the
    work, with its own recipe and the options given here. Otherwise, or where --recipe or an option
    names a model, a detector or a device, this command does it by itself.
    """
    changes = stated_changes(settings)
    own_recipe = ctx.get_parameter_source("recipe") is not ParameterSource.DEFAULT
    failed = False
    for record in _fix_files(files, backup, changes, settings["recipe"], own_recipe):
        if record["status"] == "failed":
            failed = True
            click.echo(f"failed: {printable(record['input'])}: {record['reason']}", err=True)
        else:
            click.echo(record["output"] or record["input"])
    return int(failed)


def _fix_files(
    files: Sequence[Path],
    backup: Path | None,
    changes: dict[str, object],
    recipe: str,
    own_recipe: bool,
) -> Iterator[dict[str, Any]]:
    from autofix.frontends.hook import ask_worker
    from autofix.frontends.http.client_settings import ALLOWED

    left = [*dict.fromkeys(files)]
    if not own_recipe and changes.keys() <= ALLOWED:
        answers = ask_worker(left, backup, changes)
        try:
            for record in answers or ():
                left.pop(0)
                yield record
        except ConnectionError:
            answers = None  # it stopped in the middle; what it finished is not done again
        if answers is not None:
            return
    yield from fix_here(left, backup, changes, recipe)


def fix_here(
    files: Sequence[Path], backup: Path | None, changes: dict[str, object], name: str
) -> Iterator[dict[str, Any]]:
    """Fix the files in this process."""
    from autofix.cli.progress import download_bar
    from autofix.frontends.hook import fix_in_place
    from autofix.pipeline.pipeline import Pipeline
    from autofix.pipeline.toolbox import Toolbox
    from autofix.settings.recipe_toml import load_recipe

    # The generator runs beside it, so torch's threads must not wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    recipe = load_recipe(name).override(changes)
    with (
        Toolbox(recipe, progress=download_bar()) as toolbox,
        Pipeline(recipe, toolbox) as pipeline,
    ):
        yield from fix_in_place(pipeline, files, backup)
