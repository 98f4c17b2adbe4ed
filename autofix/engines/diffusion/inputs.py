"""What a denoising batch starts from: the noised picture, its mask, and what the model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from autofix.engines.diffusion.masked_content import (
    fill_masked,
    latent_mask,
    refill_latents,
    touched_mask,
)
from autofix.engines.diffusion.soft_inpainting import SoftBlend
from autofix.settings.recipe import Recipe
from autofix.values import Crop


def pipeline_inputs(
    pipe: Any, crops: Sequence[Crop], generators: Sequence[Any], recipe: Recipe, *, whole: bool
) -> tuple[dict[str, Any], SoftBlend | None]:
    """The arguments for a diffusers inpainting pipeline, and the soft mask where there is one.

    The pipeline cuts masks hard. So that the feathered paste never shows a pixel that was not
    repainted, its mask is everything the soft mask touches. `whole`: the model is shown the whole
    crop as its masked picture, and repaints all of it.
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
    pipe: Any,
    crops: Sequence[Crop],
    generators: Sequence[Any],
    recipe: Recipe,
    start: dict[str, Any],
) -> tuple[dict[str, Any], SoftBlend | None]:
    """The same, from latents encoded here, which can be changed and which a soft mask needs."""
    import torch

    latents = _encode_images(pipe, _to_tensor(pipe, start["image"]), generators)
    size_hw = (latents.shape[2], latents.shape[3])
    masks = np.stack([latent_mask(crop.mask, size_hw, soft=recipe.soft.enabled) for crop in crops])
    mask = torch.from_numpy(masks)[:, None].to(latents)
    if recipe.inpaint.masked_content.startswith("latent"):
        latents = refill_latents(latents, mask, recipe.inpaint.masked_content, generators)
    if "masked_image_latents" not in start:
        start["masked_image_latents"] = (
            _encode_images(pipe, _cut_out(pipe, crops, soft=recipe.soft.enabled), generators)
            if _sees_mask(pipe)
            else torch.zeros_like(latents)
        )
        if recipe.soft.enabled:
            start["mask_image"] = _soft_images(pipe, crops, masks)
    start["image"] = latents
    return start, SoftBlend(latents, mask, recipe.soft) if recipe.soft.enabled else None


def _soft_images(pipe: Any, crops: Sequence[Crop], masks: Any) -> Any:
    """The mask as an inpainting UNet reads it; a common pipeline shall not blend by it as well."""
    if not _sees_mask(pipe):
        return _white_masks(crops)
    import torch

    pipe.mask_processor.register_to_config(do_binarize=False)
    wide, high = crops[0].window.size_wh
    # Each value as large as a latent, so that the pipeline's reduction gives that very value.
    by = (high // masks.shape[1], wide // masks.shape[2])
    return torch.from_numpy(np.kron(masks, np.ones(by, masks.dtype)))[:, None]


def _cut_out(pipe: Any, crops: Sequence[Crop], *, soft: bool) -> Any:
    """The crops with the mask cut out: grey there, as inpainting models are trained."""
    import torch

    masks = np.stack([crop.mask if soft else touched_mask(crop.mask) for crop in crops])
    shown = _to_tensor(pipe, [Image.fromarray(crop.pixels) for crop in crops])
    return shown * (1 - torch.from_numpy(masks)[:, None].to(shown) / 255)


def _sees_mask(pipe: Any) -> bool:
    """Whether it is an inpainting model, with channels for the mask and the masked picture."""
    return bool(pipe.unet.config.in_channels > pipe.vae.config.latent_channels)


def _white_masks(crops: Sequence[Crop]) -> list[Image.Image]:
    return [Image.new("L", crop.window.size_wh, 255) for crop in crops]


def _to_tensor(pipe: Any, pictures: Sequence[Image.Image]) -> Any:
    """B x 3 x height x width, -1 to 1, where the VAE is."""
    values = pipe.image_processor.preprocess(list(pictures))
    return values.to(pipe._execution_device, pipe.vae.dtype)


def _encode_images(pipe: Any, values: Any, generators: Sequence[Any]) -> Any:
    """Latents as the pipeline itself would encode them (SDXL's VAE in float32 where it must)."""
    return pipe._encode_vae_image(values, list(generators)).to(pipe.unet.dtype)
