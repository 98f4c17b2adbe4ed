"""A picture -> the bytes of a file, as close to its source file as the format allows.

PNG, TIFF, BMP and lossless WebP give back every pixel and all of alpha. Lossy WebP and AVIF give
back all of alpha.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import iTXt

from autofix.imagefiles import exif
from autofix.imagefiles.png import (
    PARAMETERS_KEY,
    RECORD_KEY,
    XMP_KEY,
    Colour,
    Text,
    png_info,
    with_deep_pixels,
)
from autofix.imagefiles.sixteen_bit import Deep, carry_over
from autofix.imagefiles.tiff import DIRECTORIES, alpha_tags, deep_tiff, with_tags
from autofix.values import Picture, Source

JPEG_QUALITY = 95
"""Quality of a JPEG whose source is none, with 4:4:4 colour. Else the source's tables are used."""

WEBP_QUALITY = 95
"""Quality of lossy WebP: high, since the source file does not state its own."""

AVIF_QUALITY = 90
"""Quality of AVIF, as WEBP_QUALITY, with 4:4:4 colour."""

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N", "I")
PNG_LEVEL = 4
"""A third of the time of zlib's usual 6, for files 2 to 4 % larger (measured on samples/)."""

_BILEVEL_FORMATS = ("PNG", "TIFF", "BMP")
_BILEVEL_TIFF = ("group3", "group4", "tiff_ccitt")
_LOSSLESS_TIFF = (
    "raw",
    "packbits",
    "tiff_lzw",
    "tiff_adobe_deflate",
    "tiff_deflate",
    "lzma",
    "zstd",
)
_TIFF_XMP = 700
_TIFF_ICC = 34675
_TIFF_RESOLUTION = (282, 283, 296)
"""The tags of the resolution across, down, and of its unit."""

_TIFF_INCH = 2
"""The unit of dots per inch."""

_DEEP_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_INCHES_PER_METRE = 39.3701

Options = dict[str, Any]


def format_of(path: PurePath, *, otherwise: str) -> str:
    """The format that a file's suffix stands for, in Pillow's words."""
    return _FORMATS.get(path.suffix.lower(), otherwise)


def encode(picture: Picture, kind: str, *, extra_text: Sequence[tuple[str, str]] = ()) -> bytes:
    """The picture as a file of one of the formats of `format_of`; the same bytes every time.

    A grey picture stays grey if its pixels still are, a black and white one likewise; a picture
    with a palette keeps one while 256 colours suffice, else it becomes RGB or RGBA. 16 bits a
    channel stay 16 in PNG and TIFF; see `sixteen_bit.carry_over`. PNG replaces a text whose key
    `extra_text` repeats and appends the others. The other formats put "parameters" in the EXIF user
    comment and other texts, as "key: value" lines, in the EXIF description; BMP holds no text.
    Raises ValueError for what the format cannot hold, or one of decode.PILLOW_ERRORS.
    """
    source = _with_texts(picture.source, kind, extra_text)
    if source.deep is not None and kind in ("PNG", "TIFF"):
        return _encode_deep(carry_over(source.deep, picture.pixels), source, kind)
    image = _leanest_image(picture, kind)
    if kind == "BMP" and image.mode == "RGBA":
        return _bmp_with_alpha(np.asarray(image), source.dpi)
    data = _save_image(image, source, kind)
    return with_tags(data, _tiff_tags(source, image.mode)) if kind == "TIFF" else data


