"""Pictures of 16 bits a channel: Pillow cuts coloured ones to 8, so OpenCV reads them again.

Everything between reading and writing works on 8 bits. Its changes are carried over to the 16 bits
of the file; unchanged values keep every bit.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Deep = NDArray[np.uint16]
"""Height x width x channels, 0 to 65535: grey, grey and alpha, RGB, or RGBA."""

STEP = 257
"""65535 / 255: what one level of 8 bits is in 16."""

_LOG_LEVEL_LOCK = Lock()
_EIGHT = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)


def to_eight(values: Deep) -> NDArray[np.uint8]:
    """The values in 8 bits, rounded to the nearest."""
    eight: NDArray[np.uint8] = _EIGHT[values]
    return eight


def read_deep(data: bytes, seen: NDArray[np.uint8]) -> Deep | None:
    """All 16 bits of a PNG or TIFF file, RGB, or RGBA where the file has alpha.

    `seen` is what Pillow read, height x width x 3 or 4 of 8 bits. None where OpenCV reads other
    values.
    """
    import cv2  # not at the top: `import autofix` must not load it

    logging = cv2.utils.logging
    with _LOG_LEVEL_LOCK:
        level = logging.setLogLevel(
            logging.LOG_LEVEL_SILENT
        )  # else it warns of unknown tags on stderr
        try:
            found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return None
        finally:
            logging.setLogLevel(level)
    if found is None or found.dtype != np.uint16 or found.shape[:2] != seen.shape[:2]:
        return None
    if found.ndim != 3 or found.shape[2] not in (3, 4):
        return None
    values: Deep = found[..., [2, 1, 0, 3][: found.shape[2]]]
    both = min(values.shape[2], seen.shape[2])
    return values if np.array_equal(values[..., :both] >> 8, seen[..., :both]) else None


def carry_over(values: Deep, pixels: NDArray[np.uint8]) -> Deep:
    """The file's values with the changes of `pixels`, height x width x 3 of 8 bits.

    A value that is the same in 8 bits keeps its 16; a changed one moves by the change, so that
    smooth areas stay smooth in 16 bits. Grey stays grey while the pixels are; alpha stays.
    """
    colours = 1 if values.shape[2] < 3 else 3
    if colours == 1 and not (pixels == pixels[..., :1]).all():
        alpha = values[..., 1:]
        values = np.concatenate([np.repeat(values[..., :1], 3, axis=2), alpha], axis=2)
        colours = 3
    result = values.copy()
    inside = result[..., :colours]
    old, new = to_eight(inside), pixels[..., :colours]
    changed = old != new
    moved = (new[changed].astype(np.int32) - old[changed]) * STEP
    inside[changed] = np.clip(inside[changed] + moved, 0, 65535)
    return result
