"""Model files opened by spandrel, which tells the architecture by its weights' names.

The only module that imports it.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from autofix.errors import ModelError

SUFFIXES = (".safetensors", ".pth")


def check_file(path: Path, what: str, *, trust_pickle: bool) -> None:
    """Raises ModelError for a file of another kind, and for a pickle whose maker is not trusted.

    A .pth is a pickle: it is read through an allow-list, and refused all the same.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(
            f"{what} {path.name!r} is no {' or '.join(SUFFIXES)} file",
            "choose a model of one of these kinds",
        )
    if path.suffix.lower() == ".pth" and not trust_pickle:
        raise ModelError(
            f"{what} {path.name!r} is a pickle, which can hold code",
            "use a .safetensors file, or --trust-pickle if you trust its maker",
        )


def open_file(path: Path, what: str, *, choose: str, instead: str, extra: bool = False) -> Any:
    """Spandrel's descriptor of the model in a checked file, on the CPU, in float32.

    `extra` asks spandrel_extra_arches, whose architectures are not free. Raises ModelError, which
    advises to `choose` a file that fits, or `instead` to do without spandrel.
    """
    try:
        import spandrel
        from safetensors import SafetensorError
    except ImportError as error:
        raise ModelError(
            f"{what} {path.name!r} needs spandrel, which is not installed",
            f"pip install 'autofix[upscale]', or {instead}",
        ) from error
    registry = spandrel.MAIN_REGISTRY
    if extra:
        import spandrel_extra_arches

        registry = spandrel_extra_arches.EXTRA_REGISTRY
    try:
        return spandrel.ModelLoader("cpu", registry).load_from_file(path).eval()
    except (
        spandrel.UnsupportedModelError,
        SafetensorError,
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{what} {path.name!r} cannot be loaded: {said}", choose) from error


def names_in(path: Path) -> set[str]:
    """The names of the weights in a file, perhaps among others; empty where it has none.

    No weight is read and nothing is unpickled.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return set(file.keys())
        return _read_pickled(path) if path.suffix.lower() == ".pth" else set()
    except (OSError, ValueError, LookupError, zipfile.BadZipFile, SafetensorError):
        return set()


def _read_pickled(path: Path) -> set[str]:
    """The strings in a file of torch.save: the pickle's opcodes are read, none is carried out."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):  # torch's older kind: three short pickles and the names
            file.seek(0)
            return {arg for _ in range(4) for arg in _pickle_strings(file)}
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return {arg for name in pickles[:1] for arg in _pickle_strings(archive.open(name))}


def _pickle_strings(pickled: IO[bytes]) -> Iterator[str]:
    return (arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str))
