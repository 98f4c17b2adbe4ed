"""Assigns the parts of a prompt to regions: [SEP] by position, [SEP:rule] by rule.

    marker  = "[SEP]" | "[SEP:" rule "]"          as written, in capitals; spaces around it go
    rule    = term {("," | "and") term}           all of its terms must hold
    term    = "left" | "right" | "top" | "bottom" | "center" | "largest" | "smallest"
            | measure ("<" | "<=" | "=" | "!=" | ">=" | ">") number ["%"]
            | "label" ("=" | "!=") name
    measure = "area" (share of the picture) | "width" | "height" | "side" (the shorter; all in px)
            | "x" | "y" (of the centre, 0 to 1 from the left and the top) | "score" | "index"

`index` is the number that `autofix detect` draws. left, largest and so on hold for one region
alone: the extreme one among those for which the rule's comparisons hold.

A region gets the first part whose rule holds for it. The others get the parts without a rule, in
order, the last one repeated. Without rules this is ADetailer's [SEP].
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from autofix.errors import RecipeError
from autofix.values import Region

_MARKER = re.compile(r"\s*\[SEP(?::([^\]]*))?\]\s*")
_AND = re.compile(r"\s*(?:,|\band\b)\s*")
_TERM = re.compile(r"(\w+)\s*(?:(<=|>=|==|!=|=|<|>)\s*(.+))?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)\s*%?")

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Seen:
    """A region, and the size of the picture it is in."""

    region: Region
    picture_wh: tuple[int, int]

    @property
    def centre_xy(self) -> tuple[float, float]:
        """The box's centre as shares of the picture's width and height."""
        x0, y0, x1, y1 = self.region.detection.box_xyxy
        return (x0 + x1) / 2 / self.picture_wh[0], (y0 + y1) / 2 / self.picture_wh[1]

    @property
    def area(self) -> float:
        """The box's area as a share of the picture's."""
        return self.region.detection.area / (self.picture_wh[0] * self.picture_wh[1])

    @property
    def eccentricity(self) -> float:
        """The squared distance of its centre from the picture's, in px."""
        (x, y), (width, height) = self.centre_xy, self.picture_wh
        return ((x - 0.5) * width) ** 2 + ((y - 0.5) * height) ** 2


MEASURES: Mapping[str, Callable[[Seen], float]] = {
    "area": lambda seen: seen.area,
    "width": lambda seen: seen.region.detection.width,
    "height": lambda seen: seen.region.detection.height,
    "side": lambda seen: min(seen.region.detection.width, seen.region.detection.height),
    "x": lambda seen: seen.centre_xy[0],
    "y": lambda seen: seen.centre_xy[1],
    "score": lambda seen: seen.region.detection.score,
    "index": lambda seen: seen.region.index + 1,
}
"""Measures of a region that a rule compares with a number."""

EXTREMES: Mapping[str, Callable[[Seen], float]] = {
    "left": lambda seen: seen.centre_xy[0],
    "right": lambda seen: -seen.centre_xy[0],
    "top": lambda seen: seen.centre_xy[1],
    "bottom": lambda seen: -seen.centre_xy[1],
    "center": lambda seen: seen.eccentricity,
    "largest": lambda seen: -seen.area,
    "smallest": lambda seen: seen.area,
}
"""Words that hold for one region alone: that with the least value, the first among equals."""

_SPELLINGS = {"centre": "center", "middle": "center", "confidence": "score"}


@dataclass(frozen=True)
class Term:
    """`value` is a number, the name of a label, or None for one of the `EXTREMES`."""

    name: str
    compare: str = ""
    value: float | str | None = None

    def holds(self, seen: Seen) -> bool:
        """Whether a comparison holds; always true of an extreme."""
        if self.value is None:
            return True
        if self.name == "label":
            found: object = seen.region.detection.label.casefold()
        else:
            found = MEASURES[self.name](seen)
        return bool(_OPERATORS[self.compare](found, self.value))


@dataclass(frozen=True)
class Part:
    """A part of a prompt; one without a rule is assigned by position."""

    text: str
    rule: tuple[Term, ...] = ()


@lru_cache(maxsize=256)
def split_parts(prompt: str) -> tuple[Part, ...]:
    """The parts of a prompt, in order; at least one. Raises RecipeError for a malformed rule."""
    # One group: text, rule, text, rule, ..., text. A rule is None for a plain marker.
    first, *rest = _MARKER.split(prompt)
    found = [
        Part(text, () if rule is None else _parse_rule(rule))
        for rule, text in zip(rest[::2], rest[1::2], strict=True)
    ]
    if not first and found and found[0].rule:
        return tuple(found)  # an empty text before the first rule is no part
    return (Part(first), *found)


def assign_parts(
    given: Sequence[Part], regions: Sequence[Region], picture_wh: tuple[int, int]
) -> list[str]:
    """The text for each region, in order. "" where all parts have rules and none holds."""
    seen = [Seen(region, picture_wh) for region in regions]
    texts: dict[int, str] = {}
    for part in given:
        if part.rule:
            for place in _match_rules(part.rule, seen):
                texts.setdefault(place, part.text)
    plain = [part.text for part in given if not part.rule] or [""]
    others = [place for place in range(len(regions)) if place not in texts]
    for position, place in enumerate(others):
        texts[place] = plain[min(position, len(plain) - 1)]
    return [texts[place] for place in range(len(regions))]


def _match_rules(rule: Sequence[Term], seen: Sequence[Seen]) -> list[int]:
    """The places of the regions for which a rule holds."""
    places = [place for place, each in enumerate(seen) if all(term.holds(each) for term in rule)]
    alone = {
        min(places, key=lambda place: EXTREMES[term.name](seen[place]))
        for term in rule
        if term.value is None and places
    }
    return [place for place in places if alone <= {place}]


def _parse_rule(text: str) -> tuple[Term, ...]:
    return tuple(_parse_term(each, text) for each in _AND.split(text.strip()))


def _parse_term(text: str, rule: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise _malformed_rule(rule, f"{text!r} is neither a word nor a comparison")
    name, compare, value = match.groups()
    name = _SPELLINGS.get(name.lower(), name.lower())
    if compare is None:
        if name not in EXTREMES:
            raise _malformed_rule(
                rule, _unknown_rule(name, EXTREMES, MEASURES, "has nothing to compare to")
            )
        return Term(name)
    if name == "label":
        if compare not in ("=", "==", "!="):
            raise _malformed_rule(rule, f"a label can be = or !=, but got {compare!r}")
        return Term(name, compare, value.strip("'\" ").casefold())
    if name not in MEASURES:
        raise _malformed_rule(
            rule, _unknown_rule(name, (*MEASURES, "label"), EXTREMES, "takes no number")
        )
    if not _NUMBER.fullmatch(value):
        raise _malformed_rule(rule, f"{name} is compared with a number, but got {value!r}")
    number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    return Term(name, compare, number)


def _unknown_rule(name: str, wanted: Sequence[str] | Mapping[str, object],
             others: Mapping[str, object], misused: str) -> str:  # fmt: skip
    if name in others:
        return f"{name!r} {misused}"
    near = difflib.get_close_matches(name, [*wanted, *others, "label"], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(wanted)}"
    return f"there is no {name!r} ({hint})"


def _malformed_rule(rule: str, problem: str) -> RecipeError:
    return RecipeError(
        f"the prompt's rule [SEP:{rule}] does not hold: {problem}",
        "rules look like [SEP:left], [SEP:area>10%] or [SEP:label=face and index=2]",
    )
