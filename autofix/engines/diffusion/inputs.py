"""Crops -> the pictures, masks and latents that a pipeline starts from: `masked_content`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from autofix.engines.diffusion.pipeline_adapter import (
    Pipeline,
    encode_pictures,
    execution_device,
    keep_soft_masks,
)
from autofix.engines.diffusion.soft_inpainting import SoftBlend
from autofix.settings.recipe import Recipe
from autofix.values import Crop, MaskValues, Pixels

_FILL_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Gaussian radius in px, and how often the blurred picture is laid over the one before."""


def pipeline_inputs(
    pipe: Pipeline, crops: Sequence[Crop], generators: Sequence[Any], recipe: Recipe, *, whole: bool
) -> tuple[dict[str, Any], SoftBlend | None]:
    """The arguments for a diffusers inpainting pipeline, and the soft mask where there is one.

    The pipeline's own mask is hard: all that the crop's mask touches, so that a feathered paste
    never shows a pixel that was not inpainted. `whole`: the model is shown the whole crop as its
    masked picture, and inpaints all of it.
    """
    content = recipe.inpaint.masked_content
    pictures = [
        Image.fromarray(
            crop.pixels if content == "original" else fill_masked(crop.pixels, crop.mask)
        )
        for crop in crops
    ]
    masks = [Image.fromarray(touched_mask(crop.mask)) for crop in crops]
    start: dict[str, Any] = {"image": pictures, "mask_image": masks}
    if whole:
        start["mask_image"] = _white_masks(crops)
        shown = _to_tensor(pipe, pictures)
        start["masked_image_latents"] = (
            pipe.vae.encode(shown).latents * pipe.vae.config.scaling_factor
        )
    if not recipe.soft.enabled and not content.startswith("latent"):
        return start, None
    return _from_latents(pipe, crops, generators, recipe, start)


def _from_latents(
    pipe: Pipeline,
    crops: Sequence[Crop],
    generators: Sequence[Any],
    recipe: Recipe,
    start: dict[str, Any],
) -> tuple[dict[str, Any], SoftBlend | None]:
    """The same with latents in place of pictures, for a soft mask or content made of latents."""
    import torch

    latents = encode_pictures(pipe, _to_tensor(pipe, start["image"]), generators)
    size_hw = (latents.shape[2], latents.shape[3])
    masks = np.stack([latent_mask(crop.mask, size_hw, soft=recipe.soft.enabled) for crop in crops])
    mask = torch.from_numpy(masks)[:, None].to(latents)
    if recipe.inpaint.masked_content.startswith("latent"):
        latents = refill_latents(latents, mask, recipe.inpaint.masked_content, generators)
    if "masked_image_latents" not in start:
        start["masked_image_latents"] = (
            encode_pictures(pipe, _cut_out(pipe, crops, soft=recipe.soft.enabled), generators)
            if _sees_mask(pipe)
            else torch.zeros_like(latents)
        )
        if recipe.soft.enabled:
            start["mask_image"] = _soft_images(pipe, crops, masks)
    start["image"] = latents
    return start, SoftBlend(latents, mask, recipe.soft) if recipe.soft.enabled else None


def _soft_images(pipe: Pipeline, crops: Sequence[Crop], masks: Any) -> Any:
    """The soft mask for an inpainting UNet; white for any other, which must not blend by it too."""
    if not _sees_mask(pipe):
        return _white_masks(crops)
    import torch

    keep_soft_masks(pipe)
    wide, high = crops[0].window.size_wh
    # Each value fills the pixels of its latent, so that the pipeline's reduction gives it back.
    by = (high // masks.shape[1], wide // masks.shape[2])
    return torch.from_numpy(np.kron(masks, np.ones(by, masks.dtype)))[:, None]


def _cut_out(pipe: Pipeline, crops: Sequence[Crop], *, soft: bool) -> Any:
    """The crops with the mask cut out: grey there, as inpainting models are trained."""
    import torch

    masks = np.stack([crop.mask if soft else touched_mask(crop.mask) for crop in crops])
    shown = _to_tensor(pipe, [Image.fromarray(crop.pixels) for crop in crops])
    return shown * (1 - torch.from_numpy(masks)[:, None].to(shown) / 255)


def _sees_mask(pipe: Pipeline) -> bool:
    """Whether it is an inpainting model, with channels for the mask and the masked picture."""
    return bool(pipe.unet.config.in_channels > pipe.vae.config.latent_channels)


def _white_masks(crops: Sequence[Crop]) -> list[Image.Image]:
    return [Image.new("L", crop.window.size_wh, 255) for crop in crops]


def _to_tensor(pipe: Pipeline, pictures: Sequence[Image.Image]) -> Any:
    """B x 3 x height x width, -1 to 1, where the VAE is."""
    values = pipe.image_processor.preprocess(list(pictures))
    return values.to(execution_device(pipe), pipe.vae.dtype)


def fill_masked(pixels: Pixels, mask: MaskValues) -> Pixels:
    """The picture with the mask filled by the colours around it; unmasked pixels stay.

    A1111's `masking.fill`: the unmasked pixels alone, blurred ever less, one over the other, so
    that each masked pixel takes what is nearest to it. Black where nothing is unmasked.
    """
    high, wide = mask.shape
    alpha = (255 - mask)[..., None].astype(np.float32)
    weighted = np.rint(pixels * (alpha / 255))
    layers = np.concatenate((weighted, alpha), axis=2).astype(np.uint8)
    unmasked = Image.frombytes("RGBa", (wide, high), layers.tobytes())
    filled = Image.new("RGBA", (wide, high))
    for radius, repeats in _FILL_BLURS:
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

    A latent mask of this much under a feathered paste never shows a pixel that was not inpainted.
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
