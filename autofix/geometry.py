"""The window through which the engine sees a region, in both directions, and affine maps.

`crop_box` and `expand_box` follow AUTOMATIC1111's "only masked" (masking.get_crop_region and
expand_crop_region); where that one stretches a crop that cannot reach its aspect inside the
picture, ours reaches outside it and is filled by reflection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IntBox = tuple[int, int, int, int]
"""Half-open pixel edges (x0, y0, x1, y1)."""

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + b y + c, y' = d x + e y + f."""

Scalar = TypeVar("Scalar", np.uint8, np.float32)


@dataclass(frozen=True)
class Window:
    """A box of the picture, perhaps turned, and the working size it is shown at.

    `box_xyxy` may reach outside the picture. Picture and working coordinates are pixel edges: the
    box's corner (x0, y0) is (0, 0) at working size. The window is its box turned clockwise by
    `degrees` about the box's centre: what leans by so much in the picture stands upright in it.
    """

    box_xyxy: IntBox
    size_wh: tuple[int, int]
    degrees: float = 0.0

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
        return box_wh(self.box_xyxy)

    @property
    def scale(self) -> float:
        """Working pixels for one pixel of the picture, the smaller of both axes."""
        return min(self.size_wh[0] / self.box_wh[0], self.size_wh[1] / self.box_wh[1])

    @property
    def to_working(self) -> Affine:
        """The map from picture coordinates to working coordinates."""
        x0, y0 = self.box_xyxy[:2]
        scale_x, scale_y = self.size_wh[0] / self.box_wh[0], self.size_wh[1] / self.box_wh[1]
        shown = (scale_x, 0.0, -x0 * scale_x, 0.0, scale_y, -y0 * scale_y)
        return compose_affine(shown, self._turn_about_centre(-self.degrees))

    @property
    def to_picture(self) -> Affine:
        """The map from working coordinates to picture coordinates, the inverse of `to_working`."""
        x0, y0 = self.box_xyxy[:2]
        scale_x, scale_y = self.box_wh[0] / self.size_wh[0], self.box_wh[1] / self.size_wh[1]
        return compose_affine(
            self._turn_about_centre(self.degrees),
            (scale_x, 0.0, float(x0), 0.0, scale_y, float(y0)),
        )

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The window's four corners in the picture, clockwise from its own top left."""
        x0, y0, x1, y1 = self.box_xyxy
        turn = self._turn_about_centre(self.degrees)
        return tuple(map_point(turn, x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))

    @property
    def bounds_xyxy(self) -> IntBox:
        """The upright box of all pixels that the window shows a part of, outside ones included."""
        if not self.degrees:
            return self.box_xyxy
        xs, ys = zip(*((round(x, 6), round(y, 6)) for x, y in self.corners), strict=True)
        return math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys))

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the window shows of a picture (height x width x 3), at working size, by Lanczos."""
        if not self.degrees:
            return _resize_to(_reflected_pixels(pixels, self.box_xyxy), self.size_wh)
        upright = self._upright_window(margin=math.ceil(4 / min(self.scale, 1)) + 1)
        shown = compose_affine(upright.to_working, self.to_picture)
        return _warp_channels(upright.cut(pixels), shown, self.size_wh, lanczos=True)

    def cut_mask(self, seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask as seen through `bounds_xyxy` (height x width), at working size, bilinear."""
        if not self.degrees:
            return _resize_to(seen, self.size_wh, Image.Resampling.BILINEAR)
        upright = self._upright_window()
        small = _resize_to(seen, upright.size_wh, Image.Resampling.BILINEAR)
        shown = compose_affine(upright.to_working, self.to_picture)
        return _warp_channels(small, shown, self.size_wh)

    def uncut(self, patch: NDArray[np.float32], onto: IntBox) -> NDArray[np.float32]:
        """Working-size values (height x width x channels) resampled to a box of the picture.

        Where `onto` reaches beyond what the window shows, the patch's edge pixels are repeated.
        """
        size_wh = self.box_wh
        if self.degrees:  # turned by interpolation, which may enlarge but must not shrink
            size_wh = min(size_wh[0], self.size_wh[0]), min(size_wh[1], self.size_wh[1])
        near = replace(self, size_wh=size_wh)
        channels = (_resize_to(patch[..., channel], size_wh) for channel in range(patch.shape[2]))
        return np.stack([near._lay_on_box(values, onto) for values in channels], axis=-1)

    def _lay_on_box(self, values: NDArray[np.float32], onto: IntBox) -> NDArray[np.float32]:
        """One channel of working-size values on a box of the picture; the scale is at most 1."""
        x0, y0, x1, y1 = onto
        if self.degrees:
            shown = compose_affine(self.to_working, (1.0, 0.0, float(x0), 0.0, 1.0, float(y0)))
            return _warp_channels(values, shown, (x1 - x0, y1 - y0), lanczos=True)
        rows = np.clip(np.arange(y0, y1) - self.box_xyxy[1], 0, values.shape[0] - 1)
        columns = np.clip(np.arange(x0, x1) - self.box_xyxy[0], 0, values.shape[1] - 1)
        return values[np.ix_(rows, columns)]

    def _turn_about_centre(self, degrees: float) -> Affine:
        """The turn about the box's centre, clockwise as it is seen."""
        x0, y0, x1, y1 = self.box_xyxy
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y

    def _upright_window(self, margin: int = 0) -> Window:
        """The window around this one that is not turned: 1 : 1, or this one's scale if smaller."""
        x0, y0, x1, y1 = self.bounds_xyxy
        box = (x0 - margin, y0 - margin, x1 + margin, y1 + margin)
        wide, high = (math.ceil(side * min(self.scale, 1)) for side in box_wh(box))
        return Window(box, (wide, high))


