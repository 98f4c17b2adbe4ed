"""A diffusers model of the Hugging Face hub -> the folder of its copy on this machine."""

from __future__ import annotations

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


def fetch(name: str, recipe: Recipe, *, offline: bool, endpoint: str | None, weights: bool) -> Path:
    """The copy's folder: from the local cache where it is there whole, else downloaded.

    Only what is needed is fetched: configs, and safetensors weights in half precision where that
    is what they are used in. Without `weights`, configs alone. Raises ModelError.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    revision = recipe.model.revision or None
    at = f"{name!r}" + (f", revision {revision!r}," if revision else "")
    try:
        copy = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        copy = None
    except (OSError, ValueError) as error:
        raise ModelError(f"hub model {at} cannot be looked up: {error}", "check its id") from error
    if copy and _is_whole(copy, weights=weights):
        return copy
    if offline:
        part = "only in part" if copy else "not"
        raise ModelError(
            f"hub model {at} is {part} in the local cache, and downloads are off",
            f"run `hf download {name}` where there is a network, give a folder or file as --model, "
            "or unset AUTOFIX_OFFLINE and HF_HUB_OFFLINE",
        )
    try:
        index = hf_hub_download(name, INDEX, revision=revision, endpoint=endpoint)
        components = _listed_components(Path(index))
        listed = HfApi(endpoint=endpoint).list_repo_files(name, revision=revision)
        wanted = needed(listed, components, half=_is_half(recipe, components), weights=weights)
        if not wanted:
            raise ModelError(
                f"hub model {at} has no safetensors weights, only pickles",
                "choose another model, or one that somebody converted",
            )
        return Path(
            snapshot_download(
                name,
                revision=revision,
                endpoint=endpoint,
                allow_patterns=[_literal_pattern(each) for each in wanted],
            )
        )
    except GatedRepoError as error:
        raise ModelError(
            f"hub model {at} is gated",
            f"accept its terms at https://huggingface.co/{name}, then run `hf auth login`",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no hub model {name!r}, nor a file or folder of that name",
            "check its spelling; for a private one run `hf auth login`",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"hub model {name!r} has no revision {revision!r}", "set --revision to one it has"
        ) from error
    except (OSError, ValueError, LookupError) as error:
        said = (str(error) or repr(error)).strip().splitlines()[0]
        raise ModelError(
            f"hub model {at} cannot be fetched: {said}",
            "check the network and that it is a diffusers model, or give a folder or file",
        ) from error


def needed(
    listed: Iterable[str], components: Sequence[str], *, half: bool, weights: bool
) -> list[str]:
    """Which of a repository's files are fetched; empty where a component has no safetensors.

    `half`: its fp16 files are preferred to those in full precision.
    """
    files = sorted(listed)
    chosen = [each for each in files if each in (INDEX, "autofix.toml")]
    for component in components:
        own = [each for each in files if each.startswith(f"{component}/") and each.count("/") == 1]
        chosen += [each for each in own if each.endswith(_CONFIGS) and SAFE not in each]
        if not weights or component.startswith(_WEIGHTLESS):
            continue
        variants: dict[str, list[str]] = {"": [], "fp16": []}
        for each in own:
            if SAFE in each:
                variants.setdefault(variant_of(each), []).append(each)
        order = ("fp16", "") if half else ("", "fp16")
        best = next((variants[each] for each in order if variants[each]), None)
        if best is None:
            return []
        chosen += best
    return chosen


def variant_of(file: str) -> str:
    """The variant in a weight file's name: "fp16" of model.fp16.safetensors, else ""."""
    name = PurePosixPath(file).name.split(SAFE)[0]
    parts = _SHARD.sub("", name).split(".")
    return parts[1] if len(parts) > 1 else ""


def variant_in(folder: Path) -> str | None:
    """Which variant (fp16) a diffusers folder has some component in alone; None if in none."""
    for component in _listed_components(folder / INDEX):
        found = {variant_of(each.name) for each in (folder / component).glob(f"*{SAFE}")}
        if found and "" not in found and "fp16" in found:
            return "fp16"
    return None


def _is_whole(copy: Path, *, weights: bool) -> bool:
    """Whether a cached copy has all that would be fetched."""
    if not (copy / INDEX).is_file():
        return False
    for component in _listed_components(copy / INDEX):
        if not (copy / component).is_dir():
            return False
        if not weights or component.startswith(_WEIGHTLESS):
            continue
        shards = set()
        for index in (copy / component).glob(f"*{SAFE}.index*.json"):
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if not all((copy / component / shard).is_file() for shard in shards):
            return False
        if not any((copy / component).glob(f"*{SAFE}")):
            return False
    return True


def _listed_components(index: Path) -> list[str]:
    """The parts of the model that are loaded, by their folders."""
    said = json.loads(index.read_text(encoding="utf-8"))
    return [
        name
        for name, kind in said.items()
        if isinstance(kind, list) and len(kind) == 2 and None not in kind and name not in _NEVER
    ]


def _is_half(recipe: Recipe, components: Sequence[str]) -> bool:
    dtype = device_and_dtype(recipe.device, transformer="unet" not in components)[1]
    return str(dtype) != "torch.float32"


def _literal_pattern(name: str) -> str:
    """A pattern that a name alone fits."""
    return re.sub(r"([*?[])", r"[\1]", name)
