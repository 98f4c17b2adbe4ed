"""autofix watch: fix pictures as they arrive."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

import click
from tqdm import tqdm

from autofix.cli.options import (
    chosen_recipe,
    idle_unload_option,
    recipe_options,
    root_option,
)
from autofix.cli.progress import download_bar
from autofix.cli.reporting import (
    open_jsonl,
    pictures_text,
    report_record,
    show_warnings,
    warn_unread_prompts,
)
from autofix.cli.serve import answering_hook
from autofix.errors import AutofixError
from autofix.frontends.files.batch import Batch, Destination
from autofix.frontends.watch.watcher import Watcher
from autofix.imagefiles.files import printable
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR..."
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder for results."
)
@click.option("--no-existing", is_flag=True, help="Leave what is there at the start as it is.")
@click.option("--poll", is_flag=True, help="Look every second: for network shares.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a picture so long to become complete.",
)
@idle_unload_option(10.0)
@click.option("--serve", is_flag=True, help="Answer `autofix hook` too.")
@root_option("With --serve: where it may fix files; repeatable. Else the current folder.")
@click.option("--keep-candidates", is_flag=True, help="Save all --candidates beside the results.")
@click.option("--jsonl", metavar="FILE|-", help="One JSON object a picture, added to the file.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="One line a region.")
@recipe_options
def command(
    folders: tuple[Path, ...],
    out: Path,
    no_existing: bool,
    poll: bool,
    patience: float,
    idle_unload: float,
    serve: bool,
    roots: tuple[Path, ...],
    keep_candidates: bool,
    jsonl: str | None,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Fix the pictures in folders, and below them, then each that arrives.

    Results mirror the folders' trees under OUT; those of several folders go below each one's name.
    A picture that changes is fixed again. Ctrl-C or SIGTERM ends it after the batch in hand, a
    second Ctrl-C at once; started again, it goes on with what it has missed.
    """
    show_warnings(quiet=quiet)
    recipe = chosen_recipe(settings)
    with ExitStack() as stack:
        progress = None if quiet else download_bar()
        status = stack.enter_context(_Status(quiet=quiet))
        toolbox = stack.enter_context(Toolbox(recipe, progress=progress))
        pipeline = stack.enter_context(
            Pipeline(
                recipe,
                toolbox,
                bulk=True,
                keep_candidates=keep_candidates,
                idle_seconds=idle_unload * 60,
                on_unload=lambda: status.show_status(
                    "waiting for pictures; no model is loaded until one comes"
                ),
            )
        )
        if serve:
            stack.enter_context(answering_hook(pipeline, roots, quiet=True))
        watcher = Watcher(
            folders,
            Batch(pipeline, Destination(out, out)),
            existing=not no_existing,
            poll=poll,
            patience=patience,
            note=status.show_status,
        )
        if not quiet:
            warn_unread_prompts(pipeline)
        lines = open_jsonl(jsonl, stack, append=True)
        stack.enter_context(_stopped_by_signals(watcher))
        watched = ", ".join(printable(folder) for folder in folders)
        status.show_status(f"watching {watched}; results in {printable(out)}")
        _report_records(watcher, status, lines, verbose=verbose)
    return 0


def _report_records(
    watcher: Watcher, status: _Status, lines: IO[str] | None, *, verbose: bool
) -> None:
    """Run the watcher until it is stopped."""
    try:
        for record in watcher.run():
            report_record(record, status.counts, lines=lines, verbose=verbose)
            status.show_status(f"{len(watcher.arrivals)} waiting", passing=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
        raise AutofixError(
            "nobody reads what --jsonl - writes any more", "start both again; no result is lost"
        ) from None


class _Status:
    """What the watcher does now: a status line on a terminal, a few lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._lines = not quiet and not sys.stderr.isatty()
        self._bar: tqdm[NoReturn] = tqdm(
            bar_format="{desc}", disable=quiet or self._lines, file=sys.stderr, position=0
        )

    def __enter__(self) -> _Status:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def show_status(self, text: str, *, passing: bool = False) -> None:
        """Show a text after the counts; `passing`: only on a terminal, where it is replaced."""
        done = f"{pictures_text(self.counts)}; " if self.counts else ""
        line = f"autofix watch: {done}{text}"
        self._bar.set_description_str(line)
        if self._lines and not passing:
            click.echo(line, err=True)


@contextmanager
def _stopped_by_signals(watcher: Watcher) -> Iterator[None]:
    """SIGTERM and Ctrl-C stop the watcher after the batch in hand; Ctrl-C then stops at once."""
    stopping = False

    def stop_watcher(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping = True
        watcher.stop()

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    before = {
        number: signal.signal(number, stop_watcher)
        for number in (getattr(signal, name, None) for name in names)
        if number is not None
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
