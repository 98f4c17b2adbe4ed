"""A1111's attention syntax: (word), [word], (word:1.3) and BREAK, as text with weights."""

from __future__ import annotations

import re

Piece = tuple[str, float]
"""A text, and its attention weight."""

_BRACKET = 1.1
_TOKEN = re.compile(
    r"""(?P<escaped>\\[()\[\]\\]?)
      | (?P<open>[(\[])
      | (?P<weighted>:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\))
      | (?P<close>[)\]])
      | (?P<break>\s*\bBREAK\b\s*)
      | (?P<text>\s+|\w+|.)""",
    re.VERBOSE,
)


def parse_attention(prompt: str) -> list[list[Piece]]:
    r"""The parts between BREAKs, each as pieces of one weight.

    `(word)` has weight 1.1, `[word]` 1 / 1.1, `(word:1.3)` 1.3; nested brackets multiply. A
    bracket that is never closed reaches to the end. `\(` is a literal bracket.
    """
    texts: list[str | None] = []  # None: BREAK
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        for index in range(opened[bracket].pop(), len(weights)):
            weights[index] *= factor

    for token in _TOKEN.finditer(prompt):
        kind, sign = token.lastgroup, token[0]
        if kind == "open":
            opened[sign].append(len(weights))
        elif kind == "weighted" and opened["("]:
            close("(", float(token["weight"]))
        elif sign == ")" and opened["("]:
            close("(", _BRACKET)
        elif sign == "]" and opened["["]:
            close("[", 1 / _BRACKET)
        else:
            text = sign[1:] if kind == "escaped" else sign
            texts.append(None if kind == "break" else text)
            weights.append(1.0)
    for bracket, factor in (("(", _BRACKET), ("[", 1 / _BRACKET)):
        while opened[bracket]:
            close(bracket, factor)
    return _split_at_breaks(texts, weights)


def _split_at_breaks(texts: list[str | None], weights: list[float]) -> list[list[Piece]]:
    """Split at every None; neighbours of equal weight joined."""
    parts: list[list[Piece]] = [[]]
    for text, weight in zip(texts, weights, strict=True):
        part = parts[-1]
        if text is None:
            parts.append([])
        elif part and part[-1][1] == weight:
            part[-1] = (part[-1][0] + text, weight)
        else:
            part.append((text, weight))
    return parts
