"""The value of --model -> the place of that model: a folder, a file, or a hub's local copy."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autofix.engines.checkpoints.weight_file import PICKLES, SAFE, check_kind
from autofix.engines.hub import fetch_model
from autofix.engines.restoration.engine import is_restoration
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders
from autofix.settings.recipe import Recipe

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Source:
    """The place of a model."""

    kind: Literal["folder", "checkpoint", "hub", "restoration"]
    """What it is."""

    path: Path
    """The diffusers folder, checkpoint or restoration file; of a hub model its local copy."""

    id: str = ""
    """A hub model's owner/name."""

    revision: str = ""
    """A hub model's branch, tag or commit; empty for the main branch."""

    @classmethod
    def of(cls, source: Source | Path) -> Source:
        """The source itself, or that of a diffusers folder or checkpoint file."""
        if isinstance(source, Source):
            return source
        return cls("checkpoint" if source.is_file() else "folder", source)

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.id or (self.path.stem if self.path.is_file() else self.path.resolve().name)


def resolve(
    text: str,
    recipe: Recipe,
    folders: ModelFolders,
    *,
    offline: bool = False,
    endpoint: str | None = None,
    weights: bool = True,
) -> Source:
    """The model of a path, a short name, a file's name in the models folders, or a hub id.

    A hub model comes from the local cache where it is whole there, else from the hub at `endpoint`
    unless `offline`; without `weights` its configs are enough. Raises ModelError.
    """
    given = folders.names.get(text, text)
    path = Path(given).expanduser()
    if not path.exists() and not _is_path(given):
        found = folders.look_up("checkpoint", text) or folders.look_up("restoration", text)
        path = found or path
    if path.is_dir():
        return Source("folder", path)
    if path.is_file():
        return _locate_file(path, recipe)
    if _HUB_ID.fullmatch(given) and path.suffix.lower() not in (SAFE, *PICKLES):
        copy = fetch_model(given, recipe, offline=offline, endpoint=endpoint, weights=weights)
        return Source("hub", copy, given, recipe.model.revision)
    raise _unknown_model(text, given, folders)


def _locate_file(path: Path, recipe: Recipe) -> Source:
    if path.suffix.lower() != ".ckpt" and is_restoration(path):
        return Source("restoration", path)
    check_kind(path, trust_pickle=recipe.model.trust_pickle)
    return Source("checkpoint", path)


def _is_path(given: str) -> bool:
    """Whether its form makes it a path, and so no name to look up."""
    return given.startswith(("/", "~", ".")) or ".." in Path(given).parts or "\\" in given


def _unknown_model(text: str, given: str, folders: ModelFolders) -> ModelError:
    problem = f"there is no model {text!r}"
    if given != text:
        problem += f", which your config file says is {given!r}"
    known = sorted(
        {*folders.names, *folders.known_names("checkpoint"), *folders.known_names("restoration")}
    )
    if near := difflib.get_close_matches(text, [*known, "builtin", "null"], n=3):
        return ModelError(problem, f"did you mean {' or '.join(map(repr, near))}?")
    return ModelError(
        problem,
        "--model takes builtin, null, a diffusers folder, a .safetensors file, a name from your "
        "models folders, or a hub id (owner/name)",
    )
