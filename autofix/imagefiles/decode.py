"""An open picture file -> RGB pixels and the file's metadata."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, replace
from math import isfinite
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, features

from autofix.imagefiles import exif
from autofix.imagefiles.png import XMP_KEY, PngFacts, read_facts
from autofix.imagefiles.save_options import save_options
from autofix.imagefiles.sixteen_bit import Deep, read_deep, to_eight
from autofix.imagefiles.tiff import DIRECTORIES
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

Values = TypeVar("Values", np.uint8, np.uint16)

_BITS = 258
_OPENED = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_RAW_PROFILE_KEY = "Raw profile type exif"
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>))([1-8])(?=["\'<])')


class Unreadable(Exception):  # noqa: N818
    """A file that is refused: `problem` follows the file's name in a sentence."""

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
    """The formats of WEBP and AVIF that this Pillow supports."""
    return tuple(
        name.upper()
        for name in ("webp", "avif")
        if name in features.modules and features.check_module(name)
    )


def decode(stream: BinaryIO) -> Decoded:
    """The picture in a file that is open for reading and can be sought.

    16 bits a channel come as 8, rounded, and beside them as they are. Alpha is kept apart, neither
    multiplied in nor composited. CMYK becomes RGB, by Pillow's plain formula. A turned picture is
    set upright, and so is the orientation in its EXIF and XMP. Raises Unreadable for a file that is
    refused, and one of PILLOW_ERRORS for a damaged one.
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
    except Image.DecompressionBombError:
        raise Unreadable(
            f"has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels that are allowed",
            "make it smaller, or cut it into parts",
        ) from None
    with opened as image:
        _refuse_size(image)
        image.load()
        facts = read_facts(stream) if image.format == "PNG" else None
        source, turn = _read_source(image, stream, facts)
        if (deep := _deep_values(image, facts, stream)) is not None:
            deep = np.ascontiguousarray(_turn_upright(deep, turn))
            deep.flags.writeable = False
            return _of_sixteen(deep, source)
        pixels, alpha, notes = _rgb_pixels(image, facts)
    if alpha is not None:
        source = replace(source, alpha=read_only(_turn_upright(alpha, turn)))
    return Decoded(
        read_only(_turn_upright(pixels, turn)), replace(source, notes=source.notes + notes)
    )


def _refuse_size(image: Image.Image) -> None:
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


def _read_source(
    image: Image.Image, stream: BinaryIO, facts: PngFacts | None
) -> tuple[Source, int]:
    """The file's metadata, and the EXIF orientation that its pixels are still in."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    text = facts.text if facts else ()
    xmp = dict(text).get(XMP_KEY) if facts else image.info.get("xmp")
    block = _read_exif(image, text)
    xmp, turn, block = _read_orientation(xmp.encode() if isinstance(xmp, str) else xmp, block)
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
        dpi=read_dpi(image.info.get("dpi")),
        text=tuple(pair for pair in text if pair[0] not in moved),
        save=save_options(image, stream, facts),
        notes=_lost_notes(image, facts),
    )
    return source, turn


def _read_orientation(
    xmp: bytes | None, block: bytes | None
) -> tuple[bytes | None, int, bytes | None]:
    """XMP set upright, the orientation that was stored (1 to 8), and EXIF set upright."""
    turn = exif.read_orientation(block) if block else None
    match = _XMP_ORIENTATION.search(xmp) if xmp else None
    if turn is None and match:
        turn = int(match[2])
    if xmp:
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return xmp, turn or 1, exif.set_upright(block) if block else None


def _read_exif(image: Image.Image, text: tuple[tuple[str, str], ...]) -> bytes | None:
    """The EXIF block, from wherever this format keeps it, normalised; or None."""
    if image.format == "TIFF":
        return _tiff_exif(image)
    block = image.info.get("exif")
    if not block and (raw := dict(text).get(_RAW_PROFILE_KEY)):
        try:
            block = bytes.fromhex("".join(raw.split("\n")[3:]))
        except ValueError:
            return None
    return exif.normalise(block) if isinstance(block, bytes) and block else None


