"""PNG files of 16 bit grey with alpha, which OpenCV and Pillow do not write."""

from __future__ import annotations

import struct
import zlib


def grey_alpha_png(values):
    """The file of values, height x width x 2, uint16."""
    height, width, _ = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
