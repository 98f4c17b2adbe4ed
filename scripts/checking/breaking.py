"""Ways to break a repainted face on purpose.

Pixels are RGB float32, height x width x 3, in 0..1, at working size, and are not changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Face:
    """A face as it should be, where it is, and what its breaking may use.

    `points` are six x, y at working size: right eye, left eye, nose, mouth, right and left ear.
    `mask` is 0..1, height x width; `other` is another person's face, eyes and mouth in the same
    places; `pixel` is the side, at working size, of one pixel of the picture it came from.
    """

    pixels: Floats
    points: Floats
    mask: Floats
    other: Floats
    pixel: float

    @property
    def eyes_px(self) -> float:
        """From eye to eye."""
        return float(np.linalg.norm(self.points[0] - self.points[1]))

    @property
    def width_px(self) -> float:
        """From ear to ear, about."""
        return 2.05 * self.eyes_px

    @property
    def centre(self) -> Floats:
        """Between the eyes and the mouth."""
        return (self.points[:2].mean(0) + self.points[3]) / 2

    def spot(self, at: Floats, reach_px: float) -> Floats:
        """1 within `reach_px` of a point, falling to 0 at 1.4 times that. Height x width x 1."""
        ys, xs = np.mgrid[: self.mask.shape[0], : self.mask.shape[1]].astype(np.float32)
        far = np.hypot(xs - at[0], ys - at[1]) / reach_px
        return np.clip((1.4 - far) / 0.4, 0, 1)[..., None].astype(np.float32)


Breaker = Callable[[Face, np.random.Generator], Floats]
BREAKERS: dict[str, Breaker] = {}


def _kind(breaker: Breaker) -> Breaker:
    BREAKERS[breaker.__name__.replace("_", " ")] = breaker
    return breaker


@_kind
def not_a_number(face: Face, rng: np.random.Generator) -> Floats:
    """NaN everywhere, or in a few places."""
    lost = rng.random(face.mask.shape) < rng.choice([1.0, 0.01])
    return np.where(lost[..., None], np.float32(np.nan), face.pixels)


@_kind
def black(face: Face, rng: np.random.Generator) -> Floats:
    """Black, or so dark that hardly anything is left."""
    return face.pixels * np.float32(rng.choice([0.0, 0.02, 0.08]))


@_kind
def flat(face: Face, rng: np.random.Generator) -> Floats:
    """The face's own mean colour, and little else."""
    mean = face.pixels[face.mask > 0.5].mean(0)
    return (mean + (face.pixels - mean) * np.float32(rng.uniform(0, 0.1))).astype(np.float32)


@_kind
def saturated(face: Face, rng: np.random.Generator) -> Floats:
    """Contrast driven into both ends."""
    gain = rng.uniform(3, 6)
    mean = face.pixels[face.mask > 0.5].mean()
    return np.clip(mean + (face.pixels - mean) * gain, 0, 1).astype(np.float32)


@_kind
def noise(face: Face, rng: np.random.Generator) -> Floats:
    """Blotches of colour, fine or coarse, that all but hide the face."""
    cell = rng.uniform(1, 0.15 * face.width_px)
    raw = cv2.GaussianBlur(rng.normal(0, 1, face.pixels.shape).astype(np.float32), (0, 0), cell)
    share = np.float32(rng.uniform(0.7, 1.0))
    blotches = 0.5 + 0.22 * raw / raw.std()
    return np.clip(face.pixels * (1 - share) + blotches * share, 0, 1).astype(np.float32)


@_kind
def one_eye_gone(face: Face, rng: np.random.Generator) -> Floats:
    """Skin where an eye was."""
    eye = face.points[int(rng.integers(2))]
    spot = face.spot(eye, 0.3 * face.eyes_px)
    hole = np.where(spot[..., 0] > 0.05, 255, 0).astype(np.uint8)
    levels = np.clip(face.pixels * 255, 0, 255).astype(np.uint8)
    filled = cv2.inpaint(levels, hole, 3, cv2.INPAINT_TELEA).astype(np.float32) / 255
    return _through(face.pixels, filled, spot)


