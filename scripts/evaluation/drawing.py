"""The figures as a plot, and faces to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluation.bench import Bench, Measured, fixed
from evaluation.faces import Original, alternatives
from evaluation.measures import Pixels, Summary, summary
from training.sheets import paste_rows

_PANELS: tuple[tuple[str, Callable[[Summary], float]], ...] = (
    ("PSNR, dB", lambda s: s.psnr),
    ("SSIM", lambda s: s.ssim),
    ("landmark error, % of the eye distance", lambda s: s.landmarks),
    ("sharpness, share of the original's", lambda s: s.sharpness),
)
SHOWN = ("input", "unsharp, large", "denoised")
FACES_A_SIZE = 2


def plot(sweep: Mapping[float, Measured], strengths: Sequence[float], path: Path) -> None:
    """By strength, a line for each face size; dashed, the input; dotted, the best alternative."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axis, (title, value) in zip(axes.flat, _PANELS, strict=True):
        for number, (face_px, measured) in enumerate(sweep.items()):
            by_method = {name: value(summary(each)) for name, each in measured.items()}
            mine = [by_method.pop(fixed(strength)) for strength in strengths]
            given = by_method.pop("input")
            colour = f"C{number}"
            axis.plot(strengths, mine, "o-", color=colour, label=f"{face_px:g} px")
            axis.axhline(given, color=colour, linestyle="--", linewidth=1)
            if "sharpness" not in title:  # unsharp's is grain
                best = min if "error" in title else max
                axis.axhline(best(by_method.values()), color=colour, linestyle=":", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("denoising strength")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(title="face, ear to ear", fontsize=8)
    figure.suptitle("solid: repainted; dashed: input; dotted: the best plain alternative")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def faces_sheet(
    bench: Bench,
    originals: Sequence[Original],
    sizes: Sequence[float],
    strengths: Sequence[float],
    path: Path,
) -> None:
    """Two faces a size: what came in, plain alternatives, repainted, the original."""
    rows: list[list[Pixels]] = []
    for place, face_px in enumerate(sizes):
        first = place * FACES_A_SIZE
        shown = [originals[n % len(originals)] for n in range(first, first + FACES_A_SIZE)]
        painted = [bench.painted(shown, face_px, each, rough=True) for each in strengths]
        for number, original in enumerate(shown):
            plain = alternatives(original.small(face_px, rough=True), bench.size)
            mine = [each[number] for each in painted]
            rows.append([*(plain[name] for name in SHOWN), *mine, original.pixels])
    titles = (*SHOWN, *map(fixed, strengths), "original")
    paste_rows(rows, titles).save(path, quality=88)
