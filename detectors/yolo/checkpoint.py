"""The data in a YOLO checkpoint (.pt), read without running any of its code.

Such a file is a zip archive: a pickle, and the bytes of each tensor. The pickle is read here with
stand-ins for every class and function that it names, so that nothing of it is ever called.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from detectors.errors import DetectorError

PICKLE_BYTES = 2**22
"""Bytes of a pickle, and of the archive's directory, at most: those of ultralytics' own models have
under half a million."""

CLASSES = 1_000
"""Classes and functions that a pickle may name at most."""

MODULES = 20_000
"""Modules of a model at most, and how often its pickle may show one."""

DEPTH = 40
"""Levels at most to which modules, or lists and dictionaries in a configuration, are nested."""

VALUES = 20_000
"""Values in a model's configuration at most."""

TEXT_LENGTH = 500
"""Characters of a text in a model's configuration at most."""

STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""A class of storages in a pickle -> the data type of its tensors."""


class CheckpointError(DetectorError):
    """Why a checkpoint is not taken: the reason alone, without its path."""


DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a file that is no checkpoint, or a damaged one, raises."""


@dataclass(frozen=True, eq=False)
class YoloCheckpoint:
    """The model in a checkpoint, as plain data.

    kind: the name of the model's class. config: its yaml, in plain lists, dictionaries, texts and
    numbers. names: class number -> name. tensors: parameters and buffers by their dotted names.
    layers: the model, under "", and all its modules by their dotted names.
    """

    kind: str
    config: dict[str, Any]
    names: dict[int, str]
    tensors: Mapping[str, Any]
    layers: Mapping[str, Layer]


def read_checkpoint(path: Path) -> YoloCheckpoint:
    """Read a .pt that ultralytics saved. Runs nothing in it, and takes memory for its size alone.

    Raises CheckpointError for a file that is damaged, too large, of another
    kind, or that holds more than a model's data.
    """
    try:
        model = _find_model(_read_pickle(path))
        config, names = _plain_copy(model.get("yaml")), _plain_copy(model.get("names"))
        names = dict(enumerate(names)) if isinstance(names, list) else names
        if not isinstance(config, dict) or not isinstance(names, dict):
            raise CheckpointError("it has no yaml or no class names")
        layers = dict(_walk_layers(model))
        tensors = dict(_collect_tensors(layers))
        if sum(tensor.numel() for tensor in tensors.values()) > path.stat().st_size:
            raise CheckpointError("it has more values than bytes")
        return YoloCheckpoint(
            kind=model.kind,
            config=config,
            names={int(number): str(name) for number, name in names.items()},
            tensors=tensors,
            layers=layers,
        )
    except RecursionError as error:
        raise CheckpointError("it is nested too deeply") from error
    except DAMAGE as error:
        raise CheckpointError(f"it is damaged or no checkpoint ({error})") from error


_NOTHING: dict[Any, Any] = {}


class Layer:
    """Stands for an object of any class that a pickle names: it keeps its attributes as data."""

    __slots__ = ("attributes",)

    kind = ""
    attributes: dict[Any, Any]

    def __new__(cls, *args: object, **kwargs: object) -> Layer:
        made = object.__new__(cls)
        made.attributes = _NOTHING
        return made

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Does nothing: the arguments of the class are not used."""

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default."""
        return self.attributes.get(name, default)

    def items(self) -> Iterator[tuple[str, Any]]:
        """The attributes that have a text for a name."""
        return ((name, value) for name, value in self.attributes.items() if isinstance(name, str))


_PythonUnpickler: Any = pickle._Unpickler


