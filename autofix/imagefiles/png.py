"""PNG files chunk by chunk: what one says beside its pixels, and pixels of 16 bits.

Pillow hands the text chunks over as a dictionary, where of two with one key only the last is left,
does not hand over every colour chunk, and writes no colours of 16 bits.
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

Text = tuple[tuple[str, str], ...]
"""Keys and values of text chunks, in order."""

Colour = tuple[tuple[bytes, bytes], ...]
"""Names and data of the chunks that say what the colours mean."""

_COLOUR = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_TEXT_LIMIT_BYTES = 64 * 2**20
_LINES = 64


@dataclass(frozen=True)
class PngFacts:
    """What the header says, the texts in order, and the colour chunks as they are.

    `depth` is bits a channel; `grey` may have alpha.
    A text that came in an iTXt chunk is a Pillow `iTXt`: a string that knows its language.
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
    for kind, data in _chunks(stream):
        if kind == b"IHDR":
            depth, grey, interlaced = data[8], data[9] in (0, 4), data[12] == 1
        elif kind in _COLOUR:
            colour.append((kind, data))
        else:
            pair = _text(kind, data)
            if pair is None:
                unreadable += 1
            else:
                text.append(pair)
    return PngFacts(depth, grey, interlaced, tuple(text), tuple(colour), unreadable)


def png_info(text: Text, colour: Colour) -> PngInfo:
    """The chunks for Pillow to write: tEXt where Latin-1 can say it, otherwise iTXt.

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


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The chunks that matter here, up to the end chunk or the end of the file."""
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


def _text(kind: bytes, data: bytes) -> tuple[str, str] | None:
    """Key and value of a text chunk, or None where it is malformed."""
    key, separator, rest = data.partition(b"\0")
    if not key or not separator:
        return None
    name = key.decode("latin-1")
    try:
        if kind == b"tEXt":
            return name, rest.decode("latin-1")
        if kind == b"zTXt":
            return name, _inflated(rest[1:]).decode("latin-1")
        flag, rest = rest[0], rest[2:]
        language, translated, value = rest.split(b"\0", 2)
        value = _inflated(value) if flag else value
        return name, iTXt(value.decode(), language.decode(), translated.decode())
    except (ValueError, IndexError, zlib.error):
        return None


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _TEXT_LIMIT_BYTES)


def with_deep_pixels(png: bytes, values: NDArray[np.uint16]) -> bytes:
    """A PNG file with 16 bits a channel in place of its pixels, and all its other chunks.

    `values` are height x width x channels: grey, grey and alpha, RGB, or RGBA.
    """
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    written, at, done = [png[:8]], 8, False
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IDAT":
            if done:
                continue
            data, done = _deflated(values), True
        written.append(_chunk(kind, head if kind == b"IHDR" else data))
    return b"".join(written)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", checked)


def _deflated(values: NDArray[np.uint16]) -> bytes:
    """The lines of a picture, filtered and compressed, some at a time to save memory."""
    height, width, channels = values.shape
    packer = zlib.compressobj()
    packed = []
    above = np.zeros((1, width * channels * 2), np.uint8)
    for start in range(0, height, _LINES):
        band = values[start : start + _LINES].astype(">u2").view(np.uint8)
        lines = np.concatenate([above, band.reshape(len(band), -1)])
        packed.append(packer.compress(_filtered(lines, step=channels * 2)))
        above = lines[-1:]
    return b"".join([*packed, packer.flush()])


def _filtered(lines: NDArray[np.uint8], *, step: int) -> bytes:
    """All lines but the first, each less what PNG predicts of it: the pixel to the left, above, or
    Paeth's choice, by which leaves the least in sum, as libpng chooses. `step` is bytes a pixel.
    """
    now, up = lines[1:].astype(np.int16), lines[:-1].astype(np.int16)
    left, corner = np.zeros_like(now), np.zeros_like(now)
    left[:, step:], corner[:, step:] = now[:, :-step], up[:, :-step]
    by_left, by_up = np.abs(up - corner), np.abs(left - corner)
    by_corner = np.abs(left + up - 2 * corner)
    paeth = np.where((by_left <= by_up) & (by_left <= by_corner), left, corner)
    paeth = np.where((by_left > by_up) & (by_up <= by_corner), up, paeth)
    rests = np.stack([(now - guess).astype(np.uint8) for guess in (left, up, paeth)])
    costs = np.abs(rests.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = costs.argmin(axis=0)
    kinds = np.array([1, 2, 4], np.uint8)[best][:, None]
    return np.concatenate([kinds, rests[best, np.arange(len(best))]], axis=1).tobytes()
