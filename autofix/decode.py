"""An open picture file -> RGB pixels, and all that the file says beside them."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError, features

from autofix import exif
from autofix.pngchunks import XMP_KEY, PngFacts, read_facts
from autofix.values import MaskValues, Pixels, Source, read_only

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
"""Every kind of exception that Pillow raises on damaged files, and warnings turned into errors."""

TIFF_TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432, 40091, 40092, 40093, 40094, 40095)
"""The descriptive tags of a TIFF file that are kept, from ImageDescription to XPSubject."""

TIFF_DIRECTORIES = (0x8769, 0x8825)
"""The tags of a TIFF file that lead to its EXIF and GPS directories."""

_OPENED = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_RAW_PROFILE_KEY = "Raw profile type exif"
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>))([1-8])(?=["\'<])')


class Unreadable(Exception):  # noqa: N818
    """A file that is no picture for us: `problem` follows the file's name in a sentence."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels (height x width x 3), the way up they are meant to be seen, and their source."""

    pixels: Pixels
    source: Source


def optional_formats() -> tuple[str, ...]:
    """Those of WEBP and AVIF that this Pillow has."""
    return tuple(
        name.upper()
        for name in ("webp", "avif")
        if name in features.modules and features.check_module(name)
    )


def decode(stream: BinaryIO) -> Decoded:
    """The picture in a file that is open for reading and can be sought.

    16 bits a channel come as 8: grey ones rounded, coloured ones cut by Pillow. Alpha is kept
    apart, neither multiplied in nor composited. A turned picture is set upright, and its EXIF and
    XMP say so. Raises Unreadable for what we refuse, and one of PILLOW_ERRORS for damaged files.
    """
    stream.seek(0)
    if not stream.read(1):
        raise Unreadable("is empty", "delete it, or save the picture again")
    stream.seek(0)
    try:
        opened = Image.open(stream, formats=(*_OPENED, *optional_formats()))
    except UnidentifiedImageError:
        known = ", ".join(("PNG", "JPEG", *optional_formats(), "TIFF", "BMP"))
        raise Unreadable(
            f"is damaged, or not a picture of a known kind ({known})",
            "leave it out, or save it again as PNG",
        ) from None
    with opened as image:
        _refuse(image)
        image.load()
        facts = read_facts(stream) if image.format == "PNG" else None
        source, turn = _source(image, facts)
        if image.format == "WEBP":
            source = replace(source, save={"lossless": _webp_is_lossless(stream)})
        pixels, alpha, notes = _pixels(image, facts)
    if alpha is not None:
        source = replace(source, alpha=read_only(_turned(alpha, turn)))
    return Decoded(read_only(_turned(pixels, turn)), replace(source, notes=source.notes + notes))


def _refuse(image: Image.Image) -> None:
    if image.format == "GIF":
        raise Unreadable("is a GIF, which cannot be written as it was", "convert it to PNG")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise Unreadable(
            f"is animated or has several pages ({frames} pictures)",
            "save its pictures one by one, as PNG for example",
        )
    if image.mode == "F":
        raise Unreadable(
            "holds floating-point values, whose range is not known", "convert it to 8 or 16 bits"
        )