@_kind
def eyes_upside_down(face: Face, rng: np.random.Generator) -> Floats:
    """One eye or both stand on their heads, brows and all."""
    broken = face.pixels
    for index in rng.permutation(2)[: int(rng.integers(1, 3))]:
        eye = face.points[index]
        turned = _moved(face.pixels, eye, degrees=180)
        broken = _through(broken, turned, face.spot(eye, 0.34 * face.eyes_px))
    return broken


@_kind
def eye_warped(face: Face, rng: np.random.Generator) -> Floats:
    """An eye drawn into a swirl."""
    eye = face.points[int(rng.integers(2))]
    ys, xs = np.mgrid[: face.mask.shape[0], : face.mask.shape[1]].astype(np.float32)
    dx, dy = xs - eye[0], ys - eye[1]
    fall = np.exp(-(dx**2 + dy**2) / (2 * (0.24 * face.eyes_px) ** 2))
    angle = fall * np.float32(rng.choice([-1, 1]) * rng.uniform(1.6, 3.2))
    cos, sin = np.cos(angle), np.sin(angle)
    map_x, map_y = eye[0] + cos * dx - sin * dy, eye[1] + sin * dx + cos * dy
    return _remapped(face.pixels, map_x, map_y)


@_kind
def eye_doubled(face: Face, rng: np.random.Generator) -> Floats:
    """An eye a second time, above or below itself."""
    eye = face.points[int(rng.integers(2))]
    down = np.array([0, rng.choice([-1, 1]) * rng.uniform(0.34, 0.6) * face.eyes_px])
    copy = _moved(face.pixels, eye, by=down)
    return _through(face.pixels, copy, face.spot(eye + down, 0.24 * face.eyes_px))


@_kind
def eye_slipped(face: Face, rng: np.random.Generator) -> Floats:
    """One eye well out of line with the other."""
    eye = face.points[int(rng.integers(2))]
    by = _direction(rng) * rng.uniform(0.2, 0.32) * face.eyes_px
    ys, xs = np.mgrid[: face.mask.shape[0], : face.mask.shape[1]].astype(np.float32)
    reach = 0.34 * face.eyes_px
    fall = np.exp(-((xs - eye[0] - by[0]) ** 2 + (ys - eye[1] - by[1]) ** 2) / (2 * reach**2))
    return _remapped(face.pixels, xs - fall * np.float32(by[0]), ys - fall * np.float32(by[1]))


@_kind
def second_mouth(face: Face, rng: np.random.Generator) -> Floats:
    """The mouth once more: on the chin, a cheek, or between the eyes."""
    mouth, apart = face.points[3], face.eyes_px
    places = ((0.0, 0.5), (-0.62, -0.3), (0.62, -0.3), (0.0, -1.35))
    by = np.array(places[int(rng.integers(len(places)))]) * apart
    copy = _moved(face.pixels, mouth, by=by)
    return _through(face.pixels, copy, face.spot(mouth + by, 0.3 * apart))


@_kind
def shifted(face: Face, rng: np.random.Generator) -> Floats:
    """The face 6 to 20 % of its width off its place."""
    by = _direction(rng) * rng.uniform(0.06, 0.2) * face.width_px
    return _moved(face.pixels, face.centre, by=by)


@_kind
def scaled(face: Face, rng: np.random.Generator) -> Floats:
    """The face a seventh or more too small or too large."""
    scale = rng.uniform(1.15, 1.35)
    return _moved(face.pixels, face.centre, scale=scale if rng.random() < 0.5 else 1 / scale)


@_kind
def turned(face: Face, rng: np.random.Generator) -> Floats:
    """The face leaning 12 to 40 degrees against its body."""
    degrees = rng.choice([-1, 1]) * rng.uniform(12, 40)
    return _moved(face.pixels, face.centre, degrees=degrees)


@_kind
def upside_down(face: Face, rng: np.random.Generator) -> Floats:
    """The face on its head."""
    return _moved(face.pixels, face.centre, degrees=180 + rng.uniform(-5, 5))


@_kind
def another_person(face: Face, rng: np.random.Generator) -> Floats:
    """Somebody else's head with eyes and mouth in the same places."""
    return face.other if rng.random() < 0.5 else _in_colours_of(face)


