"""The encoder options that write a picture as its source file was written."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from PIL import Image, JpegImagePlugin, TiffImagePlugin

from autofix.imagefiles.png import PngFacts

_APP13 = 0xFFED
_TIFF_BLOCKS = (33723, 34377)


def save_options(
    image: Image.Image, stream: BinaryIO, facts: PngFacts | None
) -> Mapping[str, object]:
    """The encoder options that reproduce an open file's kind, by the names that encode.py knows.

    `facts` are those of a PNG.
    """
    if facts:
        return {"colour": facts.colour}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        photoshop = b"".join(
            struct.pack(">HH", _APP13, len(data) + 2) + data
            for segment, data in image.applist
            if segment == "APP13"
        )
        return {
            "qtables": {index: list(table) for index, table in image.quantization.items()},
            "subsampling": max(sampling, 0),  # a sampling that Pillow cannot write becomes 4:4:4
            "progressive": bool(image.info.get("progressive")),
            "keep_rgb": image.info.get("adobe_transform") == 0 and image.mode == "RGB",
            "comment": image.info.get("comment", b""),
            **({"extra": photoshop} if photoshop else {}),
        }
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        blocks = dict(_tiff_blocks(image))
        compression = {"compression": image.info.get("compression", "raw")}
        return {**compression, "blocks": blocks} if blocks else compression
    if image.format == "WEBP":
        return {"lossless": webp_is_lossless(stream)}
    return {}


def _tiff_blocks(image: TiffImagePlugin.TiffImageFile) -> Iterator[tuple[int, bytes]]:
    """The IPTC and Photoshop blocks, unless stored as 32-bit numbers, which Pillow cannot read."""
    for tag in _TIFF_BLOCKS:
        value = image.tag_v2.get(tag)
        if isinstance(value, bytes) and value:
            yield tag, value


def webp_is_lossless(stream: BinaryIO) -> bool:
    """Whether the picture is in a VP8L chunk, which is the lossless kind."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        stream.seek(length + length % 2, 1)
    return False
