"""The figures as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.bench import Measured, fixed
from evaluation.measures import Figures, nearer, summary
from evaluation.tuning import RULE, Tuned

HEAD = (
    "| face | method | PSNR, dB | SSIM | landmark error, % | nearer than input | not seen "
    "| sharpness | off by | detector | found |\n" + "| --- " * 11 + "|"
)

ABOUT = """\
Faces of portraits that no training saw (every tenth by name), each drawn at {size} x {size} px as
the engine sees it, and brought down by area averaging to the stated width, ear to ear. Then, but
for the second table, come grain of a standard deviation of 4 levels and JPEG of quality 88. The
small picture is

- **input**: enlarged by Lanczos, as autofix shows it to the model;
- **bicubic**: enlarged by that;
- **unsharp**: sharpened (radius 2 px of the small picture, 150 %), then enlarged by Lanczos;
- **unsharp, large**: sharpened so only when it is enlarged;
- **denoised**: by OpenCV's non-local means (h = 3), then enlarged by Lanczos;
- **denoised, unsharp**: by one after the other;
- **fixed**: repainted by the engine at that denoising strength, before it is blended.

All is measured at {size} px inside the outline of the face; PSNR and SSIM are to the original.
**Landmark error** is the mean distance of MediaPipe's mesh points of eyes, brows, nose and lips
from those on the original, in per cent of the distance between the eyes; **nearer than input** is
the share of faces in which it is less than the input's; **not seen** counts those in which the mesh
sees no face. **Sharpness** is the mean gradient as a share of the original's (grain counts too),
**off by** the mean of its distance from 1. **Detector** is BlazeFace's mean score where it finds
the face, **found** how often it does."""


def page(
    *,
    model: str,
    about: str,
    tuned: Mapping[float, Tuned],
    all_faces: Mapping[float, Measured],
    smooth: Mapping[float, Measured],
    by_strength: Mapping[float, Measured],
) -> str:
    """The whole document; figures by face px."""
    counts = [_count(each) for each in (all_faces, smooth, by_strength)]
    parts = [
        "# What the built-in face model is worth",
        f"Model: {model}. Written by `scripts/evaluate_builtin`.",
        "## Tuned strength",
        RULE,
        verdict_table(tuned, all_faces),
        f"## At the tuned strength, {counts[0]} faces",
        figures_table(all_faces),
        f"## The same from smooth small faces, without grain and JPEG, {counts[1]} faces",
        figures_table(smooth),
        f"## By strength, {counts[2]} faces",
        "![Figures by strength](evaluation.png)",
        figures_table(by_strength),
        "## To look at",
        "Two faces each of " + ", ".join(f"{px:g}" for px in tuned) + " px, downwards.",
        "![Faces: input, plain alternatives, repainted, original](evaluation-faces.jpg)",
        "## How it was measured",
        about,
    ]
    return "\n\n".join(parts) + "\n"


def figures_table(measured: Mapping[float, Measured]) -> str:
    """One row a face size and method."""
    rows = [
        _row(f"{face_px:g} px", name, figures, each["input"])
        for face_px, each in measured.items()
        for name, figures in each.items()
    ]
    return "\n".join([HEAD, *rows])


def verdict_table(tuned: Mapping[float, Tuned], measured: Mapping[float, Measured]) -> str:
    """What the tuned strength wins and costs, by face size, against the best alternative."""
    lines = ["| face | strength | rule | landmark error: fixed, input, best alternative, % "
             "| PSNR: fixed, best alternative, dB | sharpness: fixed, input |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for face_px, choice in tuned.items():
        by_method = {name: summary(figures) for name, figures in measured[face_px].items()}
        mine, given = by_method.pop(fixed(choice.strength)), by_method["input"]
        others = [s for name, s in by_method.items() if name != "input"]
        lines.append(
            f"| {face_px:g} px | {choice.strength:g} | {'holds' if choice.holds else 'missed'} "
            f"| {mine.landmarks:.2f}, {given.landmarks:.2f}, "
            f"{min(each.landmarks for each in others):.2f} "
            f"| {mine.psnr:.2f}, {max(each.psnr for each in (given, *others)):.2f} "
            f"| {mine.sharpness:.2f}, {given.sharpness:.2f} |"
        )
    return "\n".join(lines)


def _row(face: str, name: str, figures: Sequence[Figures], given: Sequence[Figures]) -> str:
    s = summary(figures)
    wins = "" if figures is given else f"{nearer(figures, given):.0%}"
    cells = (
        *(face, name, f"{s.psnr:.2f}", f"{s.ssim:.3f}", f"{s.landmarks:.2f}", wins, f"{s.unseen}"),
        *(f"{s.sharpness:.2f}", f"{s.closeness:.2f}", f"{s.score:.2f}", f"{s.found:.0%}"),
    )
    return f"| {' | '.join(cells)} |"


def _count(measured: Mapping[float, Measured]) -> int:
    return len(next(iter(measured.values()))["input"])
