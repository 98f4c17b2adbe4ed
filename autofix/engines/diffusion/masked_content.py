"""What the masked part starts from, where that is not itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from autofix.values import MaskValues, Pixels

_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Gaussian radius in px, and how often the blurred picture is laid over what is there already."""


def fill_masked(pixels: Pixels, mask: MaskValues) -> Pixels:
    """The picture with the colours around the mask flowed into it; unmasked pixels stay.

    A1111's `masking.fill`: the unmasked pixels alone, blurred ever less, one over the other, so
    that each masked pixel takes what is nearest to it. Black where nothing is unmasked.
    """
    high, wide = mask.shape
    alpha = (255 - mask)[..., None].astype(np.float32)
    weighted = np.rint(pixels * (alpha / 255))
    layers = np.concatenate((weighted, alpha), axis=2).astype(np.uint8)
    unmasked = Image.frombytes("RGBa", (wide, high), layers.tobytes())
    filled = Image.new("RGBA", (wide, high))
    for radius, repeats in _BLURS:
        blurred = unmasked.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(repeats):
            filled.alpha_composite(blurred)
    return np.asarray(filled.convert("RGB"))


def refill_latents(latents: Any, mask: Any, content: str, generators: Sequence[Any]) -> Any:
    """Latents whose masked part is noise of unit variance, or zeros for "latent-nothing".

    `latents` are B x C x h x w, `mask` B x 1 x h x w from 0 to 1; one generator a sample.
    """
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    if content == "latent-nothing":
        new = torch.zeros_like(latents)
    else:
        new = randn_tensor(
            latents.shape, generator=list(generators), device=latents.device, dtype=latents.dtype
        )
    return latents * (1 - mask) + new * mask


def touched_mask(mask: MaskValues) -> MaskValues:
    """255 wherever the soft mask is not 0.

    A latent mask of this much under a feathered paste never shows a pixel that was not repainted.
    """
    return np.where(mask > 0, 255, 0).astype(np.uint8)


def latent_mask(mask: MaskValues, size_hw: tuple[int, int], *, soft: bool) -> NDArray[np.float32]:
    """The mask at the latents' size, 0 to 1: as soft as it is, else all it touches, as 0 or 1.

    Soft is A1111's reduction (Pillow's bicubic); hard is that of diffusers (nearest, upper left).
    """
    if soft:
        small = Image.fromarray(mask).resize(size_hw[::-1], Image.Resampling.BICUBIC)
        return np.asarray(small, np.float32) / np.float32(255)
    high, wide = (side // small for side, small in zip(mask.shape, size_hw, strict=True))
    return (touched_mask(mask)[::high, ::wide] / np.float32(255)).astype(np.float32)