def map_point(affine: Affine, x: float, y: float) -> tuple[float, float]:
    """A point mapped by an affine map."""
    a, b, c, d, e, f = affine
    return a * x + b * y + c, d * x + e * y + f


def compose_affine(second: Affine, first: Affine) -> Affine:
    """The map that does what `first` does, then what `second` does."""
    a, b, _, d, e, _ = second
    c, f = map_point(second, first[2], first[5])
    return (
        a * first[0] + b * first[3],
        a * first[1] + b * first[4],
        c,
        d * first[0] + e * first[3],
        d * first[1] + e * first[4],
        f,
    )


def inverse_affine(affine: Affine) -> Affine:
    """The map back. Raises ZeroDivisionError for one that flattens the plane."""
    a, b, c, d, e, f = affine
    area = a * e - b * d
    return e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area


def pixel_centre_matrix(affine: Affine) -> NDArray[np.float64]:
    """A map between pixel edges as OpenCV takes it: 2 x 3, between the centres of pixels."""
    a, b, c, d, e, f = affine
    return np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])


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
    least_wh = enclosing_size(box_wh(box_xyxy), aspect_wh)
    return grow_box(box_xyxy, least_wh=least_wh, picture_wh=picture_wh)


def grow_box(box_xyxy: IntBox, *, least_wh: tuple[int, int], picture_wh: tuple[int, int]) -> IntBox:
    """The box grown to at least that size, placed as `expand_box` places it."""
    x0, y0, x1, y1 = box_xyxy
    x0, x1 = _grow_interval(x0, x1, want=max(x1 - x0, least_wh[0]), limit=picture_wh[0])
    y0, y1 = _grow_interval(y0, y1, want=max(y1 - y0, least_wh[1]), limit=picture_wh[1])
    return x0, y0, x1, y1


def enclosing_size(size_wh: tuple[int, int], aspect_wh: tuple[int, int]) -> tuple[int, int]:
    """The smallest width and height of that aspect that hold a size, rounded down as A1111 does."""
    width, height = size_wh
    return (
        max(width, int(height * aspect_wh[0] / aspect_wh[1])),
        max(height, int(width * aspect_wh[1] / aspect_wh[0])),
    )


def box_wh(box_xyxy: IntBox) -> tuple[int, int]:
    """Width and height of a box."""
    x0, y0, x1, y1 = box_xyxy
    return x1 - x0, y1 - y0


def _grow_interval(low: int, high: int, *, want: int, limit: int) -> tuple[int, int]:
    """An interval grown to a length, inside 0..limit where the length allows it."""
    if want > limit:
        low = -((want - limit) // 2)
    else:
        low -= (want - (high - low)) // 2
        low = min(max(low, 0), limit - want)
    return low, low + want


def _reflected_pixels(pixels: NDArray[np.uint8], box_xyxy: IntBox) -> NDArray[np.uint8]:
    """The pixels inside a box, reflected at the picture's edge where the box reaches outside."""
    x0, y0, x1, y1 = box_xyxy
    height, width = pixels.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return pixels[y0:y1, x0:x1]
    return pixels[np.ix_(_reflected_indices(y0, y1, height), _reflected_indices(x0, x1, width))]


def _reflected_indices(low: int, high: int, limit: int) -> NDArray[np.intp]:
    """Indices low..high folded into 0..limit by reflection, the edge pixel not repeated."""
    if limit == 1:
        return np.zeros(high - low, np.intp)
    folded = np.arange(low, high) % (2 * limit - 2)
    return np.minimum(folded, 2 * limit - 2 - folded)


def _resize_to(
    values: NDArray[Scalar],
    size_wh: tuple[int, int],
    how: Image.Resampling = Image.Resampling.LANCZOS,
) -> NDArray[Scalar]:
    if (values.shape[1], values.shape[0]) == size_wh:
        return np.ascontiguousarray(values)
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize(size_wh, how))


def _warp_channels(
    values: NDArray[Scalar], shown: Affine, size_wh: tuple[int, int], *, lanczos: bool = False
) -> NDArray[Scalar]:
    """Values of that size, each sampled where `shown`, a map between pixel edges, sends it.

    Outside, Lanczos sees the edge pixels repeated, bilinear interpolation zeros.
    """
    import cv2  # not at the top: `import autofix` must not load it

    how = cv2.INTER_LANCZOS4 if lanczos else cv2.INTER_LINEAR
    border = cv2.BORDER_REPLICATE if lanczos else cv2.BORDER_CONSTANT
    flags = how | cv2.WARP_INVERSE_MAP
    warped: NDArray[Scalar] = cv2.warpAffine(
        values, pixel_centre_matrix(shown), size_wh, flags=flags, borderMode=border
    )
    return warped
