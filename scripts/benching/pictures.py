"""Pictures to measure on: prints of spoilt faces, cut from samples/, on backgrounds without any."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
SEED = 6
MOST_FACES = 6
GREATEST_FACE = 124
"""Of a face's longer side, px: the crop of a larger one is shrunk much for the built-in model."""

SIZES_WH = ((1024, 1024), (1216, 832), (832, 1216))
BACKGROUNDS = (("pad.png", (0, 0, 1024, 768)), ("table.jpg", (0, 0, 860, 720)))

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Print:
    """A photograph that lies or hangs in a sample, and the face in it, both as boxes there."""

    sample: str
    box: Box
    face: Box


PRINTS = (
    Print("exhibition.png", (89, 160, 195, 293), (110, 177, 170, 257)),
    Print("exhibition.png", (79, 402, 206, 570), (110, 421, 172, 501)),
    Print("exhibition.png", (290, 244, 446, 457), (357, 256, 406, 320)),
    Print("exhibition.png", (914, 280, 1024, 422), (937, 298, 1004, 385)),
    Print("exhibition.png", (1133, 402, 1255, 555), (1166, 420, 1222, 492)),
    Print("noticeboard.png", (445, 428, 588, 604), (471, 444, 552, 547)),
)


def make_pictures(folder: Path, count: int, *, seed: int = SEED) -> Path:
    """Write `count` PNG pictures with 1 to 6 faces each, and return the file of their boxes.

    `folder`/pictures holds them, `folder`/boxes.json is what a scripted detector reads. The same
    seed gives the same pictures; they come in three shapes of about a million pixels.
    """
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    boxes: dict[str, list[Box]] = {}
    for number in range(count):
        picture = _background(rng, SIZES_WH[number % len(SIZES_WH)])
        name = f"{number:04}.png"
        boxes[name] = _with_faces(picture, rng, 1 + int(rng.integers(MOST_FACES)))
        picture.save(folder / "pictures" / name)
    path = folder / "boxes.json"
    path.write_text(json.dumps(boxes), encoding="utf-8")
    return path


@functools.cache
def _sample(name: str) -> Image.Image:
    with Image.open(SAMPLES / name) as opened:
        return opened.convert("RGB")


def _background(rng: np.random.Generator, size_wh: tuple[int, int]) -> Image.Image:
    name, box = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    scene = _sample(name).crop(box)
    if rng.random() < 0.5:
        scene = ImageOps.mirror(scene)
    where = tuple(rng.random(2))
    scene = ImageOps.fit(scene, size_wh, Image.Resampling.LANCZOS, centering=where)
    return ImageEnhance.Brightness(scene).enhance(rng.uniform(0.8, 1.15))


def _with_faces(picture: Image.Image, rng: np.random.Generator, count: int) -> list[Box]:
    """Lay so many prints on the picture, each in a cell of its own, and return their faces."""
    columns, rows = (3, 2) if picture.width >= picture.height else (2, 3)
    wide, high = picture.width // columns, picture.height // rows
    cells = rng.permutation(columns * rows)[:count]
    return [
        _laid(picture, rng, (int(cell) % columns * wide, int(cell) // columns * high), (wide, high))
        for cell in cells
    ]


def _laid(
    picture: Image.Image, rng: np.random.Generator, corner: tuple[int, int], room: tuple[int, int]
) -> Box:
    chosen = PRINTS[rng.integers(len(PRINTS))]
    x0, y0, x1, y1 = chosen.box
    face_wh = chosen.face[2] - chosen.face[0], chosen.face[3] - chosen.face[1]
    largest = min(room[0] / (x1 - x0), room[1] / (y1 - y0), GREATEST_FACE / max(face_wh))
    scale = rng.uniform(0.7, largest)
    sheet = _sample(chosen.sample).crop(chosen.box)
    size_wh = round(sheet.width * scale), round(sheet.height * scale)
    sheet = sheet.resize(size_wh, Image.Resampling.LANCZOS)
    left, right = (round((edge - x0) * scale) for edge in (chosen.face[0], chosen.face[2]))
    top, bottom = (round((edge - y0) * scale) for edge in (chosen.face[1], chosen.face[3]))
    if rng.random() < 0.5:
        sheet, left, right = ImageOps.mirror(sheet), size_wh[0] - right, size_wh[0] - left
    x, y = (
        start + int(rng.integers(0, space - side + 1))
        for start, space, side in zip(corner, room, size_wh, strict=True)
    )
    picture.paste(ImageEnhance.Brightness(sheet).enhance(rng.uniform(0.85, 1.15)), (x, y))
    return x + left, y + top, x + right, y + bottom
