"""The engine that inpaints with a diffusers pipeline."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autofix.engines.base import LOADING, ModelInfo
from autofix.engines.checkpoints.families import sniff
from autofix.engines.devices import (
    PRECISIONS,
    Precision,
    changes_dtype,
    device_and_dtype,
    place_pipeline,
)
from autofix.engines.diffusion.control import ControlNets
from autofix.engines.diffusion.guidance import check_guidance
from autofix.engines.diffusion.load import find_vae, inpainting_of, load_pipeline, with_vae
from autofix.engines.diffusion.loaded_model import Conditioning, LoadedModel
from autofix.engines.diffusion.lora_tags import check_loras
from autofix.engines.locate import Source
from autofix.engines.memory import describe_rung, lower_rung
from autofix.engines.model_info import (
    checkpoint_info,
    pipeline_info,
    read_folder_info,
    read_index,
    read_own_toml,
)
from autofix.errors import EngineError, ModelError
from autofix.settings.recipe import Recipe
from autofix.settings.sampler_names import check_sampler
from autofix.values import Crop, Patch


class DiffusionEngine:
    """A diffusers model, folder or checkpoint, behind its inpainting pipeline.

    Weights load at the first `inpaint`. The pipeline starts from the crop (or what
    `masked_content` says), under the noise of the denoising strength.

    A model's autofix.toml may say two things more. `conditioning = "crop"`: it is shown the whole
    crop as its masked picture, where a common inpainting model is shown the crop with the mask
    cut out. `coarse_from_crop = 6`: it makes detail only; light and colour that are coarser than
    a Gaussian of that sigma, in working pixels, are the crop's own.
    """

    model: LoadedModel | None = None
    """None before the weights are loaded, and after `close`."""

    def __init__(self, source: Source | Path, recipe: Recipe) -> None:
        """Raises ModelError for files that are no model, without loading any weights."""
        self.source = source = Source.of(source)
        self._vae = find_vae(recipe.model.vae) if recipe.model.vae else None
        own: Mapping[str, Any]
        if source.kind == "checkpoint":
            found = sniff(source.path, trust_pickle=recipe.model.trust_pickle)
            info, self._has_unet = checkpoint_info(source.path, found), True
            own = {"sampler": info.sampler}
        else:
            self._has_unet = "unet" in read_index(source.path)
            info, own = read_folder_info(source.path, source.name), read_own_toml(source.path)
        self._set_up(with_vae(info, self._vae), own, recipe)

    def _set_up(self, info: ModelInfo, own: Mapping[str, Any], recipe: Recipe) -> None:
        self.info = info
        self._usual_sampler = info.sampler if own.get("sampler") else ""
        self._conditioning = Conditioning(
            whole_crop=own.get("conditioning") == "crop",
            coarse_sigma=float(own.get("coarse_from_crop", 0)),
        )
        self._recipe = recipe
        self._vram, self._precision = recipe.device.vram, PRECISIONS[0]
        self._batch_sizes: dict[tuple[int, int], int] = {}
        self._controlnets = ControlNets()
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

        model = self.load()
        self._check_settings(recipe)
        model.set_sampler(self._sampler_of(recipe))
        recipe = recipe.with_values("device", vram=self._vram)
        batch = self._pad_batch(crops, recipe)
        patches: dict[int, Patch] = {}
        with torch.inference_mode(), _as_engine_error():
            for places, prompts in model.group_by_prompt(batch, recipe):
                group = [batch[place] for place in places]
                patches |= zip(places, model.inpaint_batch(group, prompts, recipe), strict=True)
        self._batch_sizes[batch[0].window.size_wh] = len(batch)
        return [patches[place] for place in range(len(crops))]

    def load(self) -> LoadedModel:
        """The model in memory; loads its weights unless they are. Raises ModelError."""
        if self.model is None:
            recipe = self._recipe
            if self._precision == "float32":
                recipe = recipe.with_values("device", dtype="float32")
            with LOADING:
                pipe = load_pipeline(self.source, recipe, self._vae)
            self._vram = place_pipeline(
                pipe, recipe.device, vram=self._vram, precision=self._precision
            )
            self.model = LoadedModel(
                pipe,
                self.info,
                self._conditioning,
                self._controlnets,
                trust_pickle=recipe.model.trust_pickle,
            )
        return self.model

    def with_precision(self, precision: Precision) -> bool:
        """See `Adjustable`. The weights are loaded again, so that no rounding to half stays."""
        higher = PRECISIONS.index(precision) > PRECISIONS.index(self._precision)
        useless = self.model is not None and not changes_dtype(self.model.pipe, precision)
        if precision == self._precision or (higher and useless):
            return False
        self._precision = precision
        self.close()
        return True

    def step_down(self) -> str:
        """See `Adjustable`: the next rung of memory.LADDER."""
        less = lower_rung(self._vram)
        self._batch_sizes.clear()
        if less is None:
            return ""
        self._vram = less
        self.close()
        return describe_rung(less, device_and_dtype(self._recipe.device)[0])

    def close(self) -> None:
        """Drop the weights; `inpaint` would load them again."""
        self.model = None
        self._controlnets.close()

    def _pad_batch(self, crops: Sequence[Crop], recipe: Recipe) -> list[Crop]:
        """The crops; compiled, as many as the last batch of this size had.

        A compiled model is made for one shape: the last crop is repeated to fill a short batch.
        """
        size_wh = crops[0].window.size_wh
        count = self._batch_sizes.pop(size_wh, 0) if recipe.device.compile else 0
        return [*crops, *[crops[-1]] * (count - len(crops))]

    def _check_settings(self, recipe: Recipe) -> None:
        """`check` without a look at the prompt, whose LoRAs may have to be searched for."""
        name, content = self.info.name, recipe.inpaint.masked_content
        if sampler := self._sampler_of(recipe):
            check_sampler(sampler, prediction=self.info.prediction)
        check_guidance(recipe.sampling, name, has_unet=self._has_unet)
        usable = self._has_unet and self.info.reads_prompt
        self._controlnets.check(recipe, model=name, usable=usable)
        if self._conditioning.whole_crop and content != "original":
            raise ModelError(
                f"{name} is always shown what the mask covers, so it cannot start from "
                f"masked content {content!r}",
                "set inpaint.masked_content to original, or take another --model",
            )
        in_latents = recipe.soft.enabled or content.startswith("latent")
        if in_latents and not self._has_unet:
            wanted = "soft inpainting" if recipe.soft.enabled else f"masked content {content!r}"
            raise ModelError(
                f"{wanted} does not work with {name}: it is for SD 1.x, 2.x and SDXL",
                "set soft.enabled to false and inpaint.masked_content to original or fill",
            )

    def _sampler_of(self, recipe: Recipe) -> str:
        """The sampler's name; empty means the scheduler that came with the model."""
        return self._usual_sampler if recipe.sampling.sampler == "auto" else recipe.sampling.sampler


