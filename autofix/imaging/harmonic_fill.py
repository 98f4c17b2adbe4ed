"""The smoothest surface through values known only in places."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Surface = NDArray[np.float32]

SWEEPS = 6
"""Jacobi sweeps on each level, which starts from the coarser level's solution."""


def harmonic_surface(values: Surface, weight: Surface, *, tension: float) -> Surface:
    """The surface f that makes sum(weight (f - values)^2 + tension |gradient f|^2) least.

    `values` are height x width x 3 and count where `weight` (height x width, 0 or more) is
    positive; in between and beyond f is harmonic, as in Poisson blending (Perez, Gangnet and Blake
    2003; here with soft boundary values). Solved from coarse to fine, each level by damped Jacobi
    sweeps (cascadic multigrid). No weight at all gives zeros.
    """
    height, width = weight.shape
    if max(height, width) == 1:
        return np.where(weight[..., None] > 0, values, 0).astype(np.float32)
    half = (width + 1) // 2, (height + 1) // 2
    weighted = np.dstack([values * weight[..., None], weight])
    less = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], 4)
    known = less[..., :3] / np.maximum(less[..., 3:], 1e-9)
    # A coarse pixel stands for four; the tension of a surface does not depend on the scale.
    coarse = harmonic_surface(known, 4 * less[..., 3], tension=tension)
    found = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    pull, share = weighted[..., :3], 1 / (weight[..., None] + tension)
    for _ in range(SWEEPS):
        around = cv2.blur(found, (3, 3), borderType=cv2.BORDER_REPLICATE)
        found = (pull + tension * around) * share
    return np.asarray(found, np.float32)
