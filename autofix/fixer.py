"""autofix from Python: pictures in, Outcomes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autofix.engines.base import Engine
from autofix.errors import RecipeError
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import load_recipe
from autofix.stages.check import Identity
from autofix.values import Outcome, Picture
from detectors.base import Detector

AnyPicture = Picture | Image.Image | NDArray[np.uint8]


class Fixer:
    """Fixes pictures with one recipe. Models are loaded at first use, and dropped by `close`.

    with autofix.Fixer(recipe="face") as fixer:
        outcome = fixer.fix(Image.open("group.png"))
        Image.fromarray(outcome.picture.pixels).save("fixed.png")
    """

    def __init__(
        self,
        recipe: Recipe | str = "face",
        *,
        model: str | None = None,
        engine: Engine | None = None,
        detectors: Sequence[Detector] = (),
        identity: Identity | None = None,
        pipe: Any = None,
        **overrides: object,
    ) -> None:
        """`recipe`: a Recipe, a shipped name, or a TOML file; `model` as for `--model`.

        `engine` inpaints and `detectors` search in place of the recipe's: objects that keep the
        promises of `engines.base.Engine` and `detectors.base.Detector`. They are used by one
        thread at a time, and closed by whoever made them. `identity` gives an embedding of a face
        in a crop, by which the check tells one person from another.
        `pipe` is a loaded diffusers pipeline whose weights inpaint, whatever the recipe's model is.
        Further settings by dotted name with two underscores for the dot:
        `Fixer(inpaint__strength=0.3)`. Raises RecipeError, and ModelError where there is no model.
        """
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        named = model is not None or "model.name" in changes
        if (engine is not None) + (pipe is not None) + named > 1:
            raise RecipeError(
                "only one of an engine, a pipeline and a model can inpaint",
                "give either engine, pipe or model",
            )
        if model is not None:
            changes["model.name"] = model
        chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
        self.recipe = chosen.override(changes) if changes else chosen
        self._toolbox = Toolbox(
            self.recipe, engine=engine, detectors=detectors, identity=identity, pipe=pipe
        )
        self.pipeline = Pipeline(self.recipe, self._toolbox)

    def __enter__(self) -> Fixer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def fix(self, image: AnyPicture) -> Outcome:
        """The Outcome for one picture: PIL, RGB uint8 array (height x width x 3), or Picture."""
        return self.pipeline.fix([_as_picture(image)])[0]

    def fix_many(self, images: Iterable[AnyPicture]) -> Iterator[Outcome]:
        """Outcomes in the pictures' order; crops of many pictures share batches.

        Pictures are taken from the iterable a few ahead. Raises what went wrong with one of them.
        """
        for outcome in self.pipeline.stream(map(_as_picture, images)):
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def close(self) -> None:
        """Drop the models, after what is in flight. The next picture loads them again."""
        self.pipeline.close()
        self._toolbox.close()
        self.pipeline = Pipeline(self.recipe, self._toolbox)


def _as_picture(image: AnyPicture) -> Picture:
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return Picture(np.array(image.convert("RGB")))
    return Picture(np.array(image))
