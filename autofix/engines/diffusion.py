"""The engine that repaints with a diffusers inpainting pipeline."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofix.engines.base import EngineFacts
from autofix.engines.facts import (
    pipeline_facts,
    read_facts,
    read_index,
    read_own,
    read_prediction,
)
from autofix.engines.loading import load_folder
from autofix.engines.prompting import PromptEncoder, reads_clip
from autofix.engines.samplers import check_sampler, scheduler
from autofix.engines.start import begin
from autofix.errors import EngineError, ModelError
from autofix.recipe import Inpaint
from autofix.values import Crop, Patch


class DiffusionEngine:
    """A diffusers folder behind AutoPipelineForInpainting. Weights load at the first repaint.

    The pipeline starts from the crop (or what `masked_content` says), noised to the denoising
    strength.

    A model's autofix.toml may say two things more. `conditioning = "crop"`: it is shown the whole
    crop as its masked picture, where a common inpainting model is shown the crop with the mask
    cut out. `coarse_from_crop = 6`: it paints detail only; light and colour that are coarser than
    a Gaussian of that sigma, in working pixels, are the crop's own.
    """

    def __init__(self, folder: Path, settings: Inpaint) -> None:
        self.folder = folder
        self._has_unet = "unet" in read_index(folder)
        self._set_up(read_facts(folder), read_own(folder), read_prediction(folder), settings)

    def _set_up(
        self, facts: EngineFacts, own: Mapping[str, Any], prediction: str, settings: Inpaint
    ) -> None:
        self.facts = facts
        self._own_sampler = settings.sampler == "auto" and not own.get("sampler")
        self.sampler = facts.sampler if settings.sampler == "auto" else settings.sampler
        if not self._own_sampler:
            check_sampler(self.sampler, prediction=prediction)
        self._whole_crop = own.get("conditioning") == "crop"
        self._coarse_sigma = float(own.get("coarse_from_crop", 0))
        self._settings = settings
        self._pipe: Any = None
        self._encoder: PromptEncoder | None = None
        self._check(settings)

    def repaint(self, crops: Sequence[Crop], settings: Inpaint) -> list[Patch]:
        """See `Engine.repaint`. Raises ModelError where the weights cannot be loaded.

        Crops whose prompts fill unlike numbers of chunks are denoised apart: filling the shorter
        ones up would let a face depend on its batch mates.
        """
        import torch

        self._loaded()
        self._check(settings)
        patches: dict[int, Patch] = {}
        with torch.inference_mode(), _as_engine_error():
            for places, prompts in self._alike(crops, settings):
                repainted = self._repaint([crops[place] for place in places], prompts, settings)
                patches |= zip(places, repainted, strict=True)
        return [patches[place] for place in range(len(crops))]

    def close(self) -> None:
        """Drop the weights; a later repaint would load them again."""
        self._pipe = self._encoder = None

    def _repaint(
        self, crops: Sequence[Crop], prompts: dict[str, Any], settings: Inpaint
    ) -> list[Patch]:
        """One Patch a Crop, in one call of the pipeline."""
        import torch

        strength = crops[0].region.strength
        steps = self.facts.steps if settings.steps == "auto" else settings.steps
        seeds = [crop.region.seed for crop in crops]
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        wide, high = crops[0].window.size_wh
        start, soft = begin(self._pipe, crops, generators, settings, whole=self._whole_crop)
        with soft.during(self._pipe.scheduler) if soft else contextlib.nullcontext():
            answer = self._pipe(
                **prompts,
                **start,
                width=wide,
                height=high,
                strength=strength,
                # At least one evaluation, however low the strength.
                num_inference_steps=max(steps, math.ceil(1 / strength)),
                generator=generators,
                output_type="np",
            )
        values = np.asarray(answer.images, np.float32)
        masks = soft.paste_masks(crops) if soft else [None] * len(crops)
        return [
            Patch(crop, self._composed(crop, pixels), seed=seed, strength=strength, mask=mask)
            for crop, pixels, seed, mask in zip(crops, values, seeds, masks, strict=True)
        ]

    def _alike(
        self, crops: Sequence[Crop], settings: Inpaint
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Crops that can be one batch, by their places, and what the pipeline is told of prompts.

        A guidance scale of 1 or less means no negative prompt, and half the work.
        """
        import torch

        places = list(range(len(crops)))
        prompts = [crop.region.prompt for crop in crops]
        negatives = [crop.region.negative_prompt for crop in crops] if settings.cfg > 1 else None
        guidance = {"guidance_scale": settings.cfg}
        if not self.facts.reads_prompt:
            width = self._pipe.unet.config.cross_attention_dim
            nothing = torch.zeros(
                (len(crops), 1, width), dtype=self._pipe.unet.dtype, device=self._pipe.device
            )
            yield places, {"prompt_embeds": nothing, "guidance_scale": 1.0}
        elif self._encoder is None:
            yield places, {"prompt": prompts, "negative_prompt": negatives, **guidance}
        else:
            for group, arguments in self._encoder.batches(prompts, negatives):
                yield group, {**arguments, **guidance}

    def _composed(self, crop: Crop, painted: NDArray[np.float32]) -> NDArray[np.float32]:
        """What was painted, as the model's own facts want it joined with the crop."""
        if not self._coarse_sigma:
            return painted
        import cv2

        drift = crop.pixels.astype(np.float32) / np.float32(255) - painted
        return painted + np.asarray(cv2.GaussianBlur(drift, (0, 0), self._coarse_sigma), np.float32)

    def _check(self, settings: Inpaint) -> None:
        """Raises ModelError for a setting that means nothing with this model."""
        content = settings.masked_content
        if self._whole_crop and content != "original":
            raise ModelError(
                f"{self.facts.name} is always shown what the mask covers, so it cannot start from "
                f"masked content {content!r}",
                "set inpaint.masked_content to original, or take another --model",
            )
        in_latents = settings.soft or content.startswith("latent")
        if in_latents and not self._has_unet:
            wanted = "soft inpainting" if settings.soft else f"masked content {content!r}"
            raise ModelError(
                f"{wanted} does not work with {self.facts.name}: it is for SD 1.x, 2.x and SDXL",
                "set inpaint.soft to false and inpaint.masked_content to original or fill",
            )

    def _loaded(self) -> Any:
        if self._pipe is None:
            self._pipe = load_folder(self.folder, self._settings)
            if reads_clip(self._pipe):
                self._encoder = PromptEncoder(self._pipe)
            if not self._own_sampler:
                self._pipe.scheduler = scheduler(self.sampler, self._pipe.scheduler.config)
        return self._pipe