@_kind
def other_features(face: Face, rng: np.random.Generator) -> Floats:
    """Somebody else's eyes, nose and mouth in this one's face and colours."""
    spot = face.spot(face.centre, rng.uniform(0.4, 0.5) * face.width_px)
    return _through(face.pixels, _in_colours_of(face), spot)


@_kind
def colour_cast(face: Face, rng: np.random.Generator) -> Floats:
    """A cast no blending should have to mend, over all of the patch or only where it is masked."""
    cast = rng.normal(0, 1, 3)
    cast -= cast.mean()
    cast *= rng.uniform(0.12, 0.3) / np.abs(cast).max()
    return _tinted(face, cast, rng)


@_kind
def brightness_jump(face: Face, rng: np.random.Generator) -> Floats:
    """Far too light or too dark, over all of the patch or only where it is masked."""
    return _tinted(face, rng.choice([-1, 1]) * rng.uniform(0.14, 0.35) * np.ones(3), rng)


@_kind
def visible_square(face: Face, rng: np.random.Generator) -> Floats:
    """A hard square inside the mask in another tone than the rest."""
    ys, xs = np.nonzero(face.mask > 0.5)
    middle_x, middle_y = xs.mean(), ys.mean()
    half = rng.uniform(0.3, 0.46) * np.array([np.ptp(xs), np.ptp(ys)])
    grid_y, grid_x = np.mgrid[: face.mask.shape[0], : face.mask.shape[1]]
    inside = (np.abs(grid_x - middle_x) < half[0]) & (np.abs(grid_y - middle_y) < half[1])
    step = rng.choice([-1, 1]) * rng.uniform(0.07, 0.16) * np.ones(3) + rng.normal(0, 0.015, 3)
    return np.clip(face.pixels + inside[..., None] * step, 0, 1).astype(np.float32)


@_kind
def blurred_away(face: Face, rng: np.random.Generator) -> Floats:
    """Softer by far than the picture was."""
    sigma = max(rng.uniform(0.09, 0.2) * face.width_px, 2.5 * face.pixel)
    return cv2.GaussianBlur(face.pixels, (0, 0), sigma).astype(np.float32)


@_kind
def mosaic(face: Face, rng: np.random.Generator) -> Floats:
    """Blocks, coarser than the picture's own pixels."""
    cell = max(rng.uniform(0.1, 0.2) * face.width_px, 2.5 * face.pixel)
    high, wide = face.mask.shape
    cells = (max(round(wide / cell), 2), max(round(high / cell), 2))
    small = cv2.resize(face.pixels, cells, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (wide, high), interpolation=cv2.INTER_NEAREST).astype(np.float32)


def _in_colours_of(face: Face) -> Floats:
    """The other's face with this one's mean and spread of each channel."""
    inside = face.mask > 0.5
    mine, theirs = face.pixels[inside], face.other[inside]
    gain = mine.std(0) / np.maximum(theirs.std(0), 1e-3)
    matched = (face.other - theirs.mean(0)) * gain + mine.mean(0)
    return np.clip(matched, 0, 1).astype(np.float32)


def _tinted(face: Face, shift: NDArray[np.float64], rng: np.random.Generator) -> Floats:
    where = face.mask[..., None] if rng.random() < 0.5 else np.float32(1)
    return np.clip(face.pixels + where * shift, 0, 1).astype(np.float32)


def _through(old: Floats, new: Floats, spot: Floats) -> Floats:
    return (old * (1 - spot) + new * spot).astype(np.float32)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _moved(
    pixels: Floats,
    about: Floats,
    *,
    by: NDArray[np.float64] | None = None,
    degrees: float = 0.0,
    scale: float = 1.0,
) -> Floats:
    """Turned and scaled about a point, then moved."""
    matrix = cv2.getRotationMatrix2D((float(about[0]), float(about[1])), degrees, scale)
    matrix[:, 2] += 0.0 if by is None else by
    size_wh = (pixels.shape[1], pixels.shape[0])
    moved = cv2.warpAffine(
        pixels, matrix, size_wh, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.clip(moved, 0, 1).astype(np.float32)


def _remapped(pixels: Floats, map_x: Floats, map_y: Floats) -> Floats:
    bent = cv2.remap(
        pixels,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.clip(bent, 0, 1).astype(np.float32)
