"""Which strength suits which face, by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.bench import Measured, fixed
from evaluation.measures import Summary, summary

PSNR_SLACK = 0.5
RULE = (
    "The tuned strength is the one with the least landmark error (hiding the fewest faces from the "
    f"mesh) among those whose PSNR is not more than {PSNR_SLACK:g} dB under that of the best plain "
    "alternative and that are sharper than the input; where there is none, the one with the best "
    "PSNR."
)


@dataclass(frozen=True)
class Tuned:
    """The strength for one size of face. `holds`: it keeps PSNR and is sharper than the input."""

    strength: float
    holds: bool


def tuned(by_strength: Mapping[float, Summary], plain: Mapping[str, Summary]) -> Tuned:
    """Apply the `RULE`; `plain` has the input and the plain alternatives."""
    floor = max(each.psnr for each in plain.values()) - PSNR_SLACK
    good = {
        strength: each
        for strength, each in by_strength.items()
        if each.psnr >= floor and each.sharpness > plain["input"].sharpness
    }
    if not good:
        return Tuned(max(by_strength, key=lambda strength: by_strength[strength].psnr), False)
    return Tuned(min(good, key=lambda each: (good[each].unseen, good[each].landmarks, each)), True)


def tune(measured: Measured, strengths: Sequence[float]) -> Tuned:
    """The tuned strength by the figures of one size of face."""
    by_method = {name: summary(figures) for name, figures in measured.items()}
    by_strength = {strength: by_method.pop(fixed(strength)) for strength in strengths}
    return tuned(by_strength, by_method)
