"""The units in which people state sizes: pixels, shares of a box, width x height."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A length in pixels, or relative to the longer side of a region's box."""

    value: float
    relative: bool

    def px(self, side: float) -> float:
        """The length in pixels for a box whose longer side is `side` pixels."""
        return self.value * side if self.relative else self.value

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.relative else f"{self.value:g}"


def parse_share(given: object) -> Share:
    """`4` or `"4"` -> 4 px; `"4%"` -> 4 % of the box. Raises ValueError for anything else."""
    if isinstance(given, Share):
        return given
    text = str(given).strip()
    relative = text.endswith("%")
    try:
        value = float(text.removesuffix("%").removesuffix("px"))
    except ValueError:
        raise ValueError(
            f"must be pixels (4) or a share of the box (4%), but got {given!r}"
        ) from None
    if not abs(value) < 1e5:  # also refuses nan
        raise ValueError(f"must be below 100000, but got {given!r}")
    return Share(value / 100, True) if relative else Share(value, False)


def parse_length(given: object) -> Share:
    """As `parse_share`, and refuses what is below zero."""
    length = parse_share(given)
    if length.value < 0:
        raise ValueError(f"must be 0 or more, but got {length}")
    return length


def parse_padding(given: object) -> object:
    """As `parse_length`; `"auto"` stays."""
    return given if given == "auto" else parse_length(given)


def parse_size(given: object) -> object:
    """`"512"` -> (512, 512), `"832x1216"` -> (832, 1216), `"auto"` stays."""
    if isinstance(given, str) and (
        match := re.fullmatch(r"\s*(\d+)(?:\s*[xX×]\s*(\d+))?\s*", given)
    ):
        return int(match[1]), int(match[2] or match[1])
    return (given, given) if isinstance(given, int) else given
