"""Reports of run, watch and detect: lines on stderr, JSON lines, and counts."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click
from tqdm import tqdm

from autofix.errors import UsageError
from autofix.imagefiles.files import printable
from autofix.pipeline.pipeline import Pipeline


class _Warnings(logging.Handler):
    """Writes autofix's log to stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"autofix: {self.format(record)}", file=sys.stderr)


def show_warnings(*, quiet: bool) -> None:
    """Write autofix's warnings to stderr from now on; if `quiet`, only its errors."""
    log = logging.getLogger("autofix")
    log.handlers = [one for one in log.handlers if not isinstance(one, _Warnings)]
    log.addHandler(_Warnings(logging.ERROR if quiet else logging.WARNING))


def open_jsonl(jsonl: str | None, stack: ExitStack, *, append: bool = False) -> IO[str] | None:
    """The stream of --jsonl FILE|-; `append` keeps what is in the file. Raises UsageError."""
    if jsonl is None:
        return None
    if jsonl == "-":
        return sys.stdout
    try:
        return stack.enter_context(Path(jsonl).open("a" if append else "w", encoding="ascii"))
    except OSError as error:
        raise UsageError(
            f"--jsonl {jsonl!r} cannot be written: {error}", "name a file in a folder that exists"
        ) from error


def report_record(
    record: dict[str, Any], counts: Counter[str], *, lines: IO[str] | None, verbose: bool
) -> None:
    """Count a record's picture and regions, write it as JSON, and name a failed one on stderr."""
    counts[f"pictures {record['status']}"] += 1
    for region in record["regions"]:
        counts[f"regions {region['result']}"] += 1
    if lines is not None:
        lines.write(json.dumps(record) + "\n")
        lines.flush()
    if record["status"] == "failed":
        name = printable(Path(record["input"]))
        where = "" if name in record["reason"] else f"{name}: "
        tqdm.write(f"failed: {where}{record['reason']}", file=sys.stderr)
    if verbose:
        tqdm.write(f"{record['status']}: {printable(Path(record['input']))}", file=sys.stderr)
        for line in (*record["notes"], *map(region_line, record["regions"])):
            tqdm.write(line, file=sys.stderr)


def warn_unread_prompts(pipeline: Pipeline) -> None:
    """Warn on stderr of models that do not read the prompts they are given."""
    for one in pipeline.passes_of():
        if one.recipe.prompt.positive and not one.info.reads_prompt:
            click.echo(f"{one.info.name} does not read the prompt", err=True)


def region_line(region: dict[str, Any]) -> str:
    """One region of a record as a line: number, label, score, box, and its result.

    Each pass of a recipe numbers its own regions: 2/1 is the first region of the second pass.
    """
    x0, y0, x1, y1 = (round(edge) for edge in region["box"])
    number = (
        f"{region['index']}." if region["pass"] == 1 else f"{region['pass']}/{region['index']}."
    )
    line = f"  {number} {region['label']} {region['score']:.2f} at {x0},{y0}-{x1},{y1}"
    result = region["result"] or ("skip" if region["reason"] else "inpaint")
    if result in ("inpaint", "fixed"):
        result += f" at strength {region['strength']:g}"
    return f"{line}: {result}" + (f" ({region['reason']})" if region["reason"] else "")


def pictures_text(counts: Counter[str]) -> str:
    """The results of the pictures: 3 fixed, 1 failed."""
    return _counts_text(counts, "pictures", ("fixed", "unchanged", "done", "failed")) or "none"


def regions_text(counts: Counter[str]) -> str:
    """The results of the faces and hands: 5 fixed, 2 kept."""
    return _counts_text(counts, "regions", ("fixed", "kept", "skipped", "failed")) or "none found"


def _counts_text(counts: Counter[str], kind: str, statuses: tuple[str, ...]) -> str:
    numbers = {status: counts[f"{kind} {status}"] for status in statuses}
    return ", ".join(f"{number} {status}" for status, number in numbers.items() if number)