def _tiff_exif(image: Image.Image) -> bytes | None:
    """The descriptive tags and the EXIF and GPS directories of a TIFF file, as an EXIF block."""
    kept = Image.Exif()
    try:
        found = image.getexif()
        for tag in TIFF_TEXT_TAGS:
            if tag in found:
                value = found[tag]
                kept[tag] = value.encode("latin-1") if isinstance(value, str) else value
        for tag in DIRECTORIES:
            if directory := found.get_ifd(tag):
                kept[tag] = dict(directory)
        return exif.normalise(kept.tobytes()) if len(kept) else None
    except PILLOW_ERRORS:
        return None


def read_dpi(value: object) -> tuple[float, float] | None:
    """Dots per inch, across and down; None where unknown. In TIFF (1, 1) stands for unknown."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    try:
        across, down = float(value[0]), float(value[1])
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (isfinite(across) and isfinite(down)) or min(across, down) <= 1:
        return None
    return across, down


def _lost_notes(image: Image.Image, facts: PngFacts | None) -> tuple[str, ...]:
    notes = []
    if facts and facts.interlaced:
        notes.append("it is written without interlacing")
    if facts and facts.unreadable_texts:
        notes.append("a text chunk that cannot be read was left out")
    if image.format == "MPO":
        notes.append("only the first of its pictures was taken")
    return tuple(notes)


def _rgb_pixels(
    image: Image.Image, facts: PngFacts | None
) -> tuple[Pixels, MaskValues | None, tuple[str, ...]]:
    """RGB, alpha or None, and notes on what was lost."""
    if _is_sixteen(image, facts):  # OpenCV did not read it, and Pillow cut it to 8 bits
        image.info.pop("transparency", None)  # a value of 16 bits
        notes: tuple[str, ...] = ("16 bits a channel became 8",)
    else:
        notes = ("CMYK became RGB",) if image.mode == "CMYK" else ()
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3], notes
    return np.asarray(image.convert("RGB")), None, notes


def _is_sixteen(image: Image.Image, facts: PngFacts | None) -> bool:
    """Whether a PNG or TIFF file has 16 bits a channel."""
    if image.mode in _SIXTEEN_BIT or (facts and facts.depth == 16):
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return set(image.tag_v2.get(_BITS, ())) == {16}
    return False


def _deep_values(image: Image.Image, facts: PngFacts | None, stream: BinaryIO) -> Deep | None:
    """The pixels of a file of 16 bits a channel, not turned upright; None for other files.

    Integers of 32 bits are taken where their values fit into 16.
    """
    if not _is_sixteen(image, facts):
        return None
    if image.mode not in _SIXTEEN_BIT:
        stream.seek(0)
        values = read_deep(stream.read(), np.asarray(image))
        if values is not None and image.format == "TIFF":
            values = values[..., : len(image.getbands())]  # a fourth channel may mean nothing
        return values[..., ::3] if values is not None and facts and facts.grey else values
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise Unreadable(
            f"holds values from {grey.min()} to {grey.max()}", "convert it to 8 or 16 bits"
        )
    channels = [grey]
    if isinstance(clear := image.info.get("transparency"), int):
        channels.append(np.where(grey == clear, 0, 65535))
    return np.stack(channels, axis=-1).astype(np.uint16)


def _of_sixteen(deep: Deep, source: Source) -> Decoded:
    eight = to_eight(deep)
    alpha = read_only(eight[..., -1]) if deep.shape[2] in (2, 4) else None
    pixels = np.repeat(eight[..., :1], 3, axis=2) if deep.shape[2] < 3 else eight[..., :3]
    mode = "LA" if deep.shape[2] == 2 and source.mode == "RGBA" else source.mode
    return Decoded(read_only(pixels), replace(source, mode=mode, alpha=alpha, deep=deep))


def _turn_upright(values: NDArray[Values], orientation: int) -> NDArray[Values]:
    """Pixels turned upright from one of the eight EXIF orientations."""
    if orientation in (2, 5, 7):
        values = values[:, ::-1]
    if orientation == 4:
        values = values[::-1]
    quarter_turns = {3: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(values, quarter_turns)
