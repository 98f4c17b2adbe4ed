"""Files of weights: their headers, and their tensors. Pickles only where they are trusted."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofix.errors import ModelError

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SAFE = ".safetensors"

VAES = ("first_stage_model.", "vae.")
"""Prefixes of the keys of a checkpoint's VAE."""

_LONGEST_HEADER_BYTES = 100_000_000
"""Longest safetensors header: the format itself allows no more."""


@dataclass(frozen=True)
class Header:
    """The shape of every tensor by its key, and the file's metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def starts(self, *prefixes: str) -> bool:
        """Whether any key starts with one of them."""
        return any(key.startswith(prefixes) for key in self.shapes)

    def holds(self, *parts: str) -> bool:
        """Whether any key contains one of them."""
        return any(part in key for key in self.shapes for part in parts)

    def under(self, prefix: str) -> Header:
        """The entries whose keys start with a prefix, which is taken off."""
        return Header(
            {
                key.removeprefix(prefix): shape
                for key, shape in self.shapes.items()
                if key.startswith(prefix)
            },
            self.metadata,
        )


def check_kind(path: Path, *, trust_pickle: bool) -> None:
    """Raise ModelError for a file that is missing, of no known kind, or an untrusted pickle."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ModelError(f"there is no model file {str(path)!r}", "check the path")
    if suffix not in (SAFE, *PICKLES):
        raise ModelError(
            f"{path.name!r} is no model file",
            f"give a {SAFE} file, or for --model a diffusers folder",
        )
    if suffix in PICKLES and not trust_pickle:
        raise ModelError(
            f"{path.name!r} is a pickle, which can hold code that runs when it is loaded",
            f"use a {SAFE} file of the same model, or --trust-pickle if you trust its maker",
        )


def read_header(path: Path, *, trust_pickle: bool = False) -> Header:
    """The file's header; of a trusted pickle the same, without its tensors' data.

    Raises ModelError, also for a file that was cut short.
    """
    check_kind(path, trust_pickle=trust_pickle)
    if path.suffix.lower() != SAFE:
        tensors = _read_pickle(path, "meta")
        return Header({key: tuple(value.shape) for key, value in tensors.items()}, {})
    broken = ModelError(
        f"{path.name!r} is no whole safetensors file", "download it again; its download was cut off"
    )
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= _LONGEST_HEADER_BYTES:
                raise broken
            entries = json.loads(file.read(length))
        metadata = entries.pop("__metadata__", None) or {}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        shapes = {key: tuple(entry["shape"]) for key, entry in entries.items()}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise broken from error
    if path.stat().st_size < 8 + length + end:
        raise broken
    return Header(shapes, metadata)


def read_tensors(path: Path, *, trust_pickle: bool = False) -> dict[str, Any]:
    """Every tensor by its key, on the CPU. Raises ModelError."""
    return tensor_reader(path, trust_pickle=trust_pickle)("")


def tensor_reader(path: Path, *, trust_pickle: bool = False) -> Callable[[str], dict[str, Any]]:
    """A function that reads the tensors whose keys start with a prefix, to the CPU.

    Each call reads a safetensors file anew, so that only its result is in memory. Both raise
    ModelError.
    """
    check_kind(path, trust_pickle=trust_pickle)
    if path.suffix.lower() != SAFE:
        whole = _read_pickle(path, "cpu")
        return lambda prefix: {key: value for key, value in whole.items() if key.startswith(prefix)}
    from safetensors import SafetensorError, safe_open

    def read(prefix: str) -> dict[str, Any]:
        try:
            with safe_open(path, framework="pt") as file:
                keys = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
                return {key: file.get_tensor(key) for key in keys}
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path.name!r} cannot be read: {error}", "download it again"
            ) from error

    return read


def _read_pickle(path: Path, device: str) -> dict[str, Any]:
    """A trusted pickle's tensors: by torch's allow-list where that is enough."""
    import torch

    for weights_only in (True, False):
        try:
            found = torch.load(path, map_location=device, weights_only=weights_only)
            break
        except pickle.UnpicklingError as error:
            problem: Exception = error
        except (OSError, RuntimeError, EOFError, ImportError, AttributeError, ValueError) as error:
            problem = error
            break
    else:
        found = None
    if not isinstance(found, dict):
        raise ModelError(
            f"{path.name!r} cannot be read as a checkpoint: {problem}", "download it again"
        ) from problem
    while isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    return {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
