"""How far a run is: a bar, or a line now and then; and at the end where its time went."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click
from tqdm import tqdm

from autofix.pipeline.timing import Timing

LINE_SECONDS = 10.0
"""Between lines where stderr is no terminal."""

STAGES = ("decode", "detect", "crop", "inpaint", "check", "blend", "encode")
REASONS = 5
"""Different reasons shown for regions that were kept, skipped or failed."""

Record = dict[str, Any]


def with_progress(records: Iterable[Record], *, total: int, quiet: bool) -> Iterator[Record]:
    """The records, and on stderr pictures, faces, faces per second and the time left."""
    if quiet:
        yield from records
        return
    faces = 0
    started = said = time.monotonic()
    bar = tqdm(total=total, unit="picture", disable=None, file=sys.stderr)  # None: a terminal?
    with bar:
        for count, record in enumerate(records, start=1):
            faces += sum(region["result"] == "fixed" for region in record["regions"])
            now = time.monotonic()
            pace = f"{faces} faces, {faces / max(now - started, 1e-9):.2f} faces/s"
            bar.set_postfix_str(pace, refresh=False)
            bar.update()
            if bar.disable and now - said >= LINE_SECONDS:
                said, left = now, (total - count) * (now - started) / count
                click.echo(f"{count} of {total} pictures, {pace}, {left:.0f} s left", err=True)
            yield record


class Reasons:
    """Why regions were not fixed, alike reasons together whatever figures they state."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._shown: dict[tuple[str, str], str] = {}

    def add(self, record: Record) -> None:
        """Take in a picture's regions."""
        for region in record["regions"]:
            if region["result"] != "fixed":
                alike = region["result"], re.sub(r"\d+(\.\d+)?", "#", region["reason"])
                self._counts[alike] += 1
                self._shown.setdefault(alike, region["reason"])

    def lines(self) -> Iterator[str]:
        """The most frequent first; of several alike, the figures of the first."""
        for alike, count in self._counts.most_common(REASONS):
            yield f"  {count} {alike[0]}: {self._shown[alike]}"
        if len(self._counts) > REASONS:
            yield f"  and {len(self._counts) - REASONS} other reasons (--jsonl tells all)"


def where_time_went(timing: Timing, faces: int) -> str:
    """Seconds by stage, how long the model stood idle, and faces per second."""
    wall = max(timing.wall, 1e-9)
    stages = ", ".join(f"{name} {timing.seconds.get(name, 0):.1f}" for name in STAGES)
    idle = 100 * max(0.0, 1 - timing.seconds.get("inpaint", 0) / wall)
    return (
        f"time: {wall:.1f} s, {faces / wall:.2f} faces/s; at once: {stages} s; "
        f"model idle {idle:.0f} %"
    )
