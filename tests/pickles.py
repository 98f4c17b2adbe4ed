"""Pickles put together by hand, as an attacker would, in torch's zip archive."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path


def named(module: str, name: str) -> bytes:
    """A class or function, by its name alone."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dict_of(**items: bytes) -> bytes:
    return b"}" + b"".join(text(key) + value + b"s" for key, value in items.items())


def called(function: bytes, *arguments: bytes) -> bytes:
    """What a function gives, when this is unpickled as usual."""
    return function + tuple_of(*arguments) + b"R"


def built(item: bytes, state: bytes) -> bytes:
    """An object whose attributes are set."""
    return item + state + b"b"


def write_checkpoint(path: Path, pickled: bytes, *, storages: dict[str, bytes] | None = None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("archive/version", "3\n")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path
