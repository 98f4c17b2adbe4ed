"""Train the built-in face model from a folder of portraits: one command, all of it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import click
import torch
from diffusers import UNet2DConditionModel

from training.data import Portrait, read_portraits, split
from training.export import STEPS, STRENGTH, build_pipeline, export
from training.paint import train
from training.report import card_sheet, figures_table, load_folder, seconds_a_face
from training.setting import Setting, choose_device
from training.sheets import held_out_crops, sheet

DETECTOR = Path(__file__).parents[1] / "weights/builtin/mediapipe/face_detection_short_range.tflite"
MEASURED = 24
"""How many held-out faces the table is made of, spread over all of them."""


def _open_log(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(folder / "losses.log")]
    handlers.append(logging.StreamHandler(sys.stdout))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )


def _measure(held_out: list[Portrait], setting: Setting) -> None:
    """Figures and sheet of the exported folder, as the engine would load it."""
    pipe = load_folder(setting.out).to(setting.device)
    table = figures_table(pipe, held_out, MEASURED, STEPS)
    (setting.state / "figures.md").write_text(table + "\n", encoding="utf-8")
    logging.info("held-out faces:\n%s", table)
    card_sheet(pipe, held_out, STEPS, setting.state / "card.jpg")
    logging.info("%.2f s a face", seconds_a_face(pipe, held_out, STRENGTH, STEPS))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder of portraits (*.jpg, one face each).")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Folder to write the diffusers pipeline to.")  # fmt: skip
@click.option("--state", type=click.Path(path_type=Path), default=Path(".training"),
              show_default=True, help="Folder of checkpoint, log and sheets.")  # fmt: skip
@click.option("--start", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Exported folder whose denoiser to go on from.")  # fmt: skip
@click.option("--minutes", type=float, default=40.0, show_default=True, help="Working time.")
@click.option("--measure-only", is_flag=True, help="Only measure what is in OUT.")
@click.option("--device", default="auto", show_default=True)
@click.option("--batch", type=int, default=8, show_default=True)
@click.option("--workers", type=int, default=1, show_default=True, help="Threads making batches.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(
    data: Path,
    out: Path,
    state: Path,
    start: Path | None,
    minutes: float,
    measure_only: bool,
    device: str,
    batch: int,
    workers: int,
    seed: int,
) -> None:
    """Train, export and measure. Started again, it goes on from its checkpoint."""
    _open_log(state)
    torch.manual_seed(seed)
    setting = Setting(choose_device(device), state, out, seed, batch, workers, start)
    training, held_out = split(read_portraits(data, DETECTOR))
    logging.info("%d portraits to train on, %d held out", len(training), len(held_out))
    crops = held_out_crops(held_out, 3)

    def show(unet: UNet2DConditionModel, step: int) -> None:
        pipe = build_pipeline(unet)
        for line in sheet(pipe, crops, STEPS, state / "sheets" / f"{step}.png"):
            logging.info("%d: %s", step, line)

    if not measure_only:
        export(train(training, setting, minutes, show), out)
    _measure(held_out, setting)


if __name__ == "__main__":
    main()
