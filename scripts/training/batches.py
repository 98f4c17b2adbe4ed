"""Training batches, made ahead by threads; the same step always gets the same batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.augment import random_crop
from training.damage import random_damage
from training.data import Floats, Portrait
from training.networks import NATIVE_PX


@dataclass(frozen=True)
class Batch:
    """Clean and damaged crops, N x 3 x 192 x 192 in -1..1, and the points of the faces."""

    clean: Tensor
    damaged: Tensor
    points: Tensor  # N x 6 x 2, crop pixels


def to_tensor(crops: list[Floats]) -> Tensor:
    """RGB float crops in 0..1 to N x 3 x H x W in -1..1."""
    stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) * 2 - 1
    return stacked.contiguous(memory_format=torch.channels_last)


def make_batch(portraits: list[Portrait], count: int, key: tuple[int, ...]) -> Batch:
    """A random batch; the key decides all chance in it."""
    rng = np.random.default_rng(key)
    clean: list[Floats] = []
    damaged: list[Floats] = []
    points: list[Floats] = []
    for _ in range(count):
        one, other = rng.integers(len(portraits), size=2)
        crop = random_crop(portraits[one], portraits[other], NATIVE_PX, rng)
        clean.append(crop.pixels)
        damaged.append(random_damage(crop, rng))
        points.append(crop.points)
    return Batch(to_tensor(clean), to_tensor(damaged), torch.from_numpy(np.stack(points)))


def batches(
    portraits: list[Portrait], count: int, key: tuple[int, ...], start: int, workers: int
) -> Iterator[Batch]:
    """Endless batches from step `start` on, `workers` + 1 of them made ahead."""
    ahead: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        step = start
        while True:
            while len(ahead) <= workers:
                ahead.append(pool.submit(make_batch, portraits, count, (*key, step)))
                step += 1
            yield ahead.popleft().result()


def face_windows(batch: Batch, side: int) -> Batch:
    """A square window of each crop, the face somewhere in it."""
    corners = batch.points.mean(1) + 14 * torch.randn(len(batch.points), 2) - side / 2
    corners = corners.round().clamp(0, batch.clean.shape[-1] - side)
    clean, damaged = windows([batch.clean, batch.damaged], corners + side / 2, side)
    layout = torch.channels_last
    return Batch(
        clean.contiguous(memory_format=layout),
        damaged.contiguous(memory_format=layout),
        batch.points - corners[:, None],
    )


def windows(pictures: list[Tensor], centres: Tensor, side: int) -> list[Tensor]:
    """The same square window of each picture, one window a sample, kept inside the picture.

    `centres` is N x 2 (x, y); all pictures have the same N x C x H x W size.
    """
    height, width = pictures[0].shape[-2:]
    cut: list[list[Tensor]] = [[] for _ in pictures]
    for i, (x, y) in enumerate(centres.tolist()):
        left = int(min(max(x - side / 2, 0), width - side))
        top = int(min(max(y - side / 2, 0), height - side))
        for store, picture in zip(cut, pictures, strict=True):
            store.append(picture[i, :, top : top + side, left : left + side])
    return [torch.stack(store) for store in cut]
