"""Small spoilt faces as the pipeline cuts them, and labelled patches for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from autofix.geometry import map_point
from autofix.settings.recipe import Recipe
from autofix.stages.choose import choose
from autofix.stages.crop import crop, crop_window
from autofix.stages.mask import mask
from autofix.values import Crop, Patch, Picture, Pixels
from checking.breaking import BREAKERS, Face, Floats
from detectors.base import Detector
from scenes.photographs import Portrait as Scene
from scenes.spoil import spoil
from training.data import Portrait

SIDE = 192
FACE_SIZES_PX = (24, 32, 40, 48, 64, 96)


@dataclass(frozen=True, eq=False)
class Subject:
    """One spoilt face: the crop the engine is shown, and the clean face as that crop shows it.

    `points` are the six of the face at working size. Where nobody knows the clean face, `clean`
    is None.
    """

    person: str
    face_px: int
    spoilt: str  # "small", "bent" too, or "sample"
    crop: Crop
    clean: Floats | None
    points: Floats

    @property
    def spoilt_pixels(self) -> Floats:
        """What the engine is shown, 0 to 1."""
        return self.crop.pixels.astype(np.float32) / np.float32(255)

    def face(self, pixels: Floats, other: Floats) -> Face:
        """What the breakers take."""
        shown = self.crop.mask.astype(np.float32) / 255
        return Face(pixels, self.points, shown, other, self.crop.window.scale)

    def patch(self, pixels: Floats) -> Patch:
        """The crop repainted with these pixels."""
        return Patch(self.crop, pixels.astype(np.float32), seed=0, strength=0.4)


@dataclass(frozen=True, eq=False)
class Labelled:
    """One patch, and what it is: `good` None where people would disagree."""

    subject: Subject
    kind: str
    good: bool | None
    patch: Patch


def subjects(
    portraits: Sequence[Portrait], detector: Detector, recipe: Recipe, *, each: int = 2
) -> Iterator[Subject]:
    """`each` of every portrait, sizes and kinds of damage in rotation, where a face is found."""
    for index, portrait in enumerate(portraits):
        for turn in range(each):
            face_px = FACE_SIZES_PX[(index + turn * 3) % len(FACE_SIZES_PX)]
            bent = (index // 2 + turn) % 2 == 1
            found = subject(portrait, face_px, "bent" if bent else "small", detector, recipe)
            if found is not None:
                yield found


def subject(
    portrait: Portrait, face_px: int, spoilt: str, detector: Detector, recipe: Recipe
) -> Subject | None:
    """The portrait with a face of so many pixels, spoilt; None where no face is found in it."""
    rng = np.random.default_rng([face_px, *portrait.name.encode()])
    picture = Picture(_small(portrait, face_px, spoilt, rng), portrait.name)
    crops = in_picture(picture, detector, recipe, largest=True)
    if not crops:
        return None
    (cut,) = crops
    a, b, c, d, e, f = cut.window.to_working
    high, wide = portrait.pixels.shape[:2]
    to_small = np.diag([picture.size_wh[0] / wide, picture.size_wh[1] / high, 1.0])
    matrix = np.array([[a, b, c], [d, e, f]]) @ to_small
    points = np.column_stack([portrait.points, np.ones(len(portrait.points))]) @ matrix.T
    clean = portrait.pixels.astype(np.float32) / 255
    return Subject(
        portrait.name,
        face_px,
        spoilt,
        cut,
        _warped(clean, matrix, (SIDE, SIDE), edges=True),
        points.astype(np.float32),
    )


def in_picture(
    picture: Picture, detector: Detector, recipe: Recipe, *, largest: bool = False
) -> list[Crop]:
    """Every face of a picture, or the largest alone, as the pipeline shows it to the engine."""
    regions = choose(picture, detector.detect([picture.pixels])[0], recipe.choose)
    if largest:
        regions = tuple(sorted(regions, key=lambda r: -r.detection.area)[:1])
    masked = [mask(region, picture.size_wh, recipe.mask) for region in regions]
    windows = [crop_window(picture.size_wh, each, recipe.crop, native=SIDE) for each in masked]
    return [
        crop(picture, region, recipe.crop, window)
        for region, window in zip(masked, windows, strict=True)
    ]


def sample(cut: Crop, name: str) -> Subject:
    """A face that nobody knows better than it is, its points as the detector saw them."""
    points = [map_point(cut.window.to_working, *at) for _, at in cut.region.detection.landmarks]
    face_px = round(cut.region.detection.width / 1.35)
    return Subject(name, face_px, "sample", cut, None, np.array(points, np.float32))


def good_ones(subject: Subject, painted: Floats, rng: np.random.Generator) -> Iterator[Labelled]:
    """What a model made of it, and other fixes that nobody should mind."""
    yield Labelled(subject, "built-in model", True, subject.patch(painted))
    kinds = dict(GOOD)
    if subject.clean is None:
        kinds = {kind: kinds[kind] for kind in ("sharpened only", "denoised only")}
    else:
        yield Labelled(subject, "the clean face", True, subject.patch(subject.clean))
    for kind in rng.permutation(list(kinds))[:3]:
        yield Labelled(subject, str(kind), True, subject.patch(kinds[kind](subject, rng)))


def broken_ones(
    subject: Subject, painted: Floats, other: Subject, turn: int, rng: np.random.Generator
) -> Iterator[Labelled]:
    """A third of all kinds, by `turn`, made of the model's work or of the clean face."""
    for kind in list(BREAKERS)[turn % 3 :: 3]:
        clean = painted if subject.clean is None or rng.random() < 0.5 else subject.clean
        face = subject.face(np.clip(clean, 0, 1).astype(np.float32), aligned(other, subject))
        yield Labelled(subject, kind, False, subject.patch(BREAKERS[kind](face, rng)))


