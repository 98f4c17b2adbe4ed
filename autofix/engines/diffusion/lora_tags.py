"""The tags of a prompt that name LoRAs, `<lora:name:weight>`, and the files they mean."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from pathlib import Path

from autofix.engines.checkpoints.weight_file import SAFE, read_header
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders, model_folders
from autofix.settings.user_config import config_path

_TAG = re.compile(r"<(\w+):([^>]+)>")
_KINDS = ("lora", "lyco")


def split_tags(prompt: str) -> tuple[str, list[str]]:
    """The prompt without its `<kind:...>` tags, and the tags, as A1111 tells them apart."""
    return _TAG.sub("", prompt), [found[0] for found in _TAG.finditer(prompt)]


def read_tag(tag: str) -> tuple[str, float, float]:
    """A tag's name, and its weights for the text encoders and for the UNet.

    A1111's grammar: `<lora:name>` is 1, `<lora:name:te>` both, `<lora:name:te:unet>`, or by name:
    `<lora:name:te=0.5:unet=0.8>`; lyco is the same. Raises ModelError for any other tag.
    """
    found = _TAG.fullmatch(tag)
    kind, items = (found[1], found[2].split(":")) if found else ("", [])
    if kind not in _KINDS:
        raise ModelError(
            f"{tag} in the prompt is not supported", "only <lora:name:weight> is; take the tag out"
        )
    plain = [item for item in items[1:] if "=" not in item]
    named = dict(item.split("=", 1) for item in items[1:] if "=" in item)
    try:
        te = float(named.get("te", plain[0] if plain else 1))
        unet = float(named.get("unet", plain[1] if len(plain) > 1 else te))
    except ValueError as error:
        raise ModelError(
            f"{tag} in the prompt has a weight that is no number", "write <lora:name:0.8>"
        ) from error
    if not (abs(te) <= 100 and abs(unet) <= 100):
        raise ModelError(f"{tag} in the prompt has a weight beyond 100", "write <lora:name:0.8>")
    return items[0].strip(), te, unet


def find_lora(name: str, folders: ModelFolders) -> Path:
    """The file of that name in the user's LoRA folders. Raises ModelError.

    A file's name comes first, then the name that its trainer gave it, which A1111 prefers.
    The name may come from a stranger's picture: it is a name, never a path, and no pickle is read.
    """
    if re.search(r"[/\\\0]|\.\.", name) or not name:
        raise ModelError(
            f"{name!r} in a prompt is no LoRA's name", "write the file's name, without its folder"
        )
    folders = ModelFolders(folders=folders.folders)  # short names mean checkpoints
    path = folders.look_up("lora", name) or _by_alias(folders.folders).get(name.casefold())
    if path is None:
        near = difflib.get_close_matches(name, folders.known_names("lora"), n=3, cutoff=0.4)
        raise ModelError(
            f"there is no LoRA {name!r}",
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else f"put its file into the Lora folder of a folder that [models] in {config_path()} "
            "names",
        )
    if path.suffix.lower() != SAFE:
        raise ModelError(
            f"the LoRA {name!r} is {path.name}, which could run code",
            "convert it to .safetensors",
        )
    return path


def check_loras(prompt: str) -> None:
    """Raises ModelError for a tag of the recipe's own prompt that names no LoRA file.

    Tags that hold choices or wildcards are left out: they are known when these are drawn.
    """
    for tag in split_tags(prompt)[1]:
        if not re.search(r"[{}|]|__", tag):
            find_lora(read_tag(tag)[0], model_folders())


@functools.lru_cache(maxsize=8)
def _by_alias(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Each LoRA by the name that kohya's trainer wrote into it, in small letters."""
    found: dict[str, Path] = {}
    for path in ModelFolders(folders=folders).files_of_kind("lora"):
        if path.suffix.lower() == SAFE and path.is_file():
            with contextlib.suppress(ModelError):  # a broken file has no name
                alias = read_header(path).metadata.get("ss_output_name", "")
                found.setdefault(alias.casefold(), path)
    return found
