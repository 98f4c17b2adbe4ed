"""Which strength suits which face, by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.bench import Measured, fixed
from evaluation.measures import Summary, summary

PSNR_SLACK = 0.5
RULE = (
    "The tuned strength is the greatest, and so the crispest, at which the repainted faces are "
    "sharper than the input, hide no more of them from the mesh, have less landmark error than the "
    "input and every plain alternative, and have a PSNR not more than "
    f"{PSNR_SLACK:g} dB under that of the best of them; where there is none, the one with the best "
    "PSNR."
)


@dataclass(frozen=True)
class Tuned:
    """The strength for one size of face. `holds`: it keeps the `RULE`."""

    strength: float
    holds: bool


def tuned(by_strength: Mapping[float, Summary], plain: Mapping[str, Summary]) -> Tuned:
    """Apply the `RULE`; `plain` has the input and the plain alternatives."""
    floor = max(each.psnr for each in plain.values()) - PSNR_SLACK
    error = min(each.landmarks for each in plain.values())
    good = [
        strength
        for strength, each in by_strength.items()
        if each.psnr >= floor
        and each.sharpness > plain["input"].sharpness
        and each.landmarks < error
        and each.unseen <= plain["input"].unseen
    ]
    if not good:
        return Tuned(max(by_strength, key=lambda strength: by_strength[strength].psnr), False)
    return Tuned(max(good), True)


def tune(measured: Measured, strengths: Sequence[float]) -> Tuned:
    """The tuned strength by the figures of one size of face."""
    by_method = {name: summary(figures) for name, figures in measured.items()}
    by_strength = {strength: by_method.pop(fixed(strength)) for strength in strengths}
    return tuned(by_strength, by_method)