def mended_one(subject: Subject, rng: np.random.Generator) -> Labelled:
    """A face of which one eye or the mouth alone was wrong, put right: a repaint that goes far."""
    assert subject.clean is not None
    kind = str(rng.choice(["eye slipped", "eye doubled", "one eye gone", "second mouth"]))
    wrong = BREAKERS[kind](subject.face(subject.spoilt_pixels, subject.clean), rng)
    shown = replace(subject.crop, pixels=np.uint8(np.rint(wrong * 255)))
    return Labelled(subject, f"mended: {kind}", None, Patch(shown, subject.clean, 0, 0.4))


def aligned(other: Subject, onto: Subject) -> Floats:
    """The other's clean face, its eyes and mouth where this one's are."""
    assert other.clean is not None
    matrix, _ = cv2.estimateAffinePartial2D(other.points[[0, 1, 3]], onto.points[[0, 1, 3]])
    return _warped(other.clean, matrix, onto.crop.pixels.shape[1::-1])


Good = Callable[[Subject, np.random.Generator], Floats]


def _drifted(subject: Subject, rng: np.random.Generator) -> Floats:
    return np.clip(subject.clean + rng.normal(0, 0.015, 3), 0, 1)


def _soft(subject: Subject, rng: np.random.Generator) -> Floats:
    soft = cv2.GaussianBlur(subject.clean, (0, 0), 0.8)
    return np.clip(soft + rng.normal(0, 0.02, soft.shape), 0, 1)


def _moved_a_little(subject: Subject, rng: np.random.Generator) -> Floats:
    high, wide = subject.clean.shape[:2]
    apart = float(np.linalg.norm(subject.points[0] - subject.points[1]))
    field = rng.normal(0, 1, (high, wide, 2)).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), 0.4 * apart)
    at = np.mgrid[:high, :wide].astype(np.float32) + (0.02 * apart * field / field.std()).T
    mode = cv2.BORDER_REFLECT_101
    return np.clip(cv2.remap(subject.clean, at[1], at[0], cv2.INTER_CUBIC, borderMode=mode), 0, 1)


def _contrast(subject: Subject, rng: np.random.Generator) -> Floats:
    return np.clip((subject.clean - 0.5) * rng.uniform(0.9, 1.12) + 0.5, 0, 1)


def _relit(subject: Subject, rng: np.random.Generator) -> Floats:
    high, wide = subject.clean.shape[:2]
    light = cv2.resize(rng.normal(1, 0.03, (3, 3)).astype(np.float32), (wide, high))
    return np.clip(subject.clean * light[..., None], 0, 1)


def _sharpened(subject: Subject, rng: np.random.Generator) -> Floats:
    old = subject.spoilt_pixels
    amount = rng.uniform(0.5, 1.2)
    return np.clip(old + amount * (old - cv2.GaussianBlur(old, (0, 0), 1.2)), 0, 1)


def _denoised(subject: Subject, rng: np.random.Generator) -> Floats:
    return cv2.bilateralFilter(subject.spoilt_pixels, 0, rng.uniform(0.05, 0.12), 2.5)


GOOD: dict[str, Good] = {
    "clean, colours drifted": _drifted,
    "clean, soft and grainy": _soft,
    "clean, drawn a little otherwise": _moved_a_little,
    "clean, other contrast": _contrast,
    "clean, other light": _relit,
    "sharpened only": _sharpened,
    "denoised only": _denoised,
}


def _small(portrait: Portrait, face_px: int, spoilt: str, rng: np.random.Generator) -> Pixels:
    """The portrait with a face of so many pixels, small only, or bent and blotchy too."""
    high, wide = portrait.pixels.shape[:2]
    scale = face_px / portrait.face_px
    pixels = portrait.pixels.astype(np.float64)
    if spoilt == "bent":
        pixels = spoil(Scene(pixels, portrait.points[[1, 0, 3]].astype(np.float64)), rng)
    size_wh = (max(round(wide * scale), 16), max(round(high * scale), 16))
    small = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)
    small = np.clip(small + rng.normal(0, 3.0, small.shape), 0, 255).astype(np.uint8)
    if spoilt == "bent":
        return small
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _warped(
    pixels: Floats, matrix: np.ndarray, size_wh: tuple[int, int], *, edges: bool = False
) -> Floats:
    """Sent through an affine map, which counts from pixel edges where `edges` says so."""
    matrix = np.array(matrix, np.float64)
    if edges:
        matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    moved = cv2.warpAffine(
        pixels, matrix, size_wh, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.clip(moved, 0, 1).astype(np.float32)
