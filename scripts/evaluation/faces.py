"""The faces that are measured: portraits kept aside, clean, and made small and rough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFilter

from autofix.geometry import Window
from detectors.detection import Box, Point
from detectors.face_mesh import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    NOSE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    FaceMesh,
    Mesh,
)
from detectors.face_outline import face_contour
from detectors.mp_face import MediapipeFaces
from evaluation import measures
from evaluation.measures import Figures, Inside, Pixels
from training.augment import CleanCrop
from training.damage import fixed_small
from training.data import Floats

MODELS = Path(__file__).parents[2] / "weights/builtin/mediapipe"
FEATURES = [*RIGHT_EYE, *LEFT_EYE, *RIGHT_BROW, *LEFT_BROW, *NOSE, *OUTER_LIPS, *INNER_LIPS]
"""The mesh's points whose distance is the landmark error; the outline is vague on any face."""

UNSHARP = ImageFilter.UnsharpMask(radius=2, percent=150, threshold=0)
DENOISE = 3.0  # h of the non-local means: OpenCV's own, and of 1.5, 3 and 5 the best here


@dataclass(frozen=True)
class Original:
    """A clean face at working size, and where it is."""

    index: int
    crop: CleanCrop
    pixels: Pixels
    mesh: Mesh
    inside: Inside
    box: Box
    eyes: tuple[Point, Point]

    def small(self, face_px: float, *, rough: bool) -> Pixels:
        """As the picture has it: the face so many px wide, with some noise and JPEG if rough."""
        return _levels(fixed_small(self.crop, face_px, self.index, rough=rough))


class Judge:
    """Measures faces with the face mesh and the face detector. A context manager."""

    def __init__(self) -> None:
        self._mesh = FaceMesh(MODELS / "face_landmark.tflite")
        self._faces = MediapipeFaces(MODELS / "face_detection_short_range.tflite")

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._mesh.close()
        self._faces.close()

    def originals(self, crops: Sequence[CleanCrop]) -> list[Original]:
        """The clean faces; one in which the mesh sees no face is left out."""
        found = [self._original(index, crop) for index, crop in enumerate(crops)]
        return [original for original in found if original]

    def measure(self, mine: Pixels, original: Original) -> Figures:
        """A face at working size against its original."""
        clean, inside = original.pixels, original.inside
        mesh = self._mesh.find_mesh(mine, original.box, original.eyes)
        found = self._faces.detect([mine])[0]
        return Figures(
            psnr=measures.psnr(mine, clean, inside),
            ssim=measures.ssim(mine, clean, inside),
            landmarks=_error(mesh, original.mesh) if mesh else float("nan"),
            sharpness=measures.sharpness(mine, clean, inside),
            score=found[0].score if found else float("nan"),
        )

    def box_share(self, originals: Sequence[Original]) -> float:
        """The detector's box, its shorter side, for one px of the width that sizes are given in."""
        shares = [
            min(found[0].width, found[0].height) / original.crop.face_px
            for original in originals
            if (found := self._faces.detect([original.pixels])[0])
        ]
        return float(np.median(shares))

    def _original(self, index: int, crop: CleanCrop) -> Original | None:
        pixels = _levels(crop.pixels)
        rough = self._mesh.find_mesh(pixels, _around(crop), _eyes(crop))
        # Once more from where it was found, as it will be sought in the other pictures.
        mesh = rough and self._mesh.find_mesh(pixels, _box(rough), rough.eyes)
        if rough is None or mesh is None:
            return None
        inside = np.zeros(pixels.shape[:2], np.uint8)
        outline = np.round(np.array(face_contour(mesh)) - 0.5).astype(np.int32)
        cv2.fillPoly(inside, [outline], 1)
        return Original(index, crop, pixels, mesh, inside.astype(bool), _box(rough), rough.eyes)


def alternatives(small: Pixels, size: int) -> dict[str, Pixels]:
    """The small picture at working size, untouched (as autofix shows it) and by plain means.

    Sharpening and denoising are done in the small picture, where their user would do them, and
    sharpening also after enlarging.
    """
    given = window(small, size).cut(small)
    denoised = cv2.fastNlMeansDenoisingColored(small[..., ::-1].copy(), None, DENOISE, DENOISE)
    denoised = np.ascontiguousarray(denoised[..., ::-1])
    return {
        "input": given,
        "bicubic": _bicubic(small, size),
        "unsharp": window(small, size).cut(_unsharp(small)),
        "unsharp, large": _unsharp(given),
        "denoised": window(small, size).cut(denoised),
        "denoised, unsharp": window(small, size).cut(_unsharp(denoised)),
    }


def window(small: Pixels, size: int) -> Window:
    """All of the small picture, seen at working size."""
    return Window((0, 0, small.shape[1], small.shape[0]), (size, size))


def spread(originals: Sequence[Original], count: int) -> list[Original]:
    """So many that stand for all, drawn by a fixed seed; fewer are among those of more."""
    drawn = np.random.default_rng(0).permutation(len(originals))[:count]
    return [originals[index] for index in sorted(drawn)]


def _levels(pixels: Floats) -> Pixels:
    return np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)


def _error(mine: Mesh, clean: Mesh) -> float:
    return measures.landmark_error(
        mine.points[FEATURES], clean.points[FEATURES], clean.eye_distance
    )


def _eyes(crop: CleanCrop) -> tuple[Point, Point]:
    (rx, ry), (lx, ly) = crop.points[:2]
    return (float(rx), float(ry)), (float(lx), float(ly))


def _around(crop: CleanCrop) -> Box:
    x, y = 0.55 * crop.points[:2].mean(axis=0) + 0.45 * crop.points[3]
    half = 0.65 * crop.face_px
    return float(x - half), float(y - half), float(x + half), float(y + half)


def _box(mesh: Mesh) -> Box:
    (x0, y0), (x1, y1) = mesh.points.min(axis=0), mesh.points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _unsharp(pixels: Pixels) -> Pixels:
    return np.array(Image.fromarray(pixels).filter(UNSHARP))


def _bicubic(small: Pixels, size: int) -> Pixels:
    return np.array(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
