"""The engine that repaints with a diffusers inpainting pipeline."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofix.engines.base import LOADING, ModelInfo
from autofix.engines.checkpoints.families import sniff
from autofix.engines.devices import PRECISIONS, Precision, device_and_dtype, gains, settle
from autofix.engines.diffusion.call_arguments import call_arguments
from autofix.engines.diffusion.clip_prompts import PromptEncoder, embeddings_for, reads_clip
from autofix.engines.diffusion.control import ControlNets
from autofix.engines.diffusion.guidance import check_guidance, skip_negative_prompt
from autofix.engines.diffusion.inputs import pipeline_inputs
from autofix.engines.diffusion.load import load_pipeline
from autofix.engines.diffusion.lora import LoraSwitch
from autofix.engines.diffusion.lora_tags import check_loras, split_tags
from autofix.engines.diffusion.samplers import check_sampler, make_scheduler
from autofix.engines.diffusion.steps import apply_step_plan, plan_of
from autofix.engines.diffusion.vae import find_vae, put_vae, with_vae
from autofix.engines.locate import Source
from autofix.engines.memory import in_words, lighter
from autofix.engines.model_info import (
    checkpoint_facts,
    pipeline_facts,
    read_facts,
    read_index,
    read_own,
)
from autofix.errors import EngineError, ModelError
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Patch


class DiffusionEngine:
    """A diffusers model, folder or checkpoint, behind its inpainting pipeline.

    Weights load at the first repaint.

    The pipeline starts from the crop (or what `masked_content` says), noised to the denoising
    strength.

    A model's autofix.toml may say two things more. `conditioning = "crop"`: it is shown the whole
    crop as its masked picture, where a common inpainting model is shown the crop with the mask
    cut out. `coarse_from_crop = 6`: it paints detail only; light and colour that are coarser than
    a Gaussian of that sigma, in working pixels, are the crop's own.
    """

    def __init__(self, source: Source | Path, recipe: Recipe) -> None:
        """Raises ModelError for files that are no model, without loading any weights."""
        self.source = source = Source.of(source)
        self._vae = find_vae(recipe.model.vae) if recipe.model.vae else None
        own: Mapping[str, Any]
        if source.kind == "checkpoint":
            found = sniff(source.path, trust_pickle=recipe.model.trust_pickle)
            facts, self._has_unet = checkpoint_facts(source.path, found), True
            own = {"sampler": facts.sampler}
        else:
            self._has_unet = "unet" in read_index(source.path)
            facts, own = read_facts(source.path, source.name), read_own(source.path)
        self._set_up(with_vae(facts, self._vae), own, recipe)

    def _set_up(self, facts: ModelInfo, own: Mapping[str, Any], recipe: Recipe) -> None:
        self.info = facts
        self._usual_sampler = facts.sampler if own.get("sampler") else ""
        self._whole_crop = own.get("conditioning") == "crop"
        self._coarse_sigma = float(own.get("coarse_from_crop", 0))
        self._recipe = recipe
        self._pipe: Any = None
        self._own_scheduler: Any = None
        self._sampler = ""
        self._encoder: PromptEncoder | None = None
        self._loras = LoraSwitch(None)
        self._vram, self._precision = recipe.device.vram, PRECISIONS[0]
        self._widths: dict[tuple[int, int], int] = {}
        self._control = ControlNets()
        self.check(recipe)

    def check(self, recipe: Recipe) -> None:
        """See `Engine.check`."""
        self._check_settings(recipe)
        if self.info.reads_prompt:
            check_loras(recipe.prompt.positive)

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """See `Engine.inpaint`. Raises ModelError where the weights cannot be loaded.

        Crops whose prompts name unlike LoRAs or fill unlike numbers of chunks are denoised apart:
        filling the shorter ones up would let a face depend on its batch mates.
        """
        import torch

        self.load()
        self._check_settings(recipe)
        self._set_sampler(self._sampler_of(recipe))
        recipe = recipe.with_values("device", vram=self._vram)
        wanted, crops = len(crops), self._pad_batch(crops, recipe)
        patches: dict[int, Patch] = {}
        with torch.inference_mode(), _as_engine_error():
            for places, prompts in self._group_crops(crops, recipe):
                repainted = self._inpaint_batch([crops[place] for place in places], prompts, recipe)
                patches |= zip(places, repainted, strict=True)
        self._widths[crops[0].window.size_wh] = len(crops)
        return [patches[place] for place in range(wanted)]

    def with_precision(self, precision: Precision) -> bool:
        """See `Adjustable`. The weights are loaded again, so that half has cost them nothing."""
        higher = PRECISIONS.index(precision) > PRECISIONS.index(self._precision)
        useless = self._pipe is not None and not gains(self._pipe, precision)
        if precision == self._precision or (higher and useless):
            return False
        self._precision = precision
        self.close()
        return True

    def step_down(self) -> str:
        """See `Adjustable`: the next rung of memory.LADDER."""
        less = lighter(self._vram)
        self._widths.clear()
        if less is None:
            return ""
        self._vram = less
        self.close()
        return in_words(less, device_and_dtype(self._recipe.device)[0])

    def close(self) -> None:
        """Drop the weights; a later repaint would load them again."""
        self._pipe = self._encoder = None
        self._loras = LoraSwitch(None)
        self._control.close()

    def _pad_batch(self, crops: Sequence[Crop], recipe: Recipe) -> list[Crop]:
        """The crops; compiled, as many as have been painted at once before at this size.

        A compiled model is made for one shape: the last crop is repeated to fill a short batch.
        """
        width = self._widths.pop(crops[0].window.size_wh, 0) if recipe.device.compile else 0
        return [*crops, *[crops[-1]] * (width - len(crops))]

    def _inpaint_batch(
        self, crops: Sequence[Crop], prompts: dict[str, Any], recipe: Recipe
    ) -> list[Patch]:
        """One Patch a Crop, in one call of the pipeline."""
        import torch

        plan = plan_of(crops[0].region.strength, recipe.sampling, self.info)
        seeds = [crop.region.seed for crop in crops]
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        wide, high = crops[0].window.size_wh
        start, soft = pipeline_inputs(self._pipe, crops, generators, recipe, whole=self._whole_crop)
        blending = soft.apply_soft_mask(self._pipe.scheduler) if soft else contextlib.nullcontext()
        with (
            blending,
            apply_step_plan(self._pipe, plan, recipe.sampling.noise_multiplier) as steps,
            skip_negative_prompt(self._pipe, recipe.sampling),
            self._control.apply_controlnets(self._pipe, crops, recipe),
        ):
            answer = self._pipe(
                **prompts,
                **start,
                width=wide,
                height=high,
                **steps,
                generator=generators,
                output_type="np",
            )
        values = np.asarray(answer.images, np.float32)
        masks = soft.paste_masks(crops) if soft else [None] * len(crops)
        return [
            Patch(
                crop,
                self._with_coarse_tones(crop, pixels),
                seed=seed,
                strength=crop.region.strength,
                mask=mask,
            )
            for crop, pixels, seed, mask in zip(crops, values, seeds, masks, strict=True)
        ]

    def _group_crops(
        self, crops: Sequence[Crop], recipe: Recipe
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Crops that can be one batch, by their places, and what the pipeline is told of prompts.

        A guidance scale of 1 or less means no negative prompt, and half the work.
        """
        import torch

        prompts = [crop.region.prompt for crop in crops]
        cfg = self.info.cfg if recipe.sampling.cfg == "auto" else recipe.sampling.cfg
        unwanted = (
            [split_tags(crop.region.negative_prompt)[0] for crop in crops] if cfg > 1 else None
        )
        guidance = {"guidance_scale": cfg}
        if not self.info.reads_prompt:
            width = self._pipe.unet.config.cross_attention_dim
            nothing = torch.zeros(
                (len(crops), 1, width),
                dtype=self._pipe.unet.dtype,
                device=self._pipe._execution_device,
            )
            yield list(range(len(crops))), {"prompt_embeds": nothing, "guidance_scale": 1.0}
            return
        for places, texts, loras in self._loras.activate_sets(prompts, own=recipe.prompt.positive):
            negatives = unwanted and [unwanted[place] for place in places]
            if self._encoder is None:
                yield places, call_arguments(self._pipe, texts, negatives, cfg)
                continue
            skip = recipe.model.clip_skip
            for group, arguments in self._encoder.batch_arguments(
                texts, negatives, skip=skip, loras=loras
            ):
                yield [places[place] for place in group], {**arguments, **guidance}

    def _with_coarse_tones(self, crop: Crop, painted: NDArray[np.float32]) -> NDArray[np.float32]:
        """What was painted, as the model's own facts want it joined with the crop."""
        if not self._coarse_sigma:
            return painted
        import cv2

        drift = crop.pixels.astype(np.float32) / np.float32(255) - painted
        return painted + np.asarray(cv2.GaussianBlur(drift, (0, 0), self._coarse_sigma), np.float32)

    def _check_settings(self, recipe: Recipe) -> None:
        """`check` without a look at the prompt, whose LoRAs may have to be searched for."""
        if sampler := self._sampler_of(recipe):
            check_sampler(sampler, prediction=self.info.prediction)
        check_guidance(recipe.sampling, self.info.name, has_unet=self._has_unet)
        usable = self._has_unet and self.info.reads_prompt
        self._control.check(recipe, model=self.info.name, usable=usable)
        content = recipe.inpaint.masked_content
        if self._whole_crop and content != "original":
            raise ModelError(
                f"{self.info.name} is always shown what the mask covers, so it cannot start from "
                f"masked content {content!r}",
                "set inpaint.masked_content to original, or take another --model",
            )
        in_latents = recipe.soft.enabled or content.startswith("latent")
        if in_latents and not self._has_unet:
            wanted = "soft inpainting" if recipe.soft.enabled else f"masked content {content!r}"
            raise ModelError(
                f"{wanted} does not work with {self.info.name}: it is for SD 1.x, 2.x and SDXL",
                "set soft.enabled to false and inpaint.masked_content to original or fill",
            )

    def _sampler_of(self, recipe: Recipe) -> str:
        """The sampler's name; empty means the scheduler that came with the model."""
        return self._usual_sampler if recipe.sampling.sampler == "auto" else recipe.sampling.sampler

    def _set_sampler(self, sampler: str) -> None:
        """Denoise by this sampler from now on."""
        if sampler != self._sampler:
            own = self._own_scheduler
            self._pipe.scheduler = make_scheduler(sampler, own.config) if sampler else own
            self._sampler = sampler

    def load(self) -> Any:
        if self._pipe is None:
            recipe, precision = self._recipe, self._precision
            if precision == "float32":
                recipe = recipe.with_values("device", dtype=precision)
            with LOADING:
                pipe = load_pipeline(self.source, recipe)
                if self._vae:
                    put_vae(pipe, self._vae)
            self._vram = settle(pipe, recipe.device, vram=self._vram, precision=precision)
            self._pipe, self._own_scheduler, self._sampler = pipe, pipe.scheduler, ""
            self._loras = LoraSwitch(pipe)
            if reads_clip(pipe):
                own = embeddings_for(pipe, trust_pickle=recipe.model.trust_pickle)
                self._encoder = PromptEncoder(pipe, own)
        return self._pipe


