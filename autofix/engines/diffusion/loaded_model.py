"""A pipeline in memory with all that works beside it: crops -> patches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofix.engines.base import ModelInfo
from autofix.engines.diffusion.clip_prompts import prompt_encoder
from autofix.engines.diffusion.control import ControlNets
from autofix.engines.diffusion.guidance import call_arguments, skip_negative_prompt
from autofix.engines.diffusion.inputs import pipeline_inputs
from autofix.engines.diffusion.lora import LoraSwitch
from autofix.engines.diffusion.lora_tags import split_tags
from autofix.engines.diffusion.pipeline_adapter import Pipeline, execution_device
from autofix.engines.diffusion.samplers import make_scheduler
from autofix.engines.diffusion.steps import apply_step_plan, plan_of
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Patch


@dataclass(frozen=True)
class Conditioning:
    """How a model was trained to look at its crop, as its autofix.toml says.

    `whole_crop`: it is shown the whole crop as its masked picture. `coarse_sigma`, in working
    pixels, 0 for none: light and colour coarser than a Gaussian of it are the crop's own.
    """

    whole_crop: bool = False
    coarse_sigma: float = 0.0


class LoadedModel:
    """A pipeline on its device, with its LoRAs, its prompt encoder and its ControlNets.

    `encoder` is None where prompts go into the pipeline as text.
    """

    def __init__(
        self,
        pipe: Pipeline,
        info: ModelInfo,
        conditioning: Conditioning,
        controlnets: ControlNets,
        *,
        trust_pickle: bool = False,
        borrowed: bool = False,
    ) -> None:
        """`borrowed`: the pipeline is its owner's, to which no LoRA or embedding is added."""
        self.pipe = pipe
        self.info = info
        self.loras = LoraSwitch(pipe, frozen=borrowed)
        self.encoder = prompt_encoder(pipe, user_embeddings=not borrowed, trust_pickle=trust_pickle)
        self._conditioning = conditioning
        self._controlnets = controlnets
        self._own_scheduler = pipe.scheduler
        self._sampler = ""

    def set_sampler(self, sampler: str) -> None:
        """Denoise by this sampler from now on; empty is the scheduler that the model came with."""
        if sampler != self._sampler:
            own = self._own_scheduler
            self.pipe.scheduler = make_scheduler(sampler, own.config) if sampler else own
            self._sampler = sampler

    def group_by_prompt(
        self, crops: Sequence[Crop], recipe: Recipe
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """The places of crops that can be one batch, and the arguments for their prompts.

        Crops share a batch where their prompts name the same LoRAs and fill as many chunks. A
        group's LoRAs are active until the next group is asked for. A CFG scale of 1 or less means
        no negative prompt, and half the work.
        """
        if not self.info.reads_prompt:
            yield list(range(len(crops))), self._no_prompts(len(crops))
            return
        cfg = self.info.cfg if recipe.sampling.cfg == "auto" else recipe.sampling.cfg
        prompts = [crop.region.prompt for crop in crops]
        negatives = [split_tags(crop.region.negative_prompt)[0] for crop in crops]
        for places, texts, loras in self.loras.activate_sets(prompts, own=recipe.prompt.positive):
            unwanted = [negatives[place] for place in places] if cfg > 1 else None
            if self.encoder is None:
                yield places, call_arguments(self.pipe, texts, unwanted, cfg)
                continue
            for group, embeddings in self.encoder.batch_arguments(
                texts, unwanted, skip=recipe.model.clip_skip, loras=loras
            ):
                yield [places[place] for place in group], {**embeddings, "guidance_scale": cfg}

    def inpaint_batch(
        self, crops: Sequence[Crop], prompts: dict[str, Any], recipe: Recipe
    ) -> list[Patch]:
        """One Patch a Crop, by one call of the pipeline. `prompts` are its arguments for them."""
        pixels, masks = self._denoise(crops, prompts, recipe)
        return [
            Patch(
                crop,
                self._keep_coarse_tones(crop, values),
                seed=crop.region.seed,
                strength=crop.region.strength,
                mask=mask,
            )
            for crop, values, mask in zip(crops, pixels, masks, strict=True)
        ]

    def _denoise(
        self, crops: Sequence[Crop], prompts: dict[str, Any], recipe: Recipe
    ) -> tuple[NDArray[np.float32], Sequence[Any]]:
        """The pipeline's pictures, B x height x width x 3, and masks to paste through, or None."""
        import torch

        pipe, sampling = self.pipe, recipe.sampling
        generators = [torch.Generator("cpu").manual_seed(crop.region.seed) for crop in crops]
        inputs, soft = pipeline_inputs(
            pipe, crops, generators, recipe, whole=self._conditioning.whole_crop
        )
        plan = plan_of(crops[0].region.strength, sampling, self.info)
        width, height = crops[0].window.size_wh
        with contextlib.ExitStack() as changes:
            if soft:
                changes.enter_context(soft.apply_soft_mask(pipe.scheduler))
            steps = changes.enter_context(apply_step_plan(pipe, plan, sampling.noise_multiplier))
            changes.enter_context(skip_negative_prompt(pipe, sampling))
            changes.enter_context(self._controlnets.apply_controlnets(pipe, crops, recipe))
            answer = pipe(
                **prompts,
                **inputs,
                **steps,
                width=width,
                height=height,
                generator=generators,
                output_type="np",
            )
        masks = soft.paste_masks(crops) if soft else [None] * len(crops)
        return np.asarray(answer.images, np.float32), masks

    def _no_prompts(self, count: int) -> dict[str, Any]:
        """The arguments of a model without text encoders: embeddings of zeros."""
        import torch

        unet = self.pipe.unet
        shape = (count, 1, unet.config.cross_attention_dim)
        zeros = torch.zeros(shape, dtype=unet.dtype, device=execution_device(self.pipe))
        return {"prompt_embeds": zeros, "guidance_scale": 1.0}

    def _keep_coarse_tones(self, crop: Crop, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inpainted pixels, with the crop's light and colour where the model wants them."""
        sigma = self._conditioning.coarse_sigma
        if not sigma:
            return pixels
        import cv2

        drift = crop.pixels.astype(np.float32) / np.float32(255) - pixels
        return pixels + np.asarray(cv2.GaussianBlur(drift, (0, 0), sigma), np.float32)
