"""How close a face is to the original: pure functions of pixels and points.

Pictures are RGB uint8, height x width x 3; `inside` is a mask of the same height x width, true on
the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

Pixels = npt.NDArray[np.uint8]
Inside = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Figures:
    """One face against its original. nan: could not be measured."""

    psnr: float  # dB
    ssim: float  # -1..1
    landmarks: float  # per cent of the eye distance; nan where the mesh sees no face
    sharpness: float  # share of the original's
    score: float  # the face detector's; nan where it finds no face


@dataclass(frozen=True)
class Summary:
    """Many faces by one method: means, over those that could be measured."""

    faces: int
    psnr: float
    ssim: float
    landmarks: float
    unseen: int  # faces the mesh did not see
    sharpness: float
    closeness: float  # mean of |1 - sharpness|: 0 is just right
    score: float
    found: float  # share of faces that the detector found


def psnr(mine: Pixels, clean: Pixels, inside: Inside) -> float:
    """Peak signal-to-noise ratio in dB; 100 where nothing differs."""
    error = mine[inside].astype(np.float64) - clean[inside]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 255**2 / 1e10)))


def ssim(mine: Pixels, clean: Pixels, inside: Inside) -> float:
    """Structural similarity as Wang et al. (2004) measure it, its map averaged over the face."""
    _, local = structural_similarity(  # type: ignore[no-untyped-call]
        mine,
        clean,
        channel_axis=2,
        full=True,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(local[inside].mean())


def sharpness(mine: Pixels, clean: Pixels, inside: Inside) -> float:
    """Mean gradient as a share of the original's. Grain counts as gradient too."""
    return _gradient(mine, inside) / max(_gradient(clean, inside), 1e-6)


def landmark_error(mine: Points, clean: Points, eye_distance: float) -> float:
    """Mean distance of points that belong together, in per cent of the eye distance."""
    return float(np.linalg.norm(mine - clean, axis=1).mean() / eye_distance * 100)


def summary(figures: Sequence[Figures]) -> Summary:
    """The means of one method's figures; nan where no face at all could be measured."""
    shares = np.array([each.sharpness for each in figures])
    landmarks = np.array([each.landmarks for each in figures])
    scores = np.array([each.score for each in figures])
    return Summary(
        faces=len(figures),
        psnr=float(np.mean([each.psnr for each in figures])),
        ssim=float(np.mean([each.ssim for each in figures])),
        landmarks=_known_mean(landmarks),
        unseen=int(np.isnan(landmarks).sum()),
        sharpness=float(shares.mean()),
        closeness=float(np.abs(1 - shares).mean()),
        score=_known_mean(scores),
        found=float(np.mean(~np.isnan(scores))),
    )


def nearer(mine: Sequence[Figures], other: Sequence[Figures]) -> float:
    """The share of faces whose landmarks are nearer to the original's than by another method.

    Faces that only one of both shows to the mesh count for that one, faces seen in neither not.
    """
    pairs = [
        (np.nan_to_num(a.landmarks, nan=np.inf), np.nan_to_num(b.landmarks, nan=np.inf))
        for a, b in zip(mine, other, strict=True)
    ]
    seen = [a < b for a, b in pairs if min(a, b) < np.inf]
    return float(np.mean(seen)) if seen else float("nan")


def _known_mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _gradient(pixels: Pixels, inside: Inside) -> float:
    grey = pixels.astype(np.float32).mean(axis=2)
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    return float(np.hypot(across, down)[inside].mean())
