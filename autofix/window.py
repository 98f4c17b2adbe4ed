"""The window through which the engine sees a region: picture <-> working size, both directions.

`crop_box` and `expand_box` follow AUTOMATIC1111's "only masked" (masking.get_crop_region and
expand_crop_region); where that one stretches a crop that cannot reach its aspect inside the
picture, ours reaches outside it and is filled by reflection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IntBox = tuple[int, int, int, int]
"""Half-open pixel edges (x0, y0, x1, y1)."""

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + b y + c, y' = d x + e y + f."""


@dataclass(frozen=True)
class Window:
    """A box of the picture, and the working size it is shown at.

    `box_xyxy` may reach outside the picture. Picture and working coordinates are pixel edges:
    the box's corner (x0, y0) is (0, 0) at working size.
    """

    box_xyxy: IntBox
    size_wh: tuple[int, int]

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if x1 <= x0 or y1 <= y0 or min(self.size_wh) < 1:
            raise ValueError(
                f"a window must have a box and a size of at least 1 x 1, "
                f"but got box {self.box_xyxy} and size {self.size_wh}"
            )

    @property
    def box_wh(self) -> tuple[int, int]:
        """Width and height of the box in the picture's pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return x1 - x0, y1 - y0

    @property
    def scale(self) -> float:
        """Working pixels for one pixel of the picture, the smaller of both axes."""
        return min(self.size_wh[0] / self.box_wh[0], self.size_wh[1] / self.box_wh[1])

    @property
    def to_working(self) -> Affine:
        """The map from picture coordinates to working coordinates."""
        x0, y0 = self.box_xyxy[:2]
        scale_x, scale_y = self.size_wh[0] / self.box_wh[0], self.size_wh[1] / self.box_wh[1]
        return scale_x, 0.0, -x0 * scale_x, 0.0, scale_y, -y0 * scale_y

    @property
    def to_picture(self) -> Affine:
        """The map from working coordinates to picture coordinates, the inverse of `to_working`."""
        x0, y0 = self.box_xyxy[:2]
        scale_x, scale_y = self.box_wh[0] / self.size_wh[0], self.box_wh[1] / self.size_wh[1]
        return scale_x, 0.0, float(x0), 0.0, scale_y, float(y0)

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the window shows of a picture (height x width x 3), at working size, by Lanczos."""
        return _resize(_seen(pixels, self.box_xyxy), self.size_wh)

    def cut_mask(self, seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of the box's own size (height x width), brought to working size, bilinear."""
        resized = Image.fromarray(seen).resize(self.size_wh, Image.Resampling.BILINEAR)
        return np.asarray(resized)

    def uncut(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Working-size values (height x width x 3), brought back to the size of the box."""
        if self.box_wh == self.size_wh:
            return patch
        channels = [
            Image.fromarray(np.ascontiguousarray(patch[..., channel])).resize(
                self.box_wh, Image.Resampling.LANCZOS
            )
            for channel in range(patch.shape[2])
        ]
        return np.stack([np.asarray(channel, dtype=np.float32) for channel in channels], axis=-1)


def apply(affine: Affine, x: float, y: float) -> tuple[float, float]:
    """A point sent through an affine map."""
    a, b, c, d, e, f = affine
    return a * x + b * y + c, d * x + e * y + f


def apply_box(
    affine: Affine, box_xyxy: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """An upright box sent through a map that does not turn."""
    x0, y0 = apply(affine, box_xyxy[0], box_xyxy[1])
    x1, y1 = apply(affine, box_xyxy[2], box_xyxy[3])
    return x0, y0, x1, y1


def crop_box(mask_box: IntBox, *, pad_px: int, picture_wh: tuple[int, int]) -> IntBox:
    """The mask's box grown by `pad_px` on each side, cut to the picture."""
    x0, y0, x1, y1 = mask_box
    width, height = picture_wh
    return (
        max(x0 - pad_px, 0),
        max(y0 - pad_px, 0),
        min(x1 + pad_px, width),
        min(y1 + pad_px, height),
    )


def expand_box(
    box_xyxy: IntBox, *, aspect_wh: tuple[int, int], picture_wh: tuple[int, int]
) -> IntBox:
    """The box with its short axis grown to the aspect, moved inside the picture where it fits.

    Where the picture is too small for it, the box stays centred on the picture and reaches out
    on both sides.
    """
    x0, y0, x1, y1 = box_xyxy
    width, height = x1 - x0, y1 - y0
    want_w = max(width, int(height * aspect_wh[0] / aspect_wh[1]))
    want_h = max(height, int(width * aspect_wh[1] / aspect_wh[0]))
    x0, x1 = _grow(x0, x1, want=want_w, limit=picture_wh[0])
    y0, y1 = _grow(y0, y1, want=want_h, limit=picture_wh[1])
    return x0, y0, x1, y1


def _grow(low: int, high: int, *, want: int, limit: int) -> tuple[int, int]:
    """An interval grown to a length, inside 0..limit where the length allows it."""
    if want > limit:
        low = -((want - limit) // 2)
    else:
        low -= (want - (high - low)) // 2
        low = min(max(low, 0), limit - want)
    return low, low + want


def _seen(pixels: NDArray[np.uint8], box_xyxy: IntBox) -> NDArray[np.uint8]:
    """The pixels inside a box, reflected at the picture's edge where the box reaches outside."""
    x0, y0, x1, y1 = box_xyxy
    height, width = pixels.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return pixels[y0:y1, x0:x1]
    return pixels[np.ix_(_reflected(y0, y1, height), _reflected(x0, x1, width))]


def _reflected(low: int, high: int, limit: int) -> NDArray[np.intp]:
    """Indices low..high folded into 0..limit by reflection, the edge pixel not repeated."""
    if limit == 1:
        return np.zeros(high - low, np.intp)
    folded = np.arange(low, high) % (2 * limit - 2)
    return np.minimum(folded, 2 * limit - 2 - folded)


def _resize(pixels: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    if (pixels.shape[1], pixels.shape[0]) == size_wh:
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size_wh, Image.Resampling.LANCZOS))
