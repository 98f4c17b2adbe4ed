"""PNG files chunk by chunk: texts, colour chunks, and pixels of 16 bits.

Pillow gives the text chunks as a dictionary, which keeps only the last of two with one key, does
not give every colour chunk, and writes no RGB of 16 bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo, iTXt

XMP_KEY = "XML:com.adobe.xmp"
"""The key of the text that holds XMP."""

PARAMETERS_KEY = "parameters"
"""The key of the text that holds A1111's infotext."""

RECORD_KEY = "autofix"
"""The key of the text, or of the infotext in EXIF, that holds our record as JSON."""

Text = tuple[tuple[str, str], ...]
"""Keys and values of text chunks, in order."""

Colour = tuple[tuple[bytes, bytes], ...]
"""Names and data of the chunks that define the colour space."""

DEEP_PNG_LEVEL = 6
"""zlib's level for 16 bits. OpenCV's default is four times as fast, but makes files of smooth
pictures 25 times as large."""

_COLOUR = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_TEXT_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PngFacts:
    """A PNG file's header, its texts in order, and its colour chunks unchanged.

    `depth` is bits a channel; `grey` may have alpha. A text from an iTXt chunk is a Pillow `iTXt`,
    a string with its language.
    """

    depth: int
    grey: bool
    interlaced: bool
    text: Text
    colour: Colour
    unreadable_texts: int


def read_facts(stream: BinaryIO) -> PngFacts:
    """The facts of a PNG file that Pillow could read. Raises struct.error where it is cut short."""
    depth, grey, interlaced, unreadable = 8, False, False, 0
    text: list[tuple[str, str]] = []
    colour: list[tuple[bytes, bytes]] = []
    for kind, data in _read_chunks(stream):
        if kind == b"IHDR":
            depth, grey, interlaced = data[8], data[9] in (0, 4), data[12] == 1
        elif kind in _COLOUR:
            colour.append((kind, data))
        else:
            pair = _parse_text(kind, data)
            if pair is None:
                unreadable += 1
            else:
                text.append(pair)
    return PngFacts(depth, grey, interlaced, tuple(text), tuple(colour), unreadable)


def png_info(text: Text, colour: Colour) -> PngInfo:
    """The chunks for Pillow to write: tEXt for a text in Latin-1, otherwise iTXt.

    Raises ValueError for a key that is not Latin-1 of 1 to 79 characters, or a text that is not
    valid Unicode.
    """
    info = PngInfo()
    for kind, data in colour:
        info.add(kind, data)
    for key, value in text:
        if not 1 <= len(key) <= 79 or "\0" in key:
            raise ValueError(f"a text's key must be of 1 to 79 characters, but got {key!r}")
        if isinstance(value, iTXt) or "\0" not in value:
            info.add_text(key, value)
        else:
            info.add_itxt(key, value)
    return info


def _read_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The header, colour and text chunks, up to the end chunk or the end of the file."""
    stream.seek(8)
    wanted = (b"IHDR", *_COLOUR, *_TEXT)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind in wanted:
            yield kind, stream.read(length)
            stream.seek(4, 1)
        else:
            stream.seek(length + 4, 1)


def _parse_text(kind: bytes, data: bytes) -> tuple[str, str] | None:
    """Key and value of a text chunk, or None where it is malformed."""
    key, separator, rest = data.partition(b"\0")
    if not key or not separator:
        return None
    name = key.decode("latin-1")
    try:
        if kind == b"tEXt":
            return name, rest.decode("latin-1")
        if kind == b"zTXt":
            return name, _inflate(rest[1:]).decode("latin-1")
        flag, rest = rest[0], rest[2:]
        language, translated, value = rest.split(b"\0", 2)
        value = _inflate(value) if flag else value
        return name, iTXt(value.decode(), language.decode(), translated.decode())
    except (ValueError, IndexError, zlib.error):
        return None


def _inflate(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _TEXT_LIMIT_BYTES)


def with_deep_pixels(png: bytes, values: NDArray[np.uint16]) -> bytes:
    """A PNG file with 16 bits a channel in place of its pixels, and all its other chunks.

    `values` are height x width x channels: grey, RGB or RGBA.
    """
    import cv2  # not at the top: `import autofix` must not load it

    swapped = values[..., [2, 1, 0, 3][: values.shape[2]]] if values.shape[2] > 1 else values
    written, deep = cv2.imencode(".png", swapped, [cv2.IMWRITE_PNG_COMPRESSION, DEEP_PNG_LEVEL])
    if not written:
        raise ValueError("OpenCV cannot write it")
    pixels = b"".join(chunk for kind, chunk in _raw_chunks(bytes(deep)) if kind == b"IDAT")
    head = next(chunk for kind, chunk in _raw_chunks(bytes(deep)) if kind == b"IHDR")
    chunks = [png[:8]]
    for kind, chunk in _raw_chunks(png):
        if kind == b"IHDR":
            chunk = head
        elif kind == b"IDAT":
            chunk, pixels = pixels, b""
        chunks.append(chunk)
    return b"".join(chunks)


def _raw_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind of each chunk, and all its bytes with length and checksum."""
    at = 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at : at + 12 + length]
        at += 12 + length
