"""Waiting for what will be, no longer than needed."""

from __future__ import annotations

import time


def until(condition, *, seconds=30.0, what="it"):
    """The first true value that `condition` gives; fails after so long."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.01)
    return value
