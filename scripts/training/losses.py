"""Losses between pictures, N x 3 x H x W in -1..1. Each gives a scalar.

`weight`, N x 1 x H x W, says where an error counts more; its mean is about 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def feature_weight(points: Tensor, side: int) -> Tensor:
    """More at the eyes (3x) and the mouth (2x) than elsewhere, N x 1 x side x side, mean 1.

    `points` is N x 6 x 2 as in `Portrait`, in pixels of the window. Eyes and mouth are what a
    face is judged by, and little of its area.
    """
    at = torch.arange(side, device=points.device, dtype=points.dtype) + 0.5
    apart = (points[:, 0] - points[:, 1]).norm(dim=1).view(-1, 1, 1).clamp(min=4)
    weight = torch.ones(len(points), side, side, device=points.device)
    for index, gain, reach in ((0, 2.0, 0.22), (1, 2.0, 0.22), (3, 1.0, 0.28)):
        across = (at.view(1, 1, -1) - points[:, index, 0].view(-1, 1, 1)) / (reach * apart)
        down = (at.view(1, -1, 1) - points[:, index, 1].view(-1, 1, 1)) / (reach * apart)
        weight = weight + gain * torch.exp(-(across**2 + down**2) / 2)
    return (weight / weight.mean((1, 2), keepdim=True)).unsqueeze(1)


def weighted_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference."""
    return ((a - b).abs() * weight).mean()


def gradient_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical steps."""
    d = a - b
    across = ((d[..., 1:] - d[..., :-1]).abs() * weight[..., 1:]).mean()
    down = ((d[..., 1:, :] - d[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
    return across + down


def coarse_l1(a: Tensor, b: Tensor, factor: int = 8) -> Tensor:
    """Mean absolute difference of the pictures made small: guards against colour shifts."""
    return functional.avg_pool2d(a - b, factor).abs().mean()


def crispness_l1(a: Tensor, b: Tensor, area: int = 8) -> Tensor:
    """Mean absolute difference of the local strength of edges: how crisp, not where exactly."""
    return (_edges(a, area) - _edges(b, area)).abs().mean()


def _edges(a: Tensor, area: int) -> Tensor:
    light = a.mean(1, keepdim=True)
    across = light[..., :-1, 1:] - light[..., :-1, :-1]
    down = light[..., 1:, :-1] - light[..., :-1, :-1]
    return functional.avg_pool2d((across**2 + down**2 + 1e-5).sqrt(), area, stride=area // 2)
