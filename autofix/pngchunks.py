"""What a PNG file says beside its pixels, read chunk by chunk.

Pillow hands the text chunks over as a dictionary, where of two with one key only the last is left,
and does not hand over every colour chunk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

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


@dataclass(frozen=True)
class PngFacts:
    """Bits a channel, whether interlaced, the texts in order, and the colour chunks as they are.

    A text that came in an iTXt chunk is a Pillow `iTXt`: a string that knows its language.
    """

    depth: int
    interlaced: bool
    text: Text
    colour: Colour
    unreadable_texts: int


def read_facts(stream: BinaryIO) -> PngFacts:
    """The facts of a PNG file that Pillow could read. Raises struct.error where it is cut short."""
    depth, interlaced, unreadable = 8, False, 0
    text: list[tuple[str, str]] = []
    colour: list[tuple[bytes, bytes]] = []
    for kind, data in _chunks(stream):
        if kind == b"IHDR":
            depth, interlaced = data[8], data[12] == 1
        elif kind in _COLOUR:
            colour.append((kind, data))
        else:
            pair = _text(kind, data)
            if pair is None:
                unreadable += 1
            else:
                text.append(pair)
    return PngFacts(depth, interlaced, tuple(text), tuple(colour), unreadable)


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
