"""Losses between pictures, N x 3 x H x W in -1..1. Each gives a scalar."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical steps."""
    d = a - b
    across = (d[..., 1:] - d[..., :-1]).abs().mean()
    down = (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
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
