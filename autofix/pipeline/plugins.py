"""Engines and detectors of other packages, by the names that their entry points give them.

    [project.entry-points."autofix.engines"]
    mine = "my_package:make_engine"      # (recipe) -> engines.base.Engine

    [project.entry-points."autofix.detectors"]
    mine = "my_package:make_detector"    # (DetectorSettings) -> detectors.base.Detector

`--model mine` and `--detector mine` choose them. An engine serves all recipes of equal [model] and
[device]; the other settings come with each call of `inpaint`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from autofix.errors import UsageError

Group = Literal["autofix.engines", "autofix.detectors"]


def find_plugin(group: Group, name: str) -> Callable[[Any], Any] | None:
    """What an entry point of this name leads to, or None. Raises UsageError."""
    for point in entry_points(group=group, name=name):
        return _load_point(point)
    return None


def plugin_names(group: Group) -> list[str]:
    """The names that there are, sorted."""
    return sorted(entry_points(group=group).names)


def plugin_identity(group: Group, name: str) -> str:
    """The package and version that an entry point comes from; empty where there is none."""
    for point in entry_points(group=group, name=name):
        return f"{point.dist.name}=={point.dist.version}" if point.dist else point.value
    return ""


def _load_point(point: EntryPoint) -> Callable[[Any], Any]:
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist else point.module
        raise UsageError(
            f"{point.group.removeprefix('autofix.').removesuffix('s')} {point.name!r} of the "
            f"package {package} cannot be loaded: {error}",
            f"install {package} again, or pip uninstall {package}",
        ) from error
    if not callable(found):
        raise UsageError(
            f"the entry point {point.name!r} ({point.value}) of {point.group} is no class or "
            "function",
            "report it to the package's maker",
        )
    made: Callable[[Any], Any] = found
    return made
