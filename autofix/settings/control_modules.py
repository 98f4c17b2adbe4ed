"""The ControlNet modules, which make control images, by the web UI extension's names."""

from __future__ import annotations

import difflib
from pathlib import PurePath

from autofix.errors import RecipeError
from autofix.settings.model_sections import Control

OWN_MODULES = ("none", "tile_resample", "canny", "inpaint_only", "inpaint_global_harmonious")
"""Those that autofix computes itself."""

AUX_MODULES = (
    *("lineart_realistic", "lineart_coarse", "lineart_anime"),
    *("openpose", "openpose_face", "openpose_full", "depth_midas"),
    *("softedge_hed", "softedge_pidinet", "scribble_hed", "scribble_pidinet", "t2ia_sketch_pidi"),
)
"""Those of the package controlnet-aux."""

MODULES = (*OWN_MODULES, *AUX_MODULES)

_SHORT = {
    "tile": "tile_resample",
    "inpaint": "inpaint_only",
    "lineart": "lineart_realistic",
    "depth": "depth_midas",
    "softedge": "softedge_hed",
    "scribble": "scribble_hed",
}
_GUESSES = {  # ADetailer's, in its order, and after them ours
    "inpaint": "inpaint_global_harmonious",
    "scribble": "t2ia_sketch_pidi",
    "lineart_anime": "lineart_anime",
    "lineart": "lineart_coarse",
    "openpose": "openpose_full",
    "tile": "tile_resample",
    "depth": "depth_midas",
    "canny": "canny",
    "softedge": "softedge_hed",
}


def module_of(control: Control) -> str:
    """One of MODULES. auto is guessed from the ControlNet's name, as ADetailer does, else none.

    Raises RecipeError for a name that is no module's.
    """
    if control.module == "auto":
        name = PurePath(control.model.replace("\\", "/")).name.lower()
        return next((module for part, module in _GUESSES.items() if part in name), "none")
    module = _SHORT.get(control.module, control.module)
    if module not in MODULES:
        known = [*MODULES, *_SHORT]
        near = difflib.get_close_matches(module, known, n=3, cutoff=0.4) or known
        raise RecipeError(
            f"there is no control module {control.module!r}",
            f"set inpaint.control's module to auto, or to one such as {', '.join(near)}",
        )
    return module
