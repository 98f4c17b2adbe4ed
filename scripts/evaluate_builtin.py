"""Measure the built-in face model on portraits kept aside: tables, plot, sheet, tuned strength."""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import click

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.settings.recipe import Recipe
from evaluation.bench import Bench, Measured
from evaluation.drawing import faces_sheet, plot
from evaluation.faces import MODELS, Judge, Original, spread
from evaluation.tables import ABOUT, page, verdict_table
from evaluation.tuning import RULE, Tuned, tune
from training.data import read_portraits, split
from training.networks import NATIVE_PX
from training.sheets import held_out_crops

ROOT = Path(__file__).parents[1]
SHEET_STRENGTHS = 3


def _numbers(_: click.Context, option: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(each) for each in text.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of numbers such as 24,40") from None


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder of portraits (*.jpg); every tenth by name is measured.")  # fmt: skip
@click.option("--model", type=click.Path(path_type=Path, exists=True, file_okay=False),
              default=ROOT / "weights/builtin/face",
              help="Diffusers folder; the built-in one.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs",
              help="Folder for evaluation.md, .png and -faces.jpg; docs.")  # fmt: skip
@click.option("--count", default=80, show_default=True, help="Faces at the tuned strength.")
@click.option("--sweep", default=20, show_default=True, help="Faces at every strength.")
@click.option("--sizes", default="24,40,64,96", show_default=True, callback=_numbers,
              help="Widths of the face in the picture, ear to ear, px.")  # fmt: skip
@click.option("--strengths", default="0.2,0.3,0.4,0.5,0.6,0.7,0.8", show_default=True,
              callback=_numbers)  # fmt: skip
@click.option("--quick", is_flag=True, help="A look in a minute: "
              "--count 8 --sweep 4 --sizes 24,64 --strengths 0.2,0.4,0.6.")  # fmt: skip
@click.option("--device", default="auto", show_default=True)
def main(
    data: Path,
    model: Path,
    out: Path,
    count: int,
    sweep: int,
    sizes: tuple[float, ...],
    strengths: tuple[float, ...],
    quick: bool,
    device: str,
) -> None:
    """Measure, write OUT/evaluation.*, and print the tuned strength of each size of face."""
    if quick:
        count, sweep, sizes, strengths = 8, 4, (24.0, 64.0), (0.2, 0.4, 0.6)
    settings = Recipe(device={"name": device})
    engine = DiffusionEngine(model, settings)
    if engine.info.size.native != NATIVE_PX:
        raise click.ClickException(
            f"{model} works at {engine.info.size.native} px, the held-out faces at {NATIVE_PX}"
        )
    _, held_out = split(read_portraits(data, MODELS / "face_detection_short_range.tflite"))
    with Judge() as judge:
        originals = judge.originals(held_out_crops(held_out, len(held_out)))
        chosen = spread(originals, count)
        few = spread(originals, min(sweep, count))
        bench = Bench(engine, settings, judge)
        tuned = _evaluate(bench, chosen, few, sizes, strengths, out)
        share = judge.box_share(chosen)
    pairs = ", ".join(f"[{px * share:.0f}, {each.strength:g}]" for px, each in tuned.items())
    click.echo(
        f"for autofix.toml, px of the default detector's box ({share:.2f} of the width from ear "
        f"to ear):\nstrength = [{pairs}]"
    )
    engine.close()


def _evaluate(
    bench: Bench,
    chosen: list[Original],
    few: list[Original],
    sizes: tuple[float, ...],
    strengths: tuple[float, ...],
    out: Path,
) -> dict[float, Tuned]:
    """Measure and write; the tuned strength by width of face."""
    started = time.monotonic()

    def measured(
        faces: list[Original], face_px: float, strengths: tuple[float, ...], *, rough: bool
    ) -> Measured:
        result = bench.measured(faces, face_px, strengths, rough=rough)
        click.echo(f"{time.monotonic() - started:4.0f} s: {len(faces)} faces of {face_px:g} px")
        return result

    by_strength = {px: measured(few, px, strengths, rough=True) for px in sizes}
    tuned = {px: tune(each, strengths) for px, each in by_strength.items()}
    alone = {px: (each.strength,) for px, each in tuned.items()}
    all_faces = {px: measured(chosen, px, alone[px], rough=True) for px in sizes}
    smooth = {px: measured(few, px, alone[px], rough=False) for px in sizes}

    facts = bench.engine.info
    out.mkdir(parents=True, exist_ok=True)
    text = page(
        model=f"{facts.name}, {facts.identity}, {facts.steps} steps of the whole schedule",
        about=ABOUT.format(size=bench.size),
        tuned=tuned,
        all_faces=all_faces,
        smooth=smooth,
        by_strength=by_strength,
    )
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    plot(by_strength, strengths, out / "evaluation.png")
    every = max(1, -(-len(strengths) // SHEET_STRENGTHS))
    faces_sheet(bench, few, sizes, strengths[::every], out / "evaluation-faces.jpg")
    click.echo(f"{RULE}\n{verdict_table(tuned, all_faces)}")
    return tuned


if __name__ == "__main__":
    main()
