"""The few EXIF entries that autofix reads and sets.

An EXIF block is what JPEG files carry: "Exif" and two zero bytes, then a TIFF header and
directories. `normalise` brings a block to that form, which the other functions expect. Reading
never raises on a malformed block: an entry that cannot be read counts as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

PREFIX = b"Exif\0\0"
"""The first bytes of a block."""

_DESCRIPTION = 0x010E
_ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_USER_COMMENT = 0x9286
_NUMBERS = {1: "B", 3: "H", 4: "I"}
_COMMENT_KINDS = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: one byte a value


@dataclass(frozen=True)
class _Entry:
    """A directory entry: its type, how many values, and where its four value bytes are."""

    kind: int
    count: int
    at: int


def normalise(block: bytes) -> bytes:
    """The block with its prefix exactly once."""
    while block.startswith(PREFIX):
        block = block[len(PREFIX) :]
    return PREFIX + block


def read_orientation(block: bytes) -> int | None:
    """The orientation in a normalised block, 1 to 8, or None."""
    place = _orientation_at(block)
    if place is None:
        return None
    (value,) = struct.unpack_from(place[1], block, place[0])
    return value if 1 <= value <= 8 else None


def set_upright(block: bytes) -> bytes:
    """A normalised block with its orientation, if any, set to 1; all else unchanged."""
    place = _orientation_at(block)
    if place is None:
        return block
    changed = bytearray(block)
    struct.pack_into(place[1], changed, place[0], 1)
    return bytes(changed)


def user_comment(block: bytes) -> bytes | None:
    """The raw bytes of the user comment of a normalised block, or None."""
    order = _byte_order(block)
    pointer = _find_tag(block, _first_directory(block), _EXIF_DIRECTORY)
    if order is None or pointer is None or pointer.kind != 4:
        return None
    (inner,) = struct.unpack_from(order + "I", block, pointer.at)
    entry = _find_tag(block, inner, _USER_COMMENT)
    if entry is None or entry.kind not in _COMMENT_KINDS:
        return None
    start = entry.at
    if entry.count > 4:
        start = len(PREFIX) + int(struct.unpack_from(order + "I", block, entry.at)[0])
    comment = block[start : start + entry.count]
    return comment if len(comment) == entry.count else None


def for_pillow(block: bytes | None) -> Image.Exif:
    """The block as Pillow's Exif, with bytes for strings: Pillow writes only ASCII strings.

    Raises one of decode.PILLOW_ERRORS for a malformed block.
    """
    loaded = Image.Exif()
    loaded.load(block or b"")
    for tag in list(loaded):
        if isinstance(value := loaded[tag], str):
            loaded[tag] = value.encode("latin-1", "replace")
    return loaded


def with_text(block: bytes | None, *, comment: str | None, described: Mapping[str, str]) -> bytes:
    """The block, rewritten by Pillow, with a user comment and "key: value" lines of description.

    A line of the same key is replaced. Raises one of decode.PILLOW_ERRORS for a malformed block.
    """
    loaded = for_pillow(block)
    old = loaded.get(_DESCRIPTION, b"")
    lines = old.split(b"\n") if isinstance(old, bytes) and old else []
    for key, value in described.items():
        head = f"{key}: ".encode()
        lines = [line for line in lines if not line.startswith(head)] + [head + value.encode()]
    if lines:
        loaded[_DESCRIPTION] = b"\n".join(lines)
    if comment is not None:
        directory = dict(loaded.get_ifd(_EXIF_DIRECTORY))
        directory[_USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be")
        loaded[_EXIF_DIRECTORY] = directory
    return bytes(loaded.tobytes())


def read_description(block: bytes) -> dict[str, str]:
    """The "key: value" lines of the description, by key, as `with_text` writes them.

    Raises one of decode.PILLOW_ERRORS for a malformed block.
    """
    text = for_pillow(block).get(_DESCRIPTION, b"")
    lines = text.decode("utf-8", "replace").split("\n") if isinstance(text, bytes) else []
    pairs = (line.partition(": ") for line in lines)
    return {key: value for key, colon, value in pairs if colon}


def _orientation_at(block: bytes) -> tuple[int, str] | None:
    """Where the orientation's value is, and its struct format."""
    order = _byte_order(block)
    entry = _find_tag(block, _first_directory(block), _ORIENTATION)
    if order is None or entry is None or entry.kind not in _NUMBERS or entry.count != 1:
        return None
    return entry.at, order + _NUMBERS[entry.kind]


def _byte_order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[len(PREFIX) : len(PREFIX) + 4])


def _first_directory(block: bytes) -> int:
    """Where the first directory is, from the TIFF header; the end of the block where unknown."""
    order = _byte_order(block)
    if order is None or len(block) < len(PREFIX) + 8:
        return len(block)
    return int(struct.unpack_from(order + "I", block, len(PREFIX) + 4)[0])


def _find_tag(block: bytes, directory: int, tag: int) -> _Entry | None:
    """A tag's entry in the directory at this offset from the TIFF header."""
    order = _byte_order(block)
    start = len(PREFIX) + directory
    if order is None or start + 2 > len(block):
        return None
    (count,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        found, kind, values = struct.unpack_from(order + "HHI", block, at)
        if found == tag:
            return _Entry(kind, values, at + 8)
    return None
