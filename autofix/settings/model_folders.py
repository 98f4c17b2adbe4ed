"""The user's models: short names for them, and the folders they are kept in."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autofix.errors import ModelError, UsageError
from autofix.settings.user_config import config_path, read_config

Kind = Literal["checkpoint", "vae", "lora", "controlnet", "embedding", "detector", "restoration"]

_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "checkpoint": _WEIGHTS,
    "vae": _WEIGHTS,
    "lora": _WEIGHTS,
    "controlnet": _WEIGHTS,
    "embedding": _WEIGHTS,
    "detector": (".pt", ".onnx"),
    "restoration": (".safetensors", ".pth", ".pt"),
}
"""What files of a kind end in; of two files of one name, the one that stands further left here."""

SUBFOLDERS: Mapping[Kind, tuple[str, ...]] = {
    "checkpoint": ("stable-diffusion", "checkpoints", "diffusers"),
    "vae": ("vae",),
    "lora": ("lora", "loras", "lycoris"),
    "controlnet": ("controlnet", "extensions/sd-webui-controlnet/models"),
    "embedding": ("embeddings",),
    "detector": ("adetailer", "ultralytics/bbox", "ultralytics/segm"),
    "restoration": ("gfpgan", "codeformer", "facerestore_models"),
}
"""Where A1111 and ComfyUI keep files of a kind, in lower case."""

_MARKS = ("model_index.json", "config.json")
"""A folder that holds one of these is a model by itself, as diffusers saves it."""


@dataclass(frozen=True)
class ModelFolders:
    """The user's models: `names` are short names -> what --model takes, `folders` are searched.

    A folder may be a `models` folder of A1111 or ComfyUI, or what contains it; one that is laid out
    like neither is searched as a whole for every kind.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    def find_model(self, kind: Kind, name: str) -> Path:
        """The file, or the diffusers folder, of that name. Raises ModelError, naming the nearest.

        `name` is a short name, a file name with or without suffix, or a path inside the kind's
        folder; capitals do not matter, nor does a hash in brackets, as A1111 appends it.
        """
        if (path := self.look_up(kind, name)) is not None:
            return path
        known = self.known_names(kind)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        if near:
            advice = f"did you mean {' or '.join(map(repr, near))}?"
        elif self.folders:
            places = ", ".join(map(str, self.folders))
            advice = f"give its path; the folders searched were {places}"
        else:
            advice = f"give its path, or name the folders to search in {config_path()}: " + (
                '[models] folders = ["~/stable-diffusion-webui/models"]'
            )
        raise ModelError(f"there is no {kind} {name!r}", advice)

    def look_up(self, kind: Kind, name: str) -> Path | None:
        """The same, or None where there is none. Raises ModelError for a name that leaves them."""
        if name in self.names and (path := Path(self.names[name])).exists():
            return path
        wanted = re.sub(r"\s*\[[0-9a-fA-F]{6,64}\]$", "", name).replace("\\", "/").casefold()
        if wanted.startswith("/") or re.match(r"[a-z]:/", wanted) or ".." in wanted.split("/"):
            raise ModelError(
                f"{kind} {name!r} is no name inside the models folders",
                "give a file's name without the folders above it",
            )
        for root in self._kind_folders(kind):
            if found := [
                path
                for path in _models_below(root, SUFFIXES[kind])
                if wanted in _names_of(path, root)
            ]:
                return min(found, key=lambda path: _suffix_rank(path, kind))
        return None

    def path_or_model(self, kind: Kind, given: str) -> Path | None:
        """What `given` leads to as a path, else as `look_up`. Not for a name out of a prompt."""
        path = Path(given).expanduser()
        there = path.is_file() or (kind == "controlnet" and path.is_dir())
        return path if there else self.look_up(kind, given)

    def files_of_kind(self, kind: Kind) -> Iterator[Path]:
        """All files and diffusers folders of a kind, in the order of the folders."""
        return (
            path
            for root in self._kind_folders(kind)
            for path in _models_below(root, SUFFIXES[kind])
        )

    def known_names(self, kind: Kind) -> list[str]:
        """The names of all there is of a kind, sorted."""
        found = self.files_of_kind(kind)
        short = (name for name, given in self.names.items() if Path(given).exists())
        stems = (path.name if path.is_dir() else path.stem for path in found)
        return sorted({*stems, *(short if kind == "checkpoint" else ())})

    def _kind_folders(self, kind: Kind) -> Iterator[Path]:
        """Where files of a kind are, in the order of the folders."""
        for folder in self.folders:
            places = [folder, folder / "models"]
            if any(_subfolders(place, every) for place in places for every in SUBFOLDERS):
                if kind == "embedding" and folder.name.casefold() == "models":
                    places.append(folder.parent)  # A1111 has its embeddings beside its models
                yield from (root for place in places for root in _subfolders(place, kind))
            elif folder.is_dir():
                yield folder


def model_folders() -> ModelFolders:
    """What the [models] section of the config file says; empty without one. Raises UsageError.

    `folders` there is a list of folders, every other key a short name. Paths may start with ~ or
    hold $VARIABLES, and start at the file's own folder where they are relative.
    """
    path = config_path()
    section = read_config().get("models", {})
    folders = section.get("folders", []) if isinstance(section, dict) else None
    if (
        not isinstance(folders, list)
        or not all(isinstance(each, str) for each in folders)
        or not all(isinstance(each, str) for key, each in section.items() if key != "folders")
    ):
        raise UsageError(
            f"[models] in {path} does not hold",
            'it takes folders = ["PATH", ...] and short names: dream = "PATH"',
        )
    names = {key: _path_or_hub_id(path, each) for key, each in section.items() if key != "folders"}
    return ModelFolders(names, tuple(_path_in_config(path, each) for each in folders))


def _path_in_config(config: Path, text: str) -> Path:
    return config.parent / Path(os.path.expandvars(text)).expanduser()


def _path_or_hub_id(config: Path, text: str) -> str:
    """A path that is there, else the text as it is: a hub id, or a path to complain about."""
    path = _path_in_config(config, text)
    return str(path) if path.exists() or text.startswith(("~", "$", ".")) else text


def _subfolders(place: Path, kind: Kind) -> list[Path]:
    """The subfolders that hold files of a kind, however they are capitalised."""
    found = []
    for wanted in SUBFOLDERS[kind]:
        step = [place]
        for part in wanted.split("/"):
            step = [
                each for one in step for each in _folders_in(one) if each.name.casefold() == part
            ]
        found += step
    return found


def _folders_in(place: Path) -> list[Path]:
    try:
        return sorted(each for each in place.iterdir() if each.is_dir())
    except OSError:
        return []


def _models_below(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files and diffusers folders below a folder, through links, each real folder once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if Path(place) != root and any(mark in files for mark in _MARKS):
            folders.clear()
            yield Path(place)
            continue
        yield from (Path(place, name) for name in sorted(files) if name.lower().endswith(suffixes))


def _names_of(path: Path, root: Path) -> set[str]:
    """What a model is called: its name, or its path from the kind's folder on; no suffix needed."""
    names = {path.name, path.relative_to(root).as_posix()}
    if not path.is_dir():
        names |= {path.stem, path.relative_to(root).with_suffix("").as_posix()}
    return {name.casefold() for name in names}


def _suffix_rank(path: Path, kind: Kind) -> tuple[int, int, str]:
    suffix = path.suffix.lower()
    order = SUFFIXES[kind].index(suffix) if suffix in SUFFIXES[kind] and path.is_file() else -1
    return order, len(path.parts), str(path)