class PipelineEngine(DiffusionEngine):
    """A loaded diffusers pipeline, behind the inpainting pipeline that its own components make.

    There is no second copy of the weights. What its owner changes (components, LoRAs, the
    scheduler) holds from the next repaint on; no scheduler is shared, for they remember steps.
    """

    def __init__(self, pipe: Any, recipe: Recipe) -> None:
        """Raises ModelError where diffusers has no inpainting for this kind of pipeline."""
        if recipe.model.vae:
            raise ModelError(
                f"the VAE {recipe.model.vae!r} cannot be put into a pipeline that is its owner's",
                "set pipe.vae yourself and leave model.vae empty",
            )
        self._given = pipe
        self._parts: list[Any] = []
        self._has_unet = hasattr(pipe, "unet")
        self._set_up(pipeline_facts(pipe), {}, recipe)
        self.load()

    def with_precision(self, precision: Precision) -> bool:
        """False: the pipeline is its owner's, who chose its precision."""
        return False

    def step_down(self) -> str:
        """Empty: the pipeline is its owner's, who placed it."""
        return ""

    def load(self) -> Any:
        given = self._given
        parts = [part for name, part in given.components.items() if name != "scheduler"]
        same = len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts))
        if self._pipe is None or not same:
            self._pipe, self._parts = _inpainting_of(given), parts
        self._own_scheduler = type(given.scheduler).from_config(given.scheduler.config)
        self._pipe.scheduler, self._sampler = self._own_scheduler, ""
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
