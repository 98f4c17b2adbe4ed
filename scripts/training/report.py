"""The exported folder on held-out faces: the figures table and the sheet of the model card."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from training.augment import CleanCrop
from training.damage import fixed_damage
from training.data import Pixels, Portrait
from training.sheets import (
    FACE_SIZES_PX,
    Figures,
    held_out_crops,
    measure,
    paste_rows,
    repaint,
    to_image,
)

_STRENGTHS = (0.3, 0.4, 0.5)
_BATCH = 8


def load_folder(folder: Path) -> StableDiffusionInpaintPipeline:
    """The folder as the engine loads it."""
    return StableDiffusionInpaintPipeline.from_pretrained(
        folder,
        dtype=torch.float32,
        text_encoder=None,
        tokenizer=None,
        feature_extractor=None,
        image_encoder=None,
        safety_checker=None,
    )


def figures_table(
    pipe: StableDiffusionInpaintPipeline, held_out: list[Portrait], count: int, steps: int
) -> str:
    """Markdown: one row a source size and strength, means over `count` held-out faces."""
    crops = held_out_crops(held_out, count)
    lines = ["| face in the picture | strength | PSNR, dB | crispness | colour shift |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for face_px in (*FACE_SIZES_PX, None):
        damaged = _inputs(crops, face_px)
        size = f"{face_px} px" if face_px else "undamaged"
        lines.append(_row(size, "input", measure([np.array(d) for d in damaged], crops)))
        for strength in _STRENGTHS:
            results = _in_batches(pipe, damaged, strength, steps)
            lines.append(_row(size, str(strength), measure(results, crops)))
    return "\n".join(lines)


def card_sheet(
    pipe: StableDiffusionInpaintPipeline, held_out: list[Portrait], steps: int, path: Path
) -> None:
    """Two faces a source size, JPEG, small enough for the documentation."""
    crops = held_out_crops(held_out, 6)
    rows: list[list[Pixels]] = []
    for i, face_px in enumerate(FACE_SIZES_PX):
        pair = crops[2 * i : 2 * i + 2]
        damaged = _inputs(pair, face_px)
        columns = [[np.array(d) for d in damaged]]
        columns += [repaint(pipe, damaged, s, steps) for s in _STRENGTHS]
        clean = [np.array(to_image(c.pixels)) for c in pair]
        rows += [list(row) for row in zip(*columns, clean, strict=True)]
    titles = ("input", *(f"strength {s}" for s in _STRENGTHS), "original")
    path.parent.mkdir(parents=True, exist_ok=True)
    paste_rows(rows, titles).save(path, quality=88)


def seconds_a_face(
    pipe: StableDiffusionInpaintPipeline, held_out: list[Portrait], strength: float, steps: int
) -> float:
    """Time of the whole call, a face, in a batch of eight; the best of three."""
    damaged = _inputs(held_out_crops(held_out, _BATCH), 40)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        repaint(pipe, damaged, strength, steps)
        best = min(best, time.perf_counter() - start)
    return best / _BATCH


def _inputs(crops: list[CleanCrop], face_px: int | None) -> list[Image.Image]:
    if face_px is None:
        return [to_image(c.pixels) for c in crops]
    return [to_image(fixed_damage(c, face_px, i)) for i, c in enumerate(crops)]


def _in_batches(
    pipe: StableDiffusionInpaintPipeline, damaged: list[Image.Image], strength: float, steps: int
) -> list[Pixels]:
    results: list[Pixels] = []
    for start in range(0, len(damaged), _BATCH):
        results += repaint(pipe, damaged[start : start + _BATCH], strength, steps, seed=start)
    return results


def _row(size: str, strength: str, f: Figures) -> str:
    return f"| {size} | {strength} | {f.psnr:.2f} | {f.crispness:.2f} | {f.change:.2f} |"
