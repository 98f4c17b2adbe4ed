"""Recipes for tests, by their settings' short names."""

from __future__ import annotations

from autofix.settings.recipe import RENAMED, Recipe


def recipe_of(**settings: object) -> Recipe:
    """A recipe with these settings of the model's sections: `steps`, `strength`, `soft_bias`."""
    named = {f"inpaint.{key}": value for key, value in settings.items()}
    return Recipe().override({RENAMED.get(key, key): value for key, value in named.items()})
