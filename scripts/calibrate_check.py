"""Measure the check stage on labelled patches: what it refuses of good and of broken ones.

Good and broken patches are made from the portraits that the built-in model was never trained on
(every tenth) and from the faces of samples/. Half of the people choose bounds, half report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.imagefiles.files import find_pictures, read
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe
from autofix.settings.region_sections import Check
from autofix.stages.check import check, score
from autofix.values import Crop, Finding
from checking.cases import (
    Labelled,
    Subject,
    broken_ones,
    good_ones,
    in_picture,
    mended_one,
    sample,
    subjects,
)
from checking.sheet import sheet
from detectors.mp_face import MediapipeFaces
from training.data import Portrait, read_portraits, split

ROOT = Path(__file__).parents[1]
FACES = ROOT / "weights" / "builtin" / "mediapipe" / "face_detection_short_range.tflite"
STRENGTHS = (0.3, 0.4, 0.5)
BATCH = 8
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
CHOSEN = ("ring", "seam", "colour", "structure", "peak", "eyes", "score", "landmarks")
"""Tests whose bounds are chosen here; the others' follow from what they mean."""
LEAST = ("spread", "structure", "place", "identity")
QUANTILE = 0.997
"""A chosen bound lets this share of the good ones pass."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A labelled patch with its findings."""

    case: Labelled
    findings: tuple[Finding, ...]

    def refused(self, *, without: Sequence[str] = ()) -> bool:
        """Whether any test, but for those named, did not pass."""
        return any(not f.passed for f in self.findings if f.name not in without)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of portraits.",
)
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), default=ROOT / "weights/builtin/face"
)
@click.option("--count", default=80, show_default=True, help="At most so many people.")
@click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=True)
def main(data: Path, model: Path, count: int, docs: Path) -> None:
    """Print precision and recall, write them into DOCS/checks.md, and draw DOCS/checks.jpg."""
    recipe = load_recipe("face")
    with MediapipeFaces(FACES) as detector:
        _, held_out = split(read_portraits(data, FACES))
        cases = list(_labelled(held_out[:count], model, detector, recipe))
        patches = [case.patch for case in cases]
        checked = check(patches, {detector.name: detector}, recipe.check)
    judged = [Judged(*each) for each in zip(cases, checked, strict=True)]
    people = sorted({each.case.subject.person for each in judged})
    choosing = [j for j in judged if people.index(j.case.subject.person) % 2 == 0]
    reporting = [j for j in judged if people.index(j.case.subject.person) % 2 == 1]
    text = "\n".join(_report(reporting))
    click.echo(text)
    click.echo("\n".join(_suggested(choosing, recipe.check)))
    page = docs / "checks.md"
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
    sheet([(j.case, j.findings) for j in reporting]).save(docs / "checks.jpg", quality=85)


def _labelled(
    held_out: Sequence[Portrait], model: Path, detector: MediapipeFaces, recipe: Recipe
) -> Iterator[Labelled]:
    made = list(subjects(held_out, detector, recipe))
    for found in find_pictures([ROOT / "samples"], out=None):
        picture = read(found.path, name=found.relative)
        crops = in_picture(picture, detector, recipe)
        made += [sample(cut, f"{found.relative} {n}") for n, cut in enumerate(crops)]
    painted = _painted(made, model, recipe)
    known = [subject for subject in made if subject.clean is not None]
    for turn, subject in enumerate(made):
        rng = np.random.default_rng([turn, 7])
        others = [each for each in known if each.person != subject.person]
        other = others[int(rng.integers(len(others)))]
        yield from good_ones(subject, painted[turn], rng)
        yield from broken_ones(subject, painted[turn], other, turn, rng)
        if subject.clean is not None and subject.spoilt == "small":
            yield mended_one(subject, rng)


def _painted(made: Sequence[Subject], model: Path, recipe: Recipe) -> dict[int, np.ndarray]:
    """The model's repaint of each, at strengths in rotation."""
    engine = DiffusionEngine(model, recipe)
    painted: dict[int, np.ndarray] = {}
    for turn, strength in enumerate(STRENGTHS):
        mine = list(range(turn, len(made), len(STRENGTHS)))
        for start in range(0, len(mine), BATCH):
            part = mine[start : start + BATCH]
            crops = [
                replace(
                    made[i].crop, region=replace(made[i].crop.region, seed=i, strength=strength)
                )
                for i in part
            ]
            patches = engine.inpaint(crops, recipe)
            painted |= {i: patch.pixels for i, patch in zip(part, patches, strict=True)}
            click.echo(f"painted {len(painted)} of {len(made)}", err=True)
    return painted


def _seeded(crop: Crop, seed: int, strength: float) -> Crop:
    return replace(crop, region=replace(crop.region, seed=seed, strength=strength))


