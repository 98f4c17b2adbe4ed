"""The five sample pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scenes.laying import grain, lit, opaque, paste, shade
from scenes.materials import cork, floor, framed, note, pin, printed
from scenes.photographs import astronaut, cut_out, hopper, shipped
from scenes.pixels import (
    Array,
    Colour,
    Point,
    blurred,
    cloud,
    cool,
    faded,
    grey,
    resized,
    sharpened,
)
from scenes.spoil import spoil


def launch(rng: np.random.Generator) -> Array:
    """Compose an astronaut in front of a rocket on its pad: one face."""
    scene = sharpened(resized(shipped("rocket"), 1.5), 1.4, 0.5)[:640]
    person = astronaut()
    alpha = resized(cut_out(person), 0.56)
    dusk = spoil(person.scaled(0.56), rng) * (0.90, 0.84, 0.86)
    layer = np.dstack([dusk, alpha])[:258]
    paste(scene, layer, (250, 640 - layer.shape[0] / 2 + 0.5))
    return grain(scene, rng, 1.6)


def _hung(rng: np.random.Generator) -> list[tuple[Array, Colour, Point, float]]:
    """Photograph, frame, centre on the wall and tilt, of each that hangs in the exhibition."""
    oak, black, white = (150, 112, 72), (44, 42, 42), (214, 212, 206)
    navy, space = hopper(), astronaut()
    tight = space.cropped(96, 0, 352, 320)
    rocket = resized(shipped("rocket")[40:400, 130:510], 0.66)
    stars = resized(shipped("hubble_deep_field")[:640, :640], 0.27)
    head = navy.cropped(70, 0, 470, 500)
    return [
        (spoil(head.scaled(0.27), rng), oak, (142, 226), 0.3),
        (faded(spoil(tight.mirrored().scaled(0.55), rng)), black, (142, 486), -1.0),
        (spoil(space.scaled(0.42), rng), black, (396, 350), 0.2),
        (rocket, white, (700, 350), 0.0),
        (grey(spoil(head.mirrored().scaled(0.30), rng)), black, (968, 350), -2.2),
        (stars, black, (1194, 216), 0.2),
        (cool(spoil(tight.scaled(0.50), rng)), oak, (1194, 478), 0.8),
    ]


def exhibition(rng: np.random.Generator) -> Array:
    """Hang five portraits and two other photographs on a gallery wall: five faces."""
    width, height, ground = 1344, 768, 648
    wall = np.array((203, 199, 190)) + 2.2 * cloud(rng, (height, width), 60)[..., None]
    wall = wall + 1.1 * cloud(rng, (height, width), 1.0)[..., None]
    scene = np.clip(wall, 0, 255)
    hung = _hung(rng)
    sheets = [framed(photo, 14, 9, colour) for photo, colour, _, _ in hung]
    for sheet, (_, _, centre, angle) in zip(sheets, hung, strict=True):
        size = (sheet.shape[1], sheet.shape[0])
        below = (centre[0] + 3, centre[1] + 9)
        shade(scene, size, below, angle=angle, sigma=9, strength=0.42)
        shade(scene, size, (centre[0] + 1, centre[1] + 3), angle=angle, sigma=2, strength=0.35)
        paste(scene, opaque(sheet), centre, angle)
    scene = lit(scene, [(x, 330) for x in (142, 396, 700, 968, 1194)], (260, 420))
    mirrored = blurred(scene[ground - (height - ground) : ground][::-1], 9)
    scene[ground:] = 0.86 * floor(rng, height - ground, width) + 0.10 * mirrored
    scene[ground - 22 : ground] = (
        np.array((186, 183, 176)) * np.linspace(1.02, 0.86, 22)[:, None, None]
    )
    return grain(scene, rng, 1.3)


def noticeboard(rng: np.random.Generator) -> Array:
    """Pin prints to a cork board: four faces, two of them well tilted."""
    width, height = 1152, 768
    scene = cork(rng, height, width)
    navy, space = hopper().cropped(40, 0, 490, 560), astronaut().cropped(40, 0, 400, 440)
    rocket = resized(shipped("rocket")[60:427, 60:600], 0.56)
    cup = resized(shipped("coffee")[:, 60:520], 0.44)
    red, blue, green, yellow = (196, 44, 40), (46, 86, 170), (52, 132, 74), (226, 178, 40)
    pinned = [
        (printed(spoil(space.scaled(0.50), rng)), (196, 226), 5.0, red),
        (printed(rocket), (560, 186), -2.5, blue),
        (printed(grey(spoil(navy.scaled(0.32), rng))), (900, 206), -13.0, yellow),
        (printed(cup), (216, 578), -6.0, green),
        (printed(spoil(navy.mirrored().scaled(0.34), rng)), (516, 516), 3.5, red),
        (printed(faded(spoil(space.mirrored().scaled(0.56), rng))), (812, 540), 11.0, blue),
        (note("LAUNCH DAY\nbring the\ncamera!"), (1038, 470), -5.0, green),
    ]
    for sheet, centre, angle, colour in pinned:
        size = (sheet.shape[1], sheet.shape[0])
        shade(scene, size, (centre[0] + 4, centre[1] + 6), angle=angle, sigma=5, strength=0.5)
        paste(scene, opaque(sheet), centre, angle)
        lean = np.deg2rad(angle)
        up = sheet.shape[0] / 2 - 11
        pin(scene, (centre[0] - up * np.sin(lean), centre[1] - up * np.cos(lean)), colour)
    y, x = np.mgrid[0:height, 0:width]
    window = 1.07 - 0.20 * np.hypot(x / width - 0.35, y / height - 0.30)
    return grain(scene * window[..., None], rng, 1.4)


def table(rng: np.random.Generator) -> Array:
    """Lay two prints beside a cup of coffee: two faces, one of them tilted."""
    scene = sharpened(resized(shipped("coffee"), 1.8), 1.6, 0.45)
    navy, space = hopper().cropped(60, 0, 480, 540), astronaut().cropped(90, 0, 370, 340)
    laid = [
        (printed(spoil(space.scaled(0.58), rng)), (975, 112), -17.0),
        (printed(spoil(navy.scaled(0.36), rng)), (965, 596), 9.0),
    ]
    for sheet, centre, angle in laid:
        size = (sheet.shape[1], sheet.shape[0])
        shade(scene, size, (centre[0] - 3, centre[1] + 5), angle=angle, sigma=5, strength=0.55)
        warm = sheet * (0.97, 0.92, 0.83)
        paste(scene, opaque(warm), centre, angle)
    return grain(scene, rng, 2.0)


def launch_pad(rng: np.random.Generator) -> Array:
    """Crop the launch pad, for a picture with nothing to fix: no face."""
    scene = sharpened(resized(shipped("rocket"), 1.8), 1.6, 0.4)
    return grain(scene[:768, 64:1088], rng, 1.2)


# File name -> what is in it.
SAMPLES: dict[str, Callable[[np.random.Generator], Array]] = {
    "launch.png": launch,
    "exhibition.png": exhibition,
    "noticeboard.png": noticeboard,
    "table.jpg": table,
    "pad.png": launch_pad,
}