def _save_image(image: Image.Image, source: Source, kind: str) -> bytes:
    options = _OPTIONS[kind](source, image.mode)
    if kind in ("PNG", "JPEG", "BMP") and source.dpi:
        options["dpi"] = source.dpi
    if kind not in ("BMP", "TIFF") and (icc := _icc_profile(source.icc, image.mode)):
        options["icc_profile"] = icc
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _encode_deep(values: Deep, source: Source, kind: str) -> bytes:
    """A file of 16 bits a channel.

    OpenCV writes no grey with alpha: it becomes RGB with alpha, without a grey profile.
    """
    if values.shape[2] == 2:
        values = values[..., [0, 0, 0, 1]]
    if kind == "TIFF":
        tags = _tiff_tags(source, _DEEP_MODES[values.shape[2]])
        data = deep_tiff(values, str(source.save.get("compression")))
        return with_tags(data, tags | alpha_tags(values.shape[2]))
    frame = Image.new(_DEEP_MODES[values.shape[2]], (1, 1))
    return with_deep_pixels(_save_image(frame, source, kind), values)


def _leanest_image(picture: Picture, kind: str) -> Image.Image:
    """The picture in the smallest mode that holds all of it."""
    pixels, source = picture.pixels, picture.source
    grey = source.mode in _GREY_MODES and bool((pixels == pixels[..., :1]).all())
    colour = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if grey else pixels)
    if source.mode in ("P", "PA") and (few := _to_palette(pixels, source.alpha, kind)):
        return few
    if source.alpha is not None:
        return _with_alpha(colour, source.alpha, kind)
    if grey and source.mode == "1" and kind in _BILEVEL_FORMATS:
        first = pixels[..., 0]
        if bool(((first == 0) | (first == 255)).all()):
            return colour.convert("1", dither=Image.Dither.NONE)
    return colour


def _to_palette(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, kind: str
) -> Image.Image | None:
    """The picture with a palette, colours sorted; None for too many colours or such a format."""
    if kind not in ("PNG", "TIFF", "BMP") or (alpha is not None and kind != "PNG"):
        return None
    opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
    each = np.dstack([pixels, opaque]).view(">u4")[..., 0]
    colours, places = np.unique(each, return_inverse=True)
    if len(colours) > 256:
        return None
    image = Image.fromarray(places.reshape(each.shape).astype(np.uint8))
    entries = colours.astype(">u4").view(np.uint8).reshape(-1, 4)
    image.putpalette(entries[:, :3].tobytes(), "RGB")
    if alpha is not None:
        image.info["transparency"] = entries[:, 3].tobytes()
    return image


def _with_alpha(colour: Image.Image, alpha: NDArray[np.uint8], kind: str) -> Image.Image:
    if alpha.shape != (colour.height, colour.width):
        raise ValueError(f"alpha must be as large as the picture, but its shape is {alpha.shape}")
    if kind == "JPEG":
        if alpha.min() < 255:
            raise ValueError("a JPEG file cannot hold transparency")
        return colour
    if kind == "BMP":
        colour = colour.convert("RGB")
    colour.putalpha(Image.fromarray(alpha))
    return colour


def _icc_profile(icc: bytes | None, mode: str) -> bytes | None:
    """The colour profile, unless it is for another colour space than the mode's."""
    space = icc[16:20] if icc else b""
    if space == b"CMYK" or (space == b"GRAY" and mode not in _GREY_MODES):
        return None
    return icc


def _with_texts(source: Source, kind: str, extra: Sequence[tuple[str, str]]) -> Source:
    """The source with the extra texts where this format keeps texts."""
    if kind == "PNG":
        return replace(source, text=_merge_texts(source.text, extra))
    text = dict(extra)
    if source.format != kind:  # a PNG written under another suffix keeps its parameters
        kept = (PARAMETERS_KEY, RECORD_KEY)
        text = {key: value for key, value in source.text if key in kept} | text
    if not text or kind == "BMP":
        return source
    comment = text.pop(PARAMETERS_KEY, None)
    return replace(source, exif=exif.with_text(source.exif, comment=comment, described=text))


def _merge_texts(text: Text, extra: Sequence[tuple[str, str]]) -> Text:
    """The texts with those of the same key replaced where they stand, and the others appended."""
    new = dict(extra)
    kept = tuple((key, new.get(key, value)) for key, value in text)
    old = {key for key, _ in text}
    return kept + tuple((key, value) for key, value in new.items() if key not in old)


