"""Soft inpainting: a mask that is soft in latent space too. docs/soft-inpainting.md explains it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from autofix.engines.diffusion.pipeline_adapter import replace_methods
from autofix.settings.model_sections import Soft
from autofix.values import Crop, MaskValues


class SoftBlend:
    """Blends a batch with its original latents at each step, as its soft mask says.

    `original` are B x C x h x w; `mask` is B x 1 x h x w from 0 (original) to 1 (inpainted).
    `final` are the latents after the last step.
    """

    def __init__(self, original: Any, mask: Any, soft: Soft) -> None:
        self.original = original.float()
        self.mask = mask.float()
        self.soft = soft
        self.final = self.original

    @contextlib.contextmanager
    def apply_soft_mask(self, scheduler: Any) -> Iterator[None]:
        """While this lasts, each step of the scheduler starts from a blended clean picture.

        A1111 blends the clean latents that the denoiser predicts, before the sampler uses them. In
        a diffusers pipeline only the step can be changed: it is given the model output that would
        have led to the blended latents.
        """
        own_step = scheduler.step

        @functools.wraps(own_step)  # pipelines look at the signature of `step`
        def blended_step(
            model_output: Any, timestep: Any, sample: Any, *args: Any, **more: Any
        ) -> Any:
            of_sample, of_output, sigma = clean_coefficients(scheduler, timestep, sample.device)
            scaled = of_sample * sample.float()
            clean = self.blend_clean(scaled - of_output * model_output.float(), sigma)
            output = ((scaled - clean) / of_output).to(model_output.dtype)
            result = own_step(output, timestep, sample, *args, **more)
            self.final = result[0].float()
            return result

        with replace_methods(scheduler, step=blended_step):
            yield

    def paste_masks(self, crops: Sequence[Crop]) -> list[MaskValues]:
        """For each crop the mask through which its patch is pasted, at working size."""
        changes = (self.final - self.original).norm(dim=1).cpu().numpy()
        masks = self.mask[:, 0].cpu().numpy()
        return [
            paste_mask(change, mask, crop.mask, self.soft)
            for change, mask, crop in zip(changes, masks, crops, strict=True)
        ]

    def blend_clean(self, clean: Any, sigma: Any) -> Any:
        """The clean latents blended with the original; their length is A1111's power mean of both.

        Lengths are divided by the greater of the two first, so that no power overflows.
        """
        soft = self.soft
        new = self.mask ** (sigma**soft.bias * soft.preservation)
        mixed = self.original * (1 - new) + clean * new
        before, after = self.original.norm(dim=1, keepdim=True), clean.norm(dim=1, keepdim=True)
        longest = before.maximum(after).clamp(min=1e-12)
        power = soft.contrast
        mean = (before / longest) ** power * (1 - new) + (after / longest) ** power * new
        wanted = longest * mean ** (1 / power)
        return mixed * (wanted / (mixed.norm(dim=1, keepdim=True) + 1e-5))


def paste_mask(
    change: NDArray[np.float32], mask: NDArray[np.float32], drawn: MaskValues, soft: Soft
) -> MaskValues:
    """The mask to paste through, of the drawn mask's size: where the latents really changed.

    `change` is the distance between the latents before and after, h x w; `mask` the soft mask at
    that size, 0 to 1. A1111's formula; but it never covers more than twice what was drawn, so that
    it ends where the drawn mask ends.
    """
    held = 1 - np.clip(mask, 0, 1).astype(np.float64) ** (soft.preservation / 2)
    bias = 0.5 + (held - 0.5) * soft.mask_influence
    half = soft.threshold * bias / (1.00001 - bias)
    moved = ranked_mean(ranked_mean(change, 0.9, 1.0), 0.25, 0.75)
    kept = 1 / (1 + (moved / np.maximum(half, 1e-9)) ** soft.difference_contrast)
    opacity = 1 - kept**3 * (kept * (6 * kept - 15) + 10)
    high, wide = drawn.shape
    image = Image.fromarray(np.rint(255 * opacity).astype(np.uint8))
    image = image.resize((wide, high), Image.Resampling.LANCZOS)
    # A1111's 4 px smooth the steps of its 8 px latents.
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(wide / change.shape[1] / 2)))
    bound = np.minimum(drawn.astype(np.uint16) * 2, 255)
    pasted: MaskValues = np.minimum(smooth, bound).astype(np.uint8)
    return pasted


def clean_coefficients(scheduler: Any, timestep: Any, device: Any) -> tuple[Any, Any, Any]:
    """p, q and sigma at this step: the clean latents are p * sample - q * model output.

    A sample is a * clean + b * noise, and sigma is b / a, with a = 1 (Euler, Heun, DPM2, ...) or
    a^2 + b^2 = 1 (DDIM, DPM++, ...). The former scale the model's input by that very sigma,
    also in the middle of a step; for the latter `add_noise` gives a and b.
    """
    import torch

    one, zero = torch.ones(1, device=device), torch.zeros(1, device=device)
    scale = scheduler.scale_model_input(one, timestep)
    if bool(scale < 1):
        a, b = one, (scale**-2 - 1) ** 0.5
    else:
        at = torch.as_tensor(timestep).reshape(1)
        a, b = scheduler.add_noise(one, zero, at), scheduler.add_noise(zero, one, at)
    sigma = b / a
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return zero, -one, sigma
    if kind == "v_prediction":
        power = a**2 + b**2  # not sigma, which is infinite where noise is all there is
        return a / power, b / power**0.5, sigma
    return 1 / a, sigma, sigma


def ranked_mean(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Each value replaced by the mean of its neighbours between two weighted quantiles.

    (0.9, 1) is a soft maximum and (0.25, 0.75) a soft median of 5 x 5 values, weighted by a
    Gaussian that is 0 three values away. The quantiles are moved apart until they hold a weight
    of 1, that of the middle value.
    """
    reach = np.arange(-2, 3)
    fall = np.exp(-(reach[:, None] ** 2 + reach**2) / 1.5**2)
    edge = np.exp(-(3**2) / 1.5**2)
    kernel = np.maximum(0, (fall - edge) / (1 - edge))
    windows = _neighbourhoods(np.pad(values.astype(np.float64), 2))
    weights = _neighbourhoods(np.pad(np.ones(values.shape), 2)) * kernel.ravel()
    order = np.argsort(windows, axis=-1, kind="stable")
    windows = np.take_along_axis(windows, order, -1)
    weights = np.take_along_axis(weights, order, -1)
    ends = np.cumsum(weights, axis=-1)
    total = ends[..., -1:]
    width = np.maximum((high - low) * total, 1)
    start = np.clip((low + high) / 2 * total - width / 2, 0, total - width)
    share = np.maximum(0, np.minimum(ends, start + width) - np.maximum(ends - weights, start))
    mean: NDArray[np.float64] = (windows * share).sum(-1) / share.sum(-1)
    return mean


def _neighbourhoods(padded: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 25 values around each, h x w x 25."""
    views = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return views.reshape(*views.shape[:2], 25)