class _Unpickler(_PythonUnpickler):  # type: ignore[misc]
    """Gives a stand-in for everything that a pickle names, but for tensors and dictionaries.

    By Python's own implementation, as the one in C allocates as much memory as a pickle asks for.
    It takes the operations of protocol 2, in which torch writes, and checks what goes into a
    dictionary or an object.
    """

    dispatch: ClassVar = {
        ord(operation.code): _PythonUnpickler.dispatch[ord(operation.code)]
        for operation in pickletools.opcodes
        if operation.proto <= 2 and operation.name != "DICT"
    }

    def __init__(self, data: bytes, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(data))
        self._archive = archive
        self._root = root
        self._named: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _empty_dict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        self._storages: dict[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._named:
            if len(self._named) > CLASSES:
                raise pickle.UnpicklingError(f"it names more than {CLASSES} classes")
            own = {"kind": name.rpartition(".")[2], "__slots__": ()}
            self._named[module, name] = type("Layer", (Layer,), own)
        return self._named[module, name]

    def persistent_load(self, pid: Any) -> Any:
        import torch

        _, kind, key, _, _ = pid
        if not (isinstance(kind, type) and issubclass(kind, Layer) and isinstance(key, str)):
            raise pickle.UnpicklingError("it refers to something else than bytes of its own")
        if (kind.kind, key) not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            dtype = getattr(torch, STORAGES[kind.kind])
            storage = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self._storages[kind.kind, key] = storage
        return self._storages[kind.kind, key]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_build(self) -> None:
        state, owner = self.stack.pop(), self.stack[-1]
        if isinstance(owner, Layer):
            owner.attributes = state if isinstance(state, dict) else _NOTHING
        elif not isinstance(owner, dict):
            raise pickle.UnpicklingError(f"it sets attributes of a {type(owner).__name__}")

    def _set_items(self, items: list[Any]) -> None:
        """Takes only texts and small numbers as keys: hashing others can take long, or crash."""
        owner = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            small = isinstance(key, int) and abs(key) <= 2**40
            if not isinstance(owner, dict) or not (small or isinstance(key, str)):
                raise pickle.UnpicklingError("it has a dictionary with unusual keys")
            owner[key] = value

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build


def _empty_dict() -> dict[Any, Any]:  # no arguments, other than `dict`
    return {}


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_: object) -> Any:
    if not _is_tensor(storage) or math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor has more values than its storage, or none")
    return storage.as_strided(tuple(size), tuple(stride), offset)


class _ArchiveFile(io.FileIO):
    """Refuses a large directory before zipfile reads it, as each of its entries takes memory."""

    most = PICKLE_BYTES

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self.most:
            raise CheckpointError(f"its directory has {size} bytes")
        return super().read(size)


def _read_pickle(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise CheckpointError("it is no zip archive, as torch has written since version 1.6")
    with _ArchiveFile(path) as file, zipfile.ZipFile(file) as archive:
        file.most = path.stat().st_size
        members = archive.infolist()
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError("it is compressed, which torch's files are not")
        if len(pickles) != 1 or any(
            member.filename.endswith("/constants.pkl") for member in members
        ):
            raise CheckpointError("it is TorchScript, or not one checkpoint")
        if pickles[0].file_size > PICKLE_BYTES:
            raise CheckpointError(f"its pickle has {pickles[0].file_size} bytes")
        root = pickles[0].filename.removesuffix("data.pkl")
        return _Unpickler(archive.read(pickles[0]), archive, root).load()


def _find_model(data: Any) -> Layer:
    """The model of a checkpoint: its moving average where it has one."""
    if not isinstance(data, dict):
        raise CheckpointError("it holds no dictionary with a model")
    model = data.get("ema") or data.get("model")
    if not isinstance(model, Layer):
        raise CheckpointError("it holds no model")
    return model


def _walk_layers(model: Layer) -> Iterator[tuple[str, Layer]]:
    count = 0
    waiting: list[tuple[str, Layer, int]] = [("", model, 0)]
    while waiting:
        name, layer, depth = waiting.pop()
        count += 1
        if count > MODULES or depth > DEPTH:
            raise CheckpointError(f"it has more than {MODULES} modules, or nests them too deeply")
        yield name, layer
        for own, child in _named_entries(layer, "_modules"):
            if child is not None and not isinstance(child, Layer):
                raise CheckpointError(f"its module {name}.{own} is none")
            if child is not None:
                waiting.append((f"{name}.{own}".lstrip("."), child, depth + 1))


def _collect_tensors(layers: Mapping[str, Layer]) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers, by dotted name as in a state dict."""
    for prefix, layer in layers.items():
        for place in ("_parameters", "_buffers"):
            for name, value in _named_entries(layer, place):
                if _is_tensor(value):
                    yield f"{prefix}.{name}".lstrip("."), value


def _named_entries(module: Layer, place: str) -> Iterator[tuple[str, Any]]:
    held = module.get(place)
    for name, value in dict.items(held) if isinstance(held, dict) else ():
        if not isinstance(name, str):
            raise CheckpointError(f"{place} holds {name!r}")
        yield name, value


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _plain_copy(value: Any, *, depth: int = 0, budget: list[int] | None = None) -> Any:
    """A copy in plain types. Raises CheckpointError for other types, and for too many values."""
    budget = [VALUES] if budget is None else budget
    budget[0] -= 1
    if budget[0] < 0 or depth > DEPTH:
        raise CheckpointError("its configuration is too large")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and abs(value) <= 2**40 and math.isfinite(value):
        return value
    if isinstance(value, str) and len(value) <= TEXT_LENGTH:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain_copy(item, depth=depth + 1, budget=budget) for item in value]
    if isinstance(value, dict):
        return {
            _plain_copy(key, depth=depth + 1, budget=budget): _plain_copy(
                item, depth=depth + 1, budget=budget
            )
            for key, item in dict.items(value)
        }
    raise CheckpointError(f"its configuration holds a {type(value).__name__}")
