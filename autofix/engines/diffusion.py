"""The engine that repaints with a diffusers inpainting pipeline."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autofix.engines.base import EngineFacts
from autofix.engines.facts import read_facts, read_index, read_own, read_prediction
from autofix.engines.samplers import check_sampler, scheduler
from autofix.errors import EngineError, ModelError
from autofix.recipe import Inpaint
from autofix.values import Crop, Patch


class DiffusionEngine:
    """A diffusers folder behind AutoPipelineForInpainting. Weights load at the first repaint.

    Masked content is original: the pipeline starts from the crop itself, noised to the denoising
    strength.

    A model's autofix.toml may say two things more. `conditioning = "crop"`: it is shown the whole
    crop as its masked picture, where a common inpainting model is shown the crop with the mask
    cut out. `coarse_from_crop = 6`: it paints detail only; light and colour that are coarser than
    a Gaussian of that sigma, in working pixels, are the crop's own.
    """

    def __init__(self, folder: Path, settings: Inpaint) -> None:
        self.folder = folder
        self.facts: EngineFacts = read_facts(folder)
        own = read_own(folder)
        self._own_sampler = settings.sampler == "auto" and not own.get("sampler")
        self.sampler = self.facts.sampler if settings.sampler == "auto" else settings.sampler
        if not self._own_sampler:
            check_sampler(self.sampler, prediction=read_prediction(folder))
        self._whole_crop = own.get("conditioning") == "crop"
        self._coarse_sigma = float(own.get("coarse_from_crop", 0))
        self._settings = settings
        self._pipe: Any = None

    def repaint(self, crops: Sequence[Crop], settings: Inpaint) -> list[Patch]:
        """See `Engine.repaint`. Raises ModelError where the weights cannot be loaded."""
        import torch

        pipe = self._loaded()
        strength = crops[0].region.strength
        steps = self.facts.steps if settings.steps == "auto" else settings.steps
        seeds = [crop.region.seed for crop in crops]
        wide, high = crops[0].window.size_wh
        pictures = [Image.fromarray(crop.pixels) for crop in crops]
        with torch.inference_mode(), _as_engine_error():
            answer = pipe(
                **self._prompts(crops, settings),
                **self._conditioning(crops, pictures),
                image=pictures,
                width=wide,
                height=high,
                strength=strength,
                # At least one evaluation, however low the strength.
                num_inference_steps=max(steps, math.ceil(1 / strength)),
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
            )
            values = np.asarray(answer.images, np.float32)
        return [
            Patch(crop, self._composed(crop, pixels), seed=seed, strength=strength)
            for crop, pixels, seed in zip(crops, values, seeds, strict=True)
        ]

    def close(self) -> None:
        """Drop the weights; a later repaint would load them again."""
        self._pipe = None

    def _prompts(self, crops: Sequence[Crop], settings: Inpaint) -> dict[str, Any]:
        import torch

        if not self.facts.reads_prompt:
            width = self._pipe.unet.config.cross_attention_dim
            nothing = torch.zeros(
                (len(crops), 1, width), dtype=self._pipe.unet.dtype, device=self._pipe.device
            )
            return {"prompt_embeds": nothing, "guidance_scale": 1.0}
        return {
            "prompt": [crop.region.prompt for crop in crops],
            "negative_prompt": [crop.region.negative_prompt for crop in crops],
            "guidance_scale": settings.cfg,
        }

    def _conditioning(
        self, crops: Sequence[Crop], pictures: Sequence[Image.Image]
    ) -> dict[str, Any]:
        """The mask, and what the model is shown of the crop beside the noised latents.

        The pipeline cuts masks hard at one half. So that the feathered paste never shows a pixel
        that was not repainted, its mask is everything the soft mask touches.
        """
        if not self._whole_crop:
            touched = [np.where(crop.mask > 0, 255, 0).astype(np.uint8) for crop in crops]
            return {"mask_image": [Image.fromarray(values) for values in touched]}
        pipe = self._pipe
        shown = pipe.image_processor.preprocess(list(pictures)).to(pipe.device, pipe.vae.dtype)
        latents = pipe.vae.encode(shown).latents * pipe.vae.config.scaling_factor
        white = Image.new("L", pictures[0].size, 255)
        return {"mask_image": [white] * len(crops), "masked_image_latents": latents}

    def _composed(self, crop: Crop, painted: NDArray[np.float32]) -> NDArray[np.float32]:
        """What was painted, as the model's own facts want it joined with the crop."""
        if not self._coarse_sigma:
            return painted
        import cv2

        drift = crop.pixels.astype(np.float32) / np.float32(255) - painted
        return painted + np.asarray(cv2.GaussianBlur(drift, (0, 0), self._coarse_sigma), np.float32)

    def _loaded(self) -> Any:
        if self._pipe is None:
            self._pipe = _load(self.folder, self._settings)
            if not self._own_sampler:
                self._pipe.scheduler = scheduler(self.sampler, self._pipe.scheduler.config)
        return self._pipe


def device_and_dtype(settings: Inpaint) -> tuple[str, Any]:
    """What "auto" means on this machine: cuda, else mps, else cpu; half precision but on the CPU.

    Raises ModelError for a device torch does not know.
    """
    import torch

    device = settings.device
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ModelError(
            f"there is no device {device!r}", "--device takes auto, cpu, cuda, cuda:N or mps"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"torch finds no CUDA for device {device!r}", "use --device cpu or auto")
    half = "float32" if kind == "cpu" else "float16"
    return device, getattr(torch, half if settings.dtype == "auto" else settings.dtype)


def _load(folder: Path, settings: Inpaint) -> Any:
    """The pipeline on its device. Pickled weights are refused: they could run code."""
    device, dtype = device_and_dtype(settings)
    import transformers
    from diffusers import AutoPipelineForInpainting
    from diffusers.utils import logging

    for logs in (logging, transformers.utils.logging):
        logs.set_verbosity_error()
        logs.disable_progress_bar()
    index = read_index(folder)
    absent: dict[str, object] = {key: None for key, value in index.items() if value == [None, None]}
    if "safety_checker" in index:
        # Its owner's pictures are fixed, not judged; a black square is no fix.
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        pipe = AutoPipelineForInpainting.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            **absent,
        )
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"the model in {str(folder)!r} cannot be loaded: {error}",
            "it must be a diffusers folder with safetensors weights that inpainting supports",
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


@contextlib.contextmanager
def _as_engine_error() -> Iterator[None]:
    """Nearly everything torch says is a RuntimeError; diffusers prefers ValueError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = (str(error) or repr(error)).splitlines()[0]
        raise EngineError(
            f"the model failed: {said}",
            "try a smaller --batch-size or --size, or --dtype float32",
        ) from error
