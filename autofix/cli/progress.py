"""Progress of runs and downloads, and where the time of a run went."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import click
from tqdm import tqdm

from autofix.pipeline.timing import Timing
from weights.download import Progress

LINE_SECONDS = 10.0
"""Between lines where stderr is no terminal."""

STAGES = ("decode", "detect", "crop", "inpaint", "check", "blend", "encode")
"""In the order in which a picture goes through them."""
REASONS = 5
"""The most reasons shown for regions that were kept, skipped or failed."""

Record = dict[str, Any]


def with_progress(records: Iterable[Record], *, total: int, quiet: bool) -> Iterator[Record]:
    """Yields the records; on stderr pictures, faces, faces per second and the time left."""
    if quiet:
        yield from records
        return
    faces = 0
    started = last_line = time.monotonic()
    bar = tqdm(total=total, unit="picture", disable=None, file=sys.stderr)  # None: a terminal?
    with bar:
        for count, record in enumerate(records, start=1):
            faces += sum(region["result"] == "fixed" for region in record["regions"])
            now = time.monotonic()
            pace = f"{faces} faces, {faces / max(now - started, 1e-9):.2f} faces/s"
            bar.set_postfix_str(pace, refresh=False)
            bar.update()
            if bar.disable and now - last_line >= LINE_SECONDS:
                last_line, left = now, (total - count) * (now - started) / count
                click.echo(f"{count} of {total} pictures, {pace}, {left:.0f} s left", err=True)
            yield record


class Reasons:
    """Why regions were not fixed. Reasons that differ only in figures are counted together."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._shown: dict[tuple[str, str], str] = {}

    def add_record(self, record: Record) -> None:
        """Count the reasons of a picture's regions."""
        for region in record["regions"]:
            if region["result"] != "fixed":
                reason = region["result"], re.sub(r"\d+(\.\d+)?", "#", region["reason"])
                self._counts[reason] += 1
                self._shown.setdefault(reason, region["reason"])

    def summary_lines(self) -> Iterator[str]:
        """One line a reason, the most frequent first, with the figures of its first region."""
        for reason, count in self._counts.most_common(REASONS):
            yield f"  {count} {reason[0]}: {self._shown[reason]}"
        if len(self._counts) > REASONS:
            yield f"  and {len(self._counts) - REASONS} other reasons (--jsonl tells all)"


def where_time_went(timing: Timing, faces: int) -> str:
    """Seconds of each stage, the share of time without inpainting, and faces per second."""
    wall = max(timing.wall_seconds, 1e-9)
    stages = ", ".join(f"{name} {timing.seconds.get(name, 0):.1f}" for name in STAGES)
    idle = 100 * max(0.0, 1 - timing.seconds.get("inpaint", 0) / wall)
    return (
        f"time: {wall:.1f} s, {faces / wall:.2f} faces/s; at once: {stages} s; "
        f"model idle {idle:.0f} %"
    )


def download_bar() -> Progress:
    """A callback that draws a bar on stderr as bytes come in; off where stderr is no terminal."""
    bar: tqdm[NoReturn] = tqdm(unit="B", unit_scale=True, disable=None, leave=False, delay=0.5)

    def show_progress(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show_progress