def _png_options(source: Source, mode: str) -> Options:
    colour = cast("Colour", source.save.get("colour", ()))
    text = source.text
    if source.xmp:
        text = ((XMP_KEY, iTXt(source.xmp.decode("utf-8", "replace"), "", "")), *text)
    exif_block = {"exif": source.exif} if source.exif else {}
    return {"pnginfo": png_info(text, colour), "compress_level": PNG_LEVEL, **exif_block}


def _jpeg_options(source: Source, mode: str) -> Options:
    blocks = _exif_and_xmp(source)
    if source.format != "JPEG" or "qtables" not in source.save:
        return {"quality": JPEG_QUALITY, "subsampling": 0, **blocks}
    options = {**source.save, **blocks}
    if mode != "RGB":
        options["keep_rgb"] = False
    return options


def _webp_options(source: Source, mode: str) -> Options:
    lossless = bool(source.save.get("lossless", source.format != "WEBP"))
    quality = {} if lossless else {"quality": WEBP_QUALITY}
    return {"lossless": lossless, "exact": True, **quality, **_exif_and_xmp(source)}


def _avif_options(source: Source, mode: str) -> Options:
    options = {"quality": AVIF_QUALITY, **_exif_and_xmp(source)}
    if mode in ("RGB", "RGBA"):
        options["subsampling"] = "4:4:4"
    if mode in ("LA", "RGBA"):
        options["advanced"] = {"alpha:lossless": "1"}
    return options


def _tiff_options(source: Source, mode: str) -> Options:
    compression = str(source.save.get("compression", "tiff_adobe_deflate"))
    known = _LOSSLESS_TIFF + (_BILEVEL_TIFF if mode == "1" else ())
    return {"compression": compression if compression in known else "tiff_adobe_deflate"}


def _tiff_tags(source: Source, mode: str) -> dict[int, Any]:
    """The tags of a TIFF file other than those of its pixels."""
    block = exif.for_pillow(source.exif)
    tags = {tag: block.get_ifd(tag) if tag in DIRECTORIES else block[tag] for tag in block}
    tags |= cast("dict[int, bytes]", source.save.get("blocks", {}))
    if source.dpi:
        tags |= dict(zip(_TIFF_RESOLUTION, (*source.dpi, _TIFF_INCH), strict=True))
    blocks = {_TIFF_XMP: source.xmp, _TIFF_ICC: _icc_profile(source.icc, mode)}
    return tags | {tag: value for tag, value in blocks.items() if value}


def _bmp_options(source: Source, mode: str) -> Options:
    return {}


def _exif_and_xmp(source: Source) -> Options:
    """The EXIF and XMP of a file, where it has them."""
    blocks = {"exif": source.exif, "xmp": source.xmp}
    return {name: block for name, block in blocks.items() if block}


def _bmp_with_alpha(rgba: NDArray[np.uint8], dpi: tuple[float, float] | None) -> bytes:
    """A BMP file whose header declares alpha, which Pillow's does not.

    The header is BITMAPV4HEADER: 32 bits a pixel, one mask a channel, sRGB.
    """
    height, width = rgba.shape[:2]
    across, down = (int(value * _INCHES_PER_METRE + 0.5) for value in dpi or (96, 96))
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    size = width * height * 4
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, size, across, down, 0, 0)
    info += struct.pack("<4I4s48x", *masks, b"BGRs")
    head = struct.pack("<2sIHHI", b"BM", 14 + len(info) + size, 0, 0, 14 + len(info))
    return head + info + rgba[::-1, :, [2, 1, 0, 3]].tobytes()


_OPTIONS: dict[str, Callable[[Source, str], Options]] = {
    "PNG": _png_options,
    "JPEG": _jpeg_options,
    "WEBP": _webp_options,
    "AVIF": _avif_options,
    "TIFF": _tiff_options,
    "BMP": _bmp_options,
}
