"""Has a diffusers pipeline fix the pictures that it generates."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autofix.fixer import Fixer
from autofix.imagefiles.png import PARAMETERS_KEY
from autofix.metadata import GenerationText, format_generation
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe
from autofix.values import Outcome, Picture, Pixels, Source

Call = Mapping[str, Any]
"""A pipeline's call: argument name -> value."""

_ATTACHMENT = "_autofix_attachment"


def attach(pipe: Any, recipe: Recipe | str = "face", **overrides: object) -> Any:
    """Make a diffusers pipeline fix its pictures with its own weights. Returns the pipeline.

    It is called as before, from text or from a picture, and returns the same output; `outcomes`
    beside its images has one Outcome a picture. A picture that could not be fixed is returned as it
    was generated, with a warning and None for its outcome. The recipe's prompts and seed come
    first, then those of the call; guidance scale and steps are those of the call unless the recipe
    sets them. Latents are returned as they are.

    `recipe` and `overrides` as for Fixer; `detach` undoes it. Raises RecipeError,
    DetectorSetupError, and ModelError where diffusers cannot inpaint with this pipeline.
    """
    detach(pipe)
    attachment = _Attachment(pipe, recipe, overrides)
    kind = type(pipe)

    @functools.wraps(kind.__call__)
    def call_and_fix(self: Any, *args: Any, **more: Any) -> Any:
        call = inspect.signature(kind.__call__).bind(self, *args, **more)
        call.apply_defaults()
        return attachment.fix_output(kind.__call__(self, *args, **more), call.arguments)

    own = {_ATTACHMENT: attachment, "__call__": call_and_fix, "detach": detach}
    # Under its own name, by which diffusers recognises a pipeline.
    same = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    pipe.__class__ = type(kind.__name__, (kind,), {**same, **own})
    return pipe


def detach(pipe: Any) -> Any:
    """Undo `attach`, if it was done. Returns the pipeline."""
    kind = type(pipe)
    if _ATTACHMENT in vars(kind):
        pipe.__class__ = kind.__bases__[0]
        getattr(kind, _ATTACHMENT).close()
    return pipe


class _Attachment:
    """The Fixer of one pipeline, and the settings that its recipe sets itself."""

    def __init__(self, pipe: Any, recipe: Recipe | str, overrides: Mapping[str, Any]) -> None:
        chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
        own = {name.removeprefix("sampling__") for name in overrides}
        self._stated = _settings_of(chosen) | own
        self.fixer = Fixer(chosen, pipe=pipe, **overrides)
        self.fixer.pipeline.open_models()
        self._name = type(pipe).__name__

    def close(self) -> None:
        self.fixer.close()

    def fix_output(self, output: Any, call: Call) -> Any:
        """A pipeline's output with its images fixed, and outcomes beside them."""
        is_tuple = isinstance(output, tuple)
        images = output[0] if is_tuple else output.images
        outcomes: list[Outcome | None] = []
        if call.get("output_type") != "latent":
            images, outcomes = self._fix_images(images, call)
        if is_tuple:
            answer = _Outputs((images, *output[1:]))
            answer.outcomes = outcomes
            return answer
        output.images, output.outcomes = images, outcomes
        return output

    def _fix_images(self, images: Any, call: Call) -> tuple[Any, list[Outcome | None]]:
        before = _levels_of(images)
        pictures = [
            Picture(pixels, f"{index}.png", self._source_of(index, pixels, len(before), call))
            for index, pixels in enumerate(before)
        ]
        recipe = self.fixer.recipe.override(_settings_of_call(call, self._stated))
        pipeline = self.fixer.pipeline
        fixing = [pipeline.submit(picture, recipe) for picture in pictures]
        outcomes: list[Outcome | None] = []
        for index, future in enumerate(fixing):
            pipeline.in_flight.wait_until(future.done)
            if (error := future.exception()) is not None:
                warnings.warn(f"autofix left picture {index} as it is: {error}", stacklevel=4)
            outcomes.append(None if error else future.result())
        after = [
            outcome.picture.pixels if outcome else pixels
            for outcome, pixels in zip(outcomes, before, strict=True)
        ]
        return _replace_pixels(images, before, after), outcomes

    def _source_of(self, index: int, pixels: Pixels, count: int, call: Call) -> Source:
        """The generation text that a file of the picture would hold."""
        generator = _item_of(call.get("generator"), index, count)
        text = GenerationText(
            prompt=str(_item_of(call.get("prompt"), index, count) or ""),
            negative_prompt=str(_item_of(call.get("negative_prompt"), index, count) or ""),
            seed=None if generator is None else generator.initial_seed(),
            settings=(
                ("Steps", str(call.get("num_inference_steps"))),
                ("CFG scale", str(call.get("guidance_scale"))),
                ("Size", f"{pixels.shape[1]}x{pixels.shape[0]}"),
                ("Pipeline", self._name),
            ),
        )
        return Source(text=((PARAMETERS_KEY, format_generation(text)),))


class _Outputs(tuple[Any, ...]):
    """A pipeline's output where `return_dict` is false."""

    outcomes: list[Outcome | None]


def _settings_of(recipe: Recipe) -> set[str]:
    """The settings of [sampling] that the recipe itself sets, for all or some passes."""
    own = recipe.sampling.model_fields_set
    own = {name for name in own if getattr(recipe.sampling, name) != "auto"}
    return own.union(*(one.get("sampling", {}) for one in recipe.passes))


def _settings_of_call(call: Call, stated: set[str]) -> dict[str, object]:
    """The settings of the call that hold for the fix too."""
    scale, steps = call.get("guidance_scale"), call.get("num_inference_steps")
    found: dict[str, object] = {}
    if isinstance(scale, float | int) and 0 <= scale <= 100 and "cfg" not in stated:
        found["sampling.cfg"] = scale
    if isinstance(steps, int) and 1 <= steps <= 1000 and "steps" not in stated:
        found["sampling.steps"] = steps
    return found


def _item_of(given: Any, index: int, count: int) -> Any:
    """The item of a call's list that picture `index` of `count` was made from.

    Pictures of one prompt are next to each other.
    """
    if isinstance(given, list | tuple):
        return given[index * len(given) // count] if given else None
    return given


def _levels_of(images: Any) -> list[Pixels]:
    """The images as uint8 arrays, height x width x 3, whatever their output type."""
    if isinstance(images, list):
        return [np.asarray(image.convert("RGB")) for image in images]
    return [*np.rint(np.nan_to_num(_values_of(images)) * 255).clip(0, 255).astype(np.uint8)]


def _values_of(images: Any) -> NDArray[np.floating[Any]]:
    """A copy of a batch as an array, batch x height x width x 3, 0 to 1."""
    if isinstance(images, np.ndarray):
        return images.copy()
    return np.array(images.detach().float().cpu().permute(0, 2, 3, 1))


def _replace_pixels(images: Any, before: Sequence[Pixels], after: Sequence[Pixels]) -> Any:
    """The images with the changed pixels replaced; the other pixels keep every bit."""
    changed = [(old != new).any(axis=-1) for old, new in zip(before, after, strict=True)]
    if isinstance(images, list):
        return [
            Image.fromarray(new) if where.any() else image
            for image, new, where in zip(images, after, changed, strict=True)
        ]
    values = _values_of(images)
    for value, new, where in zip(values, after, changed, strict=True):
        value[where] = new[where] / np.float32(255)
    if isinstance(images, np.ndarray):
        return values
    return images.new_tensor(values).permute(0, 3, 1, 2).contiguous()