def _report(judged: Sequence[Judged]) -> Iterator[str]:
    good = [j for j in judged if j.case.good]
    broken = [j for j in judged if j.case.good is False]
    wrong, right = sum(j.refused() for j in good), sum(j.refused() for j in broken)
    blind = sum(j.refused(without=("place", "score", "landmarks")) for j in broken)
    people = len({j.case.subject.person for j in judged})
    yield (
        f"{len(judged)} patches of {people} people and sample faces that chose no bound. "
        f"**Of {len(broken)} broken patches {right} are refused ({right / len(broken):.1%}, "
        f"recall), of {len(good)} good ones {wrong} ({wrong / len(good):.1%}); "
        f"{right / max(right + wrong, 1):.1%} of what is refused is broken (precision).** "
        f"Where the detector has no say, {blind / len(broken):.1%} of the broken ones are refused. "
        f"Order by score alone: a broken patch scores under a good one of the same face in "
        f"{_ordered(judged):.1%} of all pairs."
    )
    yield from ("", "| good patches | of | refused |", "| --- | --- | --- |")
    yield from _rows(good, lambda j: j.case.kind)
    yield from (
        "",
        "| broken patches | of | refused | by, most often |",
        "| --- | --- | --- | --- |",
    )
    yield from _rows(broken, lambda j: j.case.kind, reasons=True)
    yield from ("", "| broken patches, face in the picture | of | refused |", "| --- | --- | --- |")
    yield from _rows(broken, _size)
    yield from ("", "| people would disagree | of | refused |", "| --- | --- | --- |")
    yield from _rows([j for j in judged if j.case.good is None], lambda j: j.case.kind)
    yield from ("", "| test | bound | good, median | good, worst | broken refused by it |")
    yield "| --- | --- | --- | --- | --- |"
    yield from _tests(good, broken)


def _size(each: Judged) -> str:
    subject = each.case.subject
    return "sample pictures" if subject.spoilt == "sample" else f"{subject.face_px} px"


def _rows(
    judged: Sequence[Judged], key: Callable[[Judged], str], *, reasons: bool = False
) -> Iterator[str]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for each in judged:
        groups[key(each)].append(each)
    for name, group in sorted(groups.items()):
        refused = sum(j.refused() for j in group)
        row = f"| {name} | {len(group)} | {refused} ({refused / len(group):.0%}) |"
        if reasons:
            count: dict[str, int] = defaultdict(int)
            for j in group:
                for f in j.findings:
                    count[f.name] += not f.passed
            most = sorted((n for n in count if count[n]), key=lambda n: -count[n])[:3]
            row += f" {', '.join(most)} |"
        yield row


def _tests(good: Sequence[Judged], broken: Sequence[Judged]) -> Iterator[str]:
    for name in dict.fromkeys(f.name for j in broken for f in j.findings):
        fine = [f for j in good for f in j.findings if f.name == name]
        caught = sum(f.name == name and not f.passed for j in broken for f in j.findings)
        values = [f.value for f in fine]
        worst = min(values) if name in (*LEAST, "finite") else max(values)
        yield (
            f"| {name} | {fine[0].threshold:g} | {np.median(values):.3g} | {worst:.3g} | "
            f"{caught} ({caught / len(broken):.0%}) |"
        )


def _ordered(judged: Sequence[Judged]) -> float:
    """How often a broken patch has the lower score, among patches of one face."""
    groups: dict[Subject, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for each in judged:
        if each.case.good is not None:
            groups[each.case.subject][each.case.good].append(score(each.findings))
    wins = [b < g for broken, good in groups.values() for b in broken for g in good]
    return float(np.mean(wins))


def _suggested(judged: Sequence[Judged], settings: Check) -> Iterator[str]:
    """Bounds that the choosing half asks for, and what they would refuse of it."""
    good = [j for j in judged if j.case.good]
    broken = [j for j in judged if j.case.good is False]
    yield f"\nchoosing half: refused {_share(broken)} of the broken, {_share(good)} of the good"
    bounds: dict[str, float] = {}
    for name in CHOSEN:
        values = [f.value for j in good for f in j.findings if f.name == name]
        share = 1 - QUANTILE if name in LEAST else QUANTILE
        bounds[name] = float(np.quantile(values, share))
        now = next(f.threshold for j in good for f in j.findings if f.name == name)
        yield f"  {name}: {bounds[name]:.3f} (the recipe has {now:g})"
    again = [replace(j, findings=tuple(_bound(f, bounds) for f in j.findings)) for j in judged]
    new_good = [j for j in again if j.case.good]
    new_broken = [j for j in again if j.case.good is False]
    yield f"  with these: {_share(new_broken)} of the broken, {_share(new_good)} of the good"


def _bound(finding: Finding, bounds: dict[str, float]) -> Finding:
    if finding.name not in bounds:
        return finding
    bound = bounds[finding.name]
    passed = finding.value >= bound if finding.name in LEAST else finding.value <= bound
    return replace(finding, threshold=bound, passed=passed)


def _share(judged: Sequence[Judged]) -> str:
    return f"{np.mean([j.refused() for j in judged]):.1%}"


if __name__ == "__main__":
    main()
