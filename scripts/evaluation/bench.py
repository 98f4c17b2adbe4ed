"""Figures of faces by every method, each measured once."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.engines.base import Engine
from autofix.settings.recipe import Recipe
from evaluation.faces import Judge, Original, alternatives
from evaluation.measures import Figures, Pixels
from evaluation.repaint import repaint

Measured = dict[str, list[Figures]]
"""By method, one a face: "input" and the other plain ones, then the strengths (`fixed`)."""


def fixed(strength: float) -> str:
    """What repainting at a strength is called among the methods."""
    return f"fixed, {strength:g}"


class Bench:
    """The engine and the judge. What was measured is kept, so that no face is painted twice."""

    def __init__(self, engine: Engine, settings: Recipe, judge: Judge) -> None:
        self.engine = engine
        self.size = engine.info.size.native
        self._settings = settings
        self._judge = judge
        self._known: dict[tuple[int, float, bool], dict[str, Figures]] = {}

    def measured(
        self,
        originals: Sequence[Original],
        face_px: float,
        strengths: Sequence[float],
        *,
        rough: bool,
    ) -> Measured:
        """The figures of these faces at one size: the plain alternatives and the strengths."""
        known = [self._plain(original, face_px, rough) for original in originals]
        for strength in strengths:
            name = fixed(strength)
            new = [place for place, figures in enumerate(known) if name not in figures]
            faces = [originals[place] for place in new]
            for place, pixels in zip(
                new, self.painted(faces, face_px, strength, rough=rough), strict=True
            ):
                known[place][name] = self._judge.measure(pixels, originals[place])
        wanted = [*(n for n in known[0] if not n.startswith("fixed")), *map(fixed, strengths)]
        return {name: [figures[name] for figures in known] for name in wanted}

    def painted(
        self, originals: Sequence[Original], face_px: float, strength: float, *, rough: bool
    ) -> list[Pixels]:
        """The faces, made small, as the engine repaints them."""
        small = [(original, original.small(face_px, rough=rough)) for original in originals]
        return repaint(self.engine, self._settings, small, strength)

    def _plain(self, original: Original, face_px: float, rough: bool) -> dict[str, Figures]:
        place = original.index, face_px, rough
        if place not in self._known:
            shown = alternatives(original.small(face_px, rough=rough), self.size)
            self._known[place] = {
                name: self._judge.measure(pixels, original) for name, pixels in shown.items()
            }
        return self._known[place]
