"""Work done ahead in threads, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(
    make: Callable[[Given], Made], given: Iterable[Given], *, threads: int, window: int
) -> Iterator[Made]:
    """`make` of each, in order, at most `window` of them made or being made before asked for."""
    pool = ThreadPoolExecutor(threads, "autofix-ahead")
    made: deque[Future[Made]] = deque()
    try:
        for each in given:
            made.append(pool.submit(make, each))
            if len(made) >= window:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