class PipelineEngine(DiffusionEngine):
    """A loaded diffusers pipeline, behind the inpainting pipeline that its own components make.

    There is no second copy of the weights. What its owner changes (components, LoRAs, the
    scheduler) holds from the next `inpaint` on; no scheduler is shared, for they remember steps.
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
        self._set_up(pipeline_info(pipe), {}, recipe)
        self.load()

    def with_precision(self, precision: Precision) -> bool:
        """False: the pipeline is its owner's, who chose its precision."""
        return False

    def step_down(self) -> str:
        """Empty: the pipeline is its owner's, who placed it."""
        return ""

    def load(self) -> LoadedModel:
        """The inpainting pipeline of the owner's components, as they are now."""
        given = self._given
        parts = [part for name, part in given.components.items() if name != "scheduler"]
        same = len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts))
        pipe = self.model.pipe if self.model and same else inpainting_of(given)
        pipe.scheduler = type(given.scheduler).from_config(given.scheduler.config)
        self._parts = parts
        self.model = LoadedModel(
            pipe, self.info, self._conditioning, self._controlnets, borrowed=True
        )
        return self.model


@contextlib.contextmanager
def _as_engine_error() -> Iterator[None]:
    """Raise torch's RuntimeError and diffusers' ValueError as an EngineError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise EngineError(
            f"the model failed: {reason}",
            "try a smaller --batch-size or --size, or --dtype float32",
        ) from error
