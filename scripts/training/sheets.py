"""Held-out faces through the exported pipeline: sheets to look at, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image, ImageDraw

from training.augment import CleanCrop, plain_crop
from training.damage import fixed_damage
from training.data import Floats, Pixels, Portrait
from training.networks import COARSE_SIGMA_PX, NATIVE_PX

FACE_SIZES_PX = (24, 40, 64)
STRENGTHS = (0.3, 0.4, 0.5, 0.7)


@dataclass(frozen=True)
class Figures:
    """Means over held-out faces, measured inside the face."""

    psnr: float  # dB against the clean crop
    crispness: float  # mean gradient as a share of the clean crop's
    change: float  # mean absolute shift of the face's mean colour, 0..255


def to_image(crop: Floats) -> Image.Image:
    """RGB float 0..1 to a PIL picture."""
    return Image.fromarray(np.clip(crop * 255 + 0.5, 0, 255).astype(np.uint8))


@torch.inference_mode()
def repaint(
    pipe: StableDiffusionInpaintPipeline,
    crops: list[Image.Image],
    strength: float,
    steps: int,
    seed: int = 0,
) -> list[Pixels]:
    """The crops through the stock pipeline, the way the engine calls it."""
    count, size = len(crops), crops[0].width
    pixels = torch.stack([torch.from_numpy(np.array(c)).permute(2, 0, 1) for c in crops])
    device = pipe.unet.device
    scaled = (pixels.to(device, torch.float32) / 127.5 - 1).to(pipe.vae.dtype)
    latents = pipe.vae.encode(scaled).latents * pipe.vae.config["scaling_factor"]
    embeds = torch.zeros(count, 1, pipe.unet.config["cross_attention_dim"], device=device)
    pipe.set_progress_bar_config(disable=True)
    result = pipe(
        image=crops,
        mask_image=[Image.new("L", (size, size), 255)] * count,
        masked_image_latents=latents,
        prompt_embeds=embeds.to(pipe.unet.dtype),
        guidance_scale=1.0,
        num_inference_steps=steps,
        strength=strength,
        height=size,
        width=size,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(count)],
        output_type="np",
    )
    return [_composed(p, c) for p, c in zip(result.images, crops, strict=True)]


def _composed(painted: Floats, crop: Image.Image) -> Pixels:
    """What the engine pastes: the detail of the painted picture, light and colour of the crop."""
    drift = np.array(crop, np.float32) / 255 - painted
    pasted = painted + cv2.GaussianBlur(drift, (0, 0), COARSE_SIGMA_PX)
    return np.clip(pasted * 255 + 0.5, 0, 255).astype(np.uint8)


def face_box(crop: CleanCrop) -> tuple[slice, slice]:
    """Rows and columns from brows to chin."""
    eyes, mouth = crop.points[:2].mean(0), crop.points[3]
    x, y = (eyes + mouth) / 2
    half_w, half_h = 0.42 * crop.face_px, 0.5 * crop.face_px
    rows = slice(max(0, int(y - half_h)), int(y + half_h))
    return rows, slice(max(0, int(x - half_w)), int(x + half_w))


def measure(results: list[Pixels], crops: list[CleanCrop]) -> Figures:
    """Compare repainted (or damaged) crops with the clean ones."""
    psnrs: list[float] = []
    crisp: list[float] = []
    shifts: list[float] = []
    for result, crop in zip(results, crops, strict=True):
        box = face_box(crop)
        clean = np.clip(crop.pixels * 255, 0, 255).astype(np.float32)[box]
        mine = result.astype(np.float32)[box]
        psnrs.append(float(10 * np.log10(255**2 / max(1e-6, ((mine - clean) ** 2).mean()))))
        crisp.append(_gradient(mine) / _gradient(clean))
        shifts.append(float(np.abs(mine.mean((0, 1)) - clean.mean((0, 1))).mean()))
    return Figures(float(np.mean(psnrs)), float(np.mean(crisp)), float(np.mean(shifts)))


def _gradient(pixels: Floats) -> float:
    grey = pixels.mean(2)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return float(np.hypot(across, down).mean())


def held_out_crops(portraits: list[Portrait], count: int) -> list[CleanCrop]:
    """The same crops every time: spread over the held-out set, shares and turns in rotation."""
    chosen = [portraits[i * len(portraits) // count] for i in range(count)]
    shares, turns = (0.55, 0.62, 0.48), (0.0, 8.0, -12.0, 0.0)
    return [
        plain_crop(p, NATIVE_PX, shares[i % len(shares)], turns[i % len(turns)])
        for i, p in enumerate(chosen)
    ]


def sheet(
    pipe: StableDiffusionInpaintPipeline, crops: list[CleanCrop], steps: int, path: Path
) -> list[str]:
    """Write rows of faces (three source sizes each) and give lines of figures."""
    rows: list[list[Pixels]] = []
    lines: list[str] = []
    clean = [np.array(to_image(c.pixels)) for c in crops]
    for face_px in FACE_SIZES_PX:
        damaged = [to_image(fixed_damage(c, face_px, i)) for i, c in enumerate(crops)]
        columns = [[np.array(d) for d in damaged]]
        columns += [repaint(pipe, damaged, strength, steps) for strength in STRENGTHS]
        for name, results in zip(("input", *map(str, STRENGTHS)), columns, strict=True):
            f = measure(results, crops)
            lines.append(f"face {face_px} px, {name}: psnr {f.psnr:.2f} dB, "
                         f"crispness {f.crispness:.2f}, colour shift {f.change:.2f}")  # fmt: skip
        rows += [list(row) for row in zip(*columns, clean, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    paste_rows(rows, ("input", *(f"strength {s}" for s in STRENGTHS), "clean")).save(path)
    return lines


def paste_rows(rows: list[list[Pixels]], titles: tuple[str, ...]) -> Image.Image:
    """A page of rows of equal pictures under their titles."""
    side, head = NATIVE_PX, 16
    page = Image.new("RGB", (side * len(titles), head + side * len(rows)), "white")
    pen = ImageDraw.Draw(page)
    for x, title in enumerate(titles):
        pen.text((x * side + 4, 2), title, fill="black")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            page.paste(Image.fromarray(pixels), (x * side, head + y * side))
    return page
