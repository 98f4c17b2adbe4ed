"""A diffusers model of the Hugging Face hub -> the folder of its local copy.

DiffusionPipeline.download would choose the files, but asks no other endpoint, takes part of a model
for the whole where the cache has no list of its files, and always fetches weights.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from autofix.engines.checkpoints.weight_file import SAFE
from autofix.engines.devices import device_and_dtype
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe

INDEX = "model_index.json"

_NEVER = ("safety_checker",)
"""Components that are not loaded and so not fetched."""

_WEIGHTLESS = ("scheduler", "tokenizer", "feature_extractor", "processor")
"""Components, by the start of their names, that have no weights."""

_CONFIGS = (".json", ".txt", ".model", ".jinja", ".toml")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def fetch_model(
    name: str, recipe: Recipe, *, offline: bool, endpoint: str | None, weights: bool
) -> Path:
    """The copy's folder: from the local cache where it is whole there, else downloaded.

    Only needed files are fetched: configs, and safetensors weights, those in half precision where
    the model computes in it. Without `weights`, configs alone. Raises ModelError.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = recipe.model.revision or None
    try:
        copy = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        copy = None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{_title(name, revision)} cannot be looked up: {error}", "check its id"
        ) from error
    if copy and _is_whole(copy, weights=weights):
        return copy
    if offline:
        part = "only in part" if copy else "not"
        raise ModelError(
            f"{_title(name, revision)} is {part} in the local cache, and downloads are off",
            f"run `hf download {name}` where there is a network, give a folder or file as --model, "
            "or unset AUTOFIX_OFFLINE and HF_HUB_OFFLINE",
        )
    try:
        return _download(name, revision, recipe, endpoint=endpoint, weights=weights)
    except (OSError, ValueError, LookupError) as error:
        raise _download_error(error, name, revision) from error


def _title(name: str, revision: str | None) -> str:
    return f"hub model {name!r}" + (f", revision {revision!r}," if revision else "")


def _download(
    name: str, revision: str | None, recipe: Recipe, *, endpoint: str | None, weights: bool
) -> Path:
    """Download the needed files of a model. Raises ModelError, or the hub library's own errors."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    index = hf_hub_download(name, INDEX, revision=revision, endpoint=endpoint)
    components = _listed_components(Path(index))
    dtype = device_and_dtype(recipe.device, transformer="unet" not in components)[1]
    listed = HfApi(endpoint=endpoint).list_repo_files(name, revision=revision)
    half = str(dtype) != "torch.float32"
    files = files_to_fetch(listed, components, half=half, weights=weights)
    if not files:
        raise ModelError(
            f"{_title(name, revision)} has no safetensors weights, only pickles",
            "choose another model, or one that somebody converted",
        )
    patterns = [glob.escape(file) for file in files]
    return Path(
        snapshot_download(name, revision=revision, endpoint=endpoint, allow_patterns=patterns)
    )


def _download_error(error: Exception, name: str, revision: str | None) -> ModelError:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{_title(name, revision)} is gated",
            f"accept its terms at https://huggingface.co/{name}, then run `hf auth login`",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"there is no hub model {name!r}, nor a file or folder of that name",
            "check its spelling; for a private one run `hf auth login`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(
            f"hub model {name!r} has no revision {revision!r}", "set --revision to one it has"
        )
    reason = (str(error) or repr(error)).strip().splitlines()[0]
    return ModelError(
        f"{_title(name, revision)} cannot be fetched: {reason}",
        "check the network and that it is a diffusers model, or give a folder or file",
    )


def files_to_fetch(
    listed: Iterable[str], components: Sequence[str], *, half: bool, weights: bool
) -> list[str]:
    """Those of a repository's files that are needed; empty where a component has no safetensors.

    `half` prefers its fp16 files to those in full precision.
    """
    files = sorted(listed)
    chosen = [file for file in files if file in (INDEX, "autofix.toml")]
    for component in components:
        own = [file for file in files if str(PurePosixPath(file).parent) == component]
        chosen += [file for file in own if file.endswith(_CONFIGS) and SAFE not in file]
        if not weights or component.startswith(_WEIGHTLESS):
            continue
        for variant in ("fp16", "") if half else ("", "fp16"):
            if best := [file for file in own if SAFE in file and variant_of(file) == variant]:
                break
        else:
            return []
        chosen += best
    return chosen


def variant_of(file: str) -> str:
    """The variant in a weight file's name: "fp16" of model.fp16.safetensors, else ""."""
    name = PurePosixPath(file).name.split(SAFE)[0]
    parts = _SHARD.sub("", name).split(".")
    return parts[1] if len(parts) > 1 else ""


def variant_in(folder: Path) -> str | None:
    """The variant (fp16) that some component of a diffusers folder has alone; None if none has."""
    for component in _listed_components(folder / INDEX):
        found = {variant_of(file.name) for file in (folder / component).glob(f"*{SAFE}")}
        if "fp16" in found and "" not in found:
            return "fp16"
    return None


def _is_whole(copy: Path, *, weights: bool) -> bool:
    """Whether a cached copy has every needed file, as far as its own files tell."""
    if not (copy / INDEX).is_file():
        return False
    folders = [copy / component for component in _listed_components(copy / INDEX)]
    return all(folder.is_dir() for folder in folders) and all(
        _has_weights(folder)
        for folder in folders
        if weights and not folder.name.startswith(_WEIGHTLESS)
    )


def _has_weights(folder: Path) -> bool:
    """Whether a component's folder has safetensors, with every shard of its index."""
    indexes = [
        json.loads(index.read_text(encoding="utf-8"))
        for index in folder.glob(f"*{SAFE}.index*.json")
    ]
    shards = {shard for index in indexes for shard in index["weight_map"].values()}
    return any(folder.glob(f"*{SAFE}")) and all((folder / shard).is_file() for shard in shards)


def _listed_components(index: Path) -> list[str]:
    """The components that are loaded, by their folders."""
    classes = json.loads(index.read_text(encoding="utf-8"))
    return [
        name
        for name, kind in classes.items()
        if isinstance(kind, list) and len(kind) == 2 and None not in kind and name not in _NEVER
    ]
