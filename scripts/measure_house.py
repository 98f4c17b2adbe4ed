#!/usr/bin/env python3
"""How large the house is and how its functions are named; exits 1 where a limit is passed."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("autofix", "detectors", "weights")

LIMITS = {
    "modules at the top of autofix/": 7,
    "modules of the largest package": 18,
    "lines of the longest module": 400,
    "lines in all": 21_600,
    "% of functions whose name is one word": 45,
}


def measure(root: Path = ROOT) -> dict[str, float]:
    """Every figure that LIMITS names, for the sources below `root`."""
    modules = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules]
    names = [name for path in modules for name in _function_names(path)]
    one_word = [name for name in names if "_" not in name.strip("_")]
    figures = (
        len([*(root / "autofix").glob("*.py")]),
        max(Counter(path.parent for path in modules).values()),
        max(lines),
        sum(lines),
        100 * len(one_word) / len(names),
    )
    return dict(zip(LIMITS, figures, strict=True))


def _function_names(path: Path) -> Iterator[str]:
    """Every function's and method's name but those with two underscores on either side."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if function and not node.name.startswith("__"):
            yield node.name


def main() -> int:
    """Print each figure with its limit."""
    passed = False
    for name, figure in measure().items():
        over = figure > LIMITS[name]
        passed |= over
        print(f"{figure:8.0f} {name}, of {LIMITS[name]} at most{'  TOO MANY' if over else ''}")
    return int(passed)


if __name__ == "__main__":
    sys.exit(main())