def _source(image: Image.Image, facts: PngFacts | None) -> tuple[Source, int]:
    """What the file says, and the orientation its pixels still have to be turned by."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    text = facts.text if facts else ()
    xmp = dict(text).get(XMP_KEY) if facts else image.info.get("xmp")
    block = _exif(image, text)
    xmp, turn, block = _orientation(xmp.encode() if isinstance(xmp, str) else xmp, block)
    if image.format == "TIFF":
        turn = 1  # Pillow has turned it while loading
    moved = (XMP_KEY,) if turn == 1 else (XMP_KEY, _RAW_PROFILE_KEY)
    icc = image.info.get("icc_profile")
    source = Source(
        format=kind,
        mode=image.mode,
        icc=icc if isinstance(icc, bytes) and icc else None,
        exif=block,
        xmp=xmp,
        dpi=_dpi(image.info.get("dpi")),
        text=tuple(pair for pair in text if pair[0] not in moved),
        save=_save(image, facts),
        notes=_notes(image, facts),
    )
    return source, turn


def _orientation(xmp: bytes | None, block: bytes | None) -> tuple[bytes | None, int, bytes | None]:
    """XMP and EXIF saying that the picture is upright, and how it was turned before, 1 to 8."""
    turn = exif.orientation(block) if block else None
    said = _XMP_ORIENTATION.search(xmp) if xmp else None
    if turn is None and said:
        turn = int(said[2])
    if xmp:
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return xmp, turn or 1, exif.upright(block) if block else None


def _exif(image: Image.Image, text: tuple[tuple[str, str], ...]) -> bytes | None:
    """The EXIF block, from wherever this format keeps it, normalised; or None."""
    if image.format == "TIFF":
        return _tiff_exif(image)
    block = image.info.get("exif")
    if not block and (raw := dict(text).get(_RAW_PROFILE_KEY)):
        try:
            block = bytes.fromhex("".join(raw.split("\n")[3:]))
        except ValueError:
            return None
    return exif.normalised(block) if isinstance(block, bytes) and block else None


def _tiff_exif(image: Image.Image) -> bytes | None:
    """The descriptive tags and the EXIF and GPS directories of a TIFF file, as an EXIF block."""
    kept = Image.Exif()
    try:
        found = image.getexif()
        for tag in TIFF_TEXT_TAGS:
            if tag in found:
                value = found[tag]
                kept[tag] = value.encode("latin-1") if isinstance(value, str) else value
        for tag in TIFF_DIRECTORIES:
            if directory := found.get_ifd(tag):
                kept[tag] = dict(directory)
        return exif.normalised(kept.tobytes()) if len(kept) else None
    except PILLOW_ERRORS:
        return None


def _dpi(value: object) -> tuple[float, float] | None:
    """Dots per inch, across and down; None where unknown or (1, 1), which TIFF says for unknown."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    try:
        across, down = float(value[0]), float(value[1])
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (isfinite(across) and isfinite(down)) or min(across, down) <= 1:
        return None
    return across, down


def _save(image: Image.Image, facts: PngFacts | None) -> Mapping[str, object]:
    """The encoder options that reproduce the file's kind, by the names that encode.py knows."""
    if facts:
        return {"colour": facts.colour}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        return {
            "qtables": {index: list(table) for index, table in image.quantization.items()},
            "subsampling": max(sampling, 0),  # what Pillow cannot write becomes 4:4:4
            "progressive": bool(image.info.get("progressive")),
            "keep_rgb": image.info.get("adobe_transform") == 0 and image.mode == "RGB",
            "comment": image.info.get("comment", b""),
        }
    if image.format == "TIFF":
        return {"compression": image.info.get("compression", "raw")}
    return {}


def _webp_is_lossless(stream: BinaryIO) -> bool:
    """Whether the picture is in a VP8L chunk, which is the lossless kind."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        stream.seek(length + length % 2, 1)
    return False


def _notes(image: Image.Image, facts: PngFacts | None) -> tuple[str, ...]:
    notes = []
    if facts and facts.depth == 16 and image.mode not in _SIXTEEN_BIT:
        notes.append("16 bits a channel became 8")
    if facts and facts.interlaced:
        notes.append("it is written without interlacing")
    if facts and facts.unreadable_texts:
        notes.append("a text chunk that cannot be read was left out")
    if image.format == "MPO":
        notes.append("only the first of its pictures was taken")
    return tuple(notes)


def _pixels(
    image: Image.Image, facts: PngFacts | None
) -> tuple[Pixels, MaskValues | None, tuple[str, ...]]:
    """RGB, alpha or None, and what was lost on the way."""
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen(image)
    if facts and facts.depth == 16 and "transparency" in image.info:
        del image.info["transparency"]  # in 16 bits; the pixels have only 8 left
        return np.asarray(image.convert("RGB")), None, ("its transparent colour was left out",)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3], ()
    notes = ("CMYK became RGB",) if image.mode == "CMYK" else ()
    return np.asarray(image.convert("RGB")), None, notes


def _from_sixteen(image: Image.Image) -> tuple[Pixels, MaskValues | None, tuple[str, ...]]:
    """Grey of 0 to 65535 as grey of 0 to 255, rounded."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(
            f"holds values from {values.min()} to {values.max()}", "convert it to 8 or 16 bits"
        )
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    alpha = None
    if isinstance(clear := image.info.get("transparency"), int):
        alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), alpha, ("16 bits a channel became 8",)


def _turned(values: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Rows and columns brought upright from one of the eight EXIF orientations."""
    if orientation in (2, 5, 7):
        values = values[:, ::-1]
    if orientation == 4:
        values = values[::-1]
    quarter_turns = {3: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(values, quarter_turns)
