"""autofix from Python: pictures in, Outcomes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autofix.errors import RecipeError
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load
from autofix.values import Outcome, Picture

AnyPicture = Picture | Image.Image | NDArray[np.uint8]


class Fixer:
    """Fixes pictures with one recipe. Models are loaded at first use and dropped on the way out.

    with autofix.Fixer(recipe="face") as fixer:
        outcome = fixer.fix(Image.open("group.png"))
        Image.fromarray(outcome.picture.pixels).save("fixed.png")
    """

    def __init__(
        self,
        recipe: Recipe | str = "face",
        *,
        model: str | None = None,
        pipe: Any = None,
        **overrides: object,
    ) -> None:
        """`recipe`: a Recipe, a shipped name, or a TOML file; `model` as for `--model`.

        `pipe` is a loaded diffusers pipeline whose weights repaint, whatever the recipe's model is.
        Further settings by dotted name with two underscores for the dot:
        `Fixer(inpaint__strength=0.3)`. Raises RecipeError, and ModelError where there is no model.
        """
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        if pipe is not None and (model is not None or "inpaint.model" in changes):
            raise RecipeError(
                "a pipeline and a model cannot both repaint", "give either pipe or model"
            )
        if model is not None:
            changes["inpaint.model"] = model
        chosen = load(recipe) if isinstance(recipe, str) else recipe
        self.recipe = chosen.override(changes) if changes else chosen
        self._toolbox = Toolbox(self.recipe, pipe=pipe)
        self.pipeline = Pipeline(self.recipe, self._toolbox)

    def __enter__(self) -> Fixer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fix(self, image: AnyPicture) -> Outcome:
        """The Outcome for one picture: PIL, RGB uint8 array (height x width x 3), or Picture."""
        return self.pipeline.fix([_picture(image)])[0]

    def fix_many(self, images: Iterable[AnyPicture], *, at_once: int = 8) -> Iterator[Outcome]:
        """Outcomes in the pictures' order; crops of `at_once` pictures share batches."""
        pictures = map(_picture, images)
        while chunk := list(itertools.islice(pictures, at_once)):
            yield from self.pipeline.fix(chunk)

    def close(self) -> None:
        """Drop the models."""
        self._toolbox.close()


def _picture(image: AnyPicture) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return Picture(np.array(image.convert("RGB")))
    return Picture(np.array(image))
