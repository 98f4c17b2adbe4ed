"""autofix: fixes faces and hands in generated pictures, automatically and in bulk.

The public names, loaded when first used; `import autofix` itself loads nothing heavy.
"""

from __future__ import annotations

import importlib.util
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


def _refuse_foreign_package(name: str) -> None:
    """Raises ImportError where a package that Python finds is not the one that came with autofix.

    It is not imported for that.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"the package {name} is missing: install autofix again")
    get_source = getattr(spec.loader, "get_source", lambda name: "")
    source: str | None = get_source(name)
    if source is not None and 'DISTRIBUTION = "autofix"' not in source:
        where = spec.origin or [*(spec.submodule_search_locations or ())]
        raise ImportError(
            f"{name} of another distribution is in the way: pip uninstall {name}, then install "
            f"autofix again (it is {where})"
        )


for _package in ("detectors", "weights"):
    _refuse_foreign_package(_package)

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
