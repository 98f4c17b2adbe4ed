"""Model files opened by spandrel, which recognises the architecture by its weights' names.

The only module that imports spandrel.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from autofix.errors import ModelError


def open_model_file(
    path: Path, what: str, *, choose: str, instead: str, extra: bool = False
) -> Any:
    """Spandrel's descriptor of the model in a checked file, on the CPU, in float32.

    `extra` uses spandrel_extra_arches, whose architectures have other licences. Raises ModelError,
    which advises to `choose` a file that fits, or `instead` to do without spandrel.
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
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{what} {path.name!r} cannot be loaded: {reason}", choose) from error


def weight_names(path: Path) -> set[str]:
    """The names of the weights in a file, perhaps among other strings; empty where it has none.

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
    """The strings in a file of torch.save: the pickle's opcodes are read, none is executed."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):  # torch's older kind: three short pickles and the names
            file.seek(0)
            return {arg for _ in range(4) for arg in _pickle_strings(file)}
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return {arg for name in pickles[:1] for arg in _pickle_strings(archive.open(name))}


def _pickle_strings(pickled: IO[bytes]) -> Iterator[str]:
    return (arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, str))