class PipelineEngine(DiffusionEngine):
    """A loaded diffusers pipeline, behind the inpainting pipeline that its own components make.

    There is no second copy of the weights. What its owner changes (components, LoRAs, the
    scheduler) holds from the next repaint on; no scheduler is shared, for they remember steps.
    """

    def __init__(self, pipe: Any, settings: Inpaint) -> None:
        """Raises ModelError where diffusers has no inpainting for this kind of pipeline."""
        self._given = pipe
        self._parts: list[Any] = []
        self._has_unet = hasattr(pipe, "unet")
        facts, prediction = pipeline_facts(pipe), pipe.scheduler.config.get("prediction_type")
        self._set_up(facts, {}, prediction or "epsilon", settings)
        self._loaded()

    def _loaded(self) -> Any:
        given = self._given
        parts = [part for name, part in given.components.items() if name != "scheduler"]
        same = len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts))
        if self._pipe is None or not same:
            self._pipe, self._parts = _inpainting_of(given), parts
        config = given.scheduler.config
        self._pipe.scheduler = (
            type(given.scheduler).from_config(config)
            if self._own_sampler
            else scheduler(self.sampler, config)
        )
        self._encoder = PromptEncoder(self._pipe) if reads_clip(self._pipe) else None
        return self._pipe


def _inpainting_of(pipe: Any) -> Any:
    """The inpainting pipeline of the same components, without those that judge or steer."""
    from diffusers import AutoPipelineForInpainting

    without: dict[str, object] = {
        name: None for name in ("controlnet", "safety_checker") if name in pipe.components
    }
    if "safety_checker" in without:
        without["requires_safety_checker"] = False
    try:
        made = AutoPipelineForInpainting.from_pipe(pipe, **without)
    except ValueError as error:
        raise ModelError(
            f"diffusers cannot inpaint with a {type(pipe).__name__}",
            "fix its pictures with autofix.Fixer(model=...) instead",
        ) from error
    made.set_progress_bar_config(disable=True)
    return made


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
