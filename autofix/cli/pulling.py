"""The progress bar of a download."""

from __future__ import annotations

from typing import NoReturn

from tqdm import tqdm

from weights.download import Progress


def download_bar() -> Progress:
    """A callback that draws a bar on stderr as bytes come in; off where stderr is no terminal."""
    bar: tqdm[NoReturn] = tqdm(unit="B", unit_scale=True, disable=None, leave=False, delay=0.5)

    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
