"""What is drawn and not photographed: frames, floor, cork, prints, notes and pins."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scenes.laying import shade
from scenes.photographs import DATA
from scenes.pixels import Array, Colour, Point, as_array, blurred, bump, cloud


def framed(pixels: Array, mat: int, moulding: int, colour: Colour) -> Array:
    """Put a picture behind a mat, in a frame lit from above."""
    height, width = (side + 2 * (mat + moulding) for side in pixels.shape[:2])
    y, x = np.mgrid[0:height, 0:width]
    near = np.minimum.reduce([y, x, height - 1 - y, width - 1 - x])
    edge = mat + moulding
    paper = np.where(near < edge - 2, 240.0, 208.0)
    whole = np.dstack([paper, paper * 0.985, paper * 0.955])
    whole[edge:-edge, edge:-edge] = pixels
    whole *= (0.84 + 0.16 * np.clip((y - moulding) / 7, 0, 1))[..., None]  # the frame's shadow
    light = np.select([y == near, x == near, height - 1 - y == near], [1.18, 1.0, 0.78], 0.92)
    bent = 0.82 + 0.36 * np.sin(np.pi * (near + 0.5) / moulding)
    wood = np.array(colour) * (light * bent)[..., None]
    return np.clip(np.where((near < moulding)[..., None], wood, whole), 0, 255)


def floor(rng: np.random.Generator, height: int, width: int) -> Array:
    """Draw a dark wooden floor that runs away from the viewer."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    near = 2.6 + y / height  # planks meet at eye level, two and a half such heights above
    plank = (x - width / 2) / near * 0.055
    away = 9.0 / near
    index = np.floor(plank).astype(int) % 97
    board = np.floor(away + rng.uniform(0, 9, 97)[index]).astype(int)  # planks end at odd places
    tone = rng.uniform(0.86, 1.10, (97, 31))[index, board % 31]
    fibres = cloud(rng, (2048, 2048), 1.5)
    along = np.mod(away * 40 + 300 * index, 2000), np.mod(plank * 55 + 1000, 2000)
    fibre = cv2.remap(fibres, along[0].astype("f4"), along[1].astype("f4"), cv2.INTER_LINEAR)
    gap = np.abs(plank - np.floor(plank) - 0.5) * 2 > 0.965
    wood = np.array((112, 84, 62)) * (tone * (1 + 0.05 * fibre) * np.where(gap, 0.6, 1))[..., None]
    return blurred(wood, 0.6)


def printed(photo: Array, border: int = 9) -> Array:
    """Print a photograph on glossy paper with a white border."""
    edge = ((border, border), (border, border), (0, 0))
    return np.pad(photo * 0.96 + 4, edge, constant_values=240)


def note(words: str) -> Array:
    """Write a line or two on a slip of yellow paper."""
    sheet = Image.new("RGB", (132, 92), (243, 231, 164))
    font = ImageFont.truetype(str(DATA / "fonts" / "ttf" / "DejaVuSans-Oblique.ttf"), 15)
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((66, 50), words, (58, 62, 92), font, anchor="mm", spacing=7, align="center")
    return as_array(sheet)


def pin(scene: Array, centre: Point, colour: Colour) -> None:
    """Push a drawing pin in, lit from the upper left."""
    shade(scene, (9, 9), (centre[0] + 4, centre[1] + 5), sigma=2.5, strength=0.8)
    size = scene.shape[:2]
    head = np.clip(bump(size, centre, (9, 9)) * 6, 0, 1)[..., None]
    glint = bump(size, (centre[0] - 2, centre[1] - 2), (4, 4))[..., None]
    dark = bump(size, (centre[0] + 4, centre[1] + 4), (9, 9))[..., None]
    scene[:] = scene * (1 - head) + head * np.array(colour) * (1 - 0.5 * dark)
    scene[:] = np.clip(scene + 150 * glint, 0, 255)


def cork(rng: np.random.Generator, height: int, width: int) -> Array:
    """Draw a board of pressed cork."""
    grains = cloud(rng, (height, width), 2.2) + 0.7 * cloud(rng, (height, width), 5)
    light = 1 + 0.055 * grains + 0.03 * cloud(rng, (height, width), 0.8)
    light = light - 0.34 * blurred((cloud(rng, (height, width), 1.6) > 2.1) * 1.0, 0.8)
    light = light * (1 + 0.03 * cloud(rng, (height, width), 90))
    return np.clip(np.array((186, 142, 97)) * light[..., None], 0, 255)
