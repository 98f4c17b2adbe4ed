"""TIFF files built from the pixel strips of one file and tags of our own.

Pillow writes EXIF directories into uncompressed files only, and no RGB of 16 bits; OpenCV writes no
tags.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

DIRECTORIES = (0x8769, 0x8825)
"""The tags that lead to the EXIF and GPS directories."""

_STRIP_OFFSETS = 273
_STRIP_BYTE_COUNTS = 279
_EXTRA_SAMPLES = 338
_STRUCTURE = (256, 257, 258, 259, 262, 266, 277, 278, 279, 284, 292, 293, 317, 320, 338, 339)
"""The tags that say how the pixels are stored, without where."""

_COMPRESSIONS = {"raw": 1, "tiff_lzw": 5, "packbits": 32773}
_DEFLATE = 8


def with_tags(data: bytes, tags: Mapping[int, Any]) -> bytes:
    """A file of one picture in strips, with these tags and those of its pixels alone.

    A dictionary becomes a directory of its own. Raises one of decode.PILLOW_ERRORS for a value
    that does not suit its tag.
    """
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        old = image.tag_v2
    parts = zip(old[_STRIP_OFFSETS], old[_STRIP_BYTE_COUNTS], strict=True)
    strips = [data[start : start + length] for start, length in parts]
    new = TiffImagePlugin.ImageFileDirectory_v2(prefix=old.prefix)
    for tag in _STRUCTURE:
        if tag in old:
            new[tag] = old[tag]
            new.tagtype[tag] = old.tagtype[tag]
    for tag, value in tags.items():
        new[tag] = value
    # Pillow adds the end of its directory to these offsets.
    new.tagtype[_STRIP_OFFSETS] = TiffTags.LONG
    new[_STRIP_OFFSETS] = (0, *accumulate(len(strip) for strip in strips[:-1]))
    buffer = io.BytesIO()
    new.save(buffer)
    return buffer.getvalue() + b"".join(strips)


def deep_tiff(values: NDArray[np.uint16], compression: str) -> bytes:
    """A file of 16 bits a channel: grey, RGB or RGBA; by `compression`, or deflate if unknown."""
    import cv2  # not at the top: `import autofix` must not load it

    how = _COMPRESSIONS.get(compression, _DEFLATE)
    swapped = values[..., [2, 1, 0, 3][: values.shape[2]]] if values.shape[2] > 1 else values
    written, data = cv2.imencode(".tiff", swapped, [cv2.IMWRITE_TIFF_COMPRESSION, how])
    if not written:
        raise ValueError("OpenCV cannot write it")
    return bytes(data)


def alpha_tags(channels: int) -> dict[int, int]:
    """That a fourth channel is alpha, not multiplied in."""
    return {_EXTRA_SAMPLES: 2} if channels == 4 else {}
