"""autofix: fixes faces and hands in generated pictures, automatically and in bulk.

The public names, loaded when first used; `import autofix` itself loads nothing heavy.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autofix.errors import AutofixError as AutofixError
    from autofix.fixer import Fixer as Fixer
    from autofix.frontends.attach import attach as attach
    from autofix.frontends.attach import detach as detach
    from autofix.settings.recipe import Recipe as Recipe
    from autofix.values import Outcome as Outcome
    from autofix.values import Picture as Picture
    from autofix.values import Region as Region
    from autofix.values import RegionResult as RegionResult

# Read when onnxruntime or huggingface_hub is imported, by whichever library: they report to nobody.
for _telemetry in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_telemetry, "1")

_HOMES = {
    "AutofixError": "autofix.errors",
    "Fixer": "autofix.fixer",
    "Outcome": "autofix.values",
    "Picture": "autofix.values",
    "Recipe": "autofix.settings.recipe",
    "Region": "autofix.values",
    "RegionResult": "autofix.values",
    "attach": "autofix.frontends.attach",
    "detach": "autofix.frontends.attach",
}

__all__ = [
    "AutofixError",
    "Fixer",
    "Outcome",
    "Picture",
    "Recipe",
    "Region",
    "RegionResult",
    "attach",
    "detach",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autofix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
