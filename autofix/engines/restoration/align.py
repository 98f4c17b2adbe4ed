"""Aligns faces to the template of face-restoration networks, and pastes them back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autofix.geometry import Affine, compose_affine, inverse_affine, map_point, pixel_centre_matrix
from autofix.values import Crop

SIDE = 512
"""Width and height, in px, that all these networks take."""

TEMPLATE = {
    "right_eye": (192.98, 239.95),
    "left_eye": (318.90, 240.19),
    "mouth_center": (257.18, 371.28),
}
"""Where FFHQ's faces have them in 512 x 512 px, as centres of pixels; the right eye is on the left.
The mouth is the middle between the two corners that facexlib's template gives."""

RIM_PX = 32
"""Width of the aligned picture's rim, over which it fades into the crop."""

MOST_SCALE = 16.0
"""Most template px for one of the crop, and the reverse: beyond it landmarks make no sense."""

Values = NDArray[np.float32]
"""Height x width, perhaps x 3, 0 to 1."""


def to_template(crop: Crop) -> Affine | None:
    """The turn, scale and shift from a crop (pixel edges) to the template, or None.

    Eyes and mouth are fitted by least squares. None where they are not known or make no sense:
    then the whole crop is scaled to the template's size.
    """
    spots = [crop.region.detection.landmark(name) for name in TEMPLATE]
    known = [spot for spot in spots if spot is not None]
    if len(known) < len(TEMPLATE):
        return None
    source = np.array([complex(*map_point(crop.window.to_working, *spot)) for spot in known])
    target = np.array([complex(*spot) for spot in TEMPLATE.values()]) + (0.5 + 0.5j)
    centred = source - source.mean()
    spread = max(np.vdot(centred, centred).real, 1e-9)
    turn = complex(np.vdot(centred, target - target.mean()) / spread)
    if not 1 / MOST_SCALE <= abs(turn) <= MOST_SCALE:
        return None
    shift = complex(target.mean() - turn * source.mean())
    return turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag


def align_face(crop: Crop) -> Values:
    """The crop's face in its place in the template, 512 x 512 x 3."""
    return _warp_values(_crop_values(crop), to_template(crop), (SIDE, SIDE))


def paste_face(restored: Values, crop: Crop, visibility: float) -> Values:
    """The crop with its restored aligned face over it, faded at the aligned picture's rim.

    `visibility`, 0 to 1, is the restored face's opacity.
    """
    under, size_wh, shown = _crop_values(crop), crop.window.size_wh, to_template(crop)
    back = inverse_affine(shown) if shown else None
    part: Values | np.float32 = np.float32(visibility)
    if back:
        ramp = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]).clip(0, RIM_PX)
        fade = (np.minimum(ramp[:, None], ramp[None]) / RIM_PX).astype(np.float32)
        part = part * _warp_values(fade, back, size_wh, outside=False)[..., None].clip(0, 1)
    laid: Values = under + part * (_warp_values(restored, back, size_wh) - under)
    return laid


def _warp_values(
    values: Values, shown: Affine | None, size_wh: tuple[int, int], *, outside: bool = True
) -> Values:
    """Values warped by a map between pixel edges, or scaled to the size where there is none.

    Where the map shrinks them, they are first averaged down against aliasing. Beyond the edges
    they are reflected, or 0 without `outside`.
    """
    import cv2  # not at the top: `import autofix` must not load it

    high, wide = values.shape[:2]
    if shown is None:
        shown = (size_wh[0] / wide, 0.0, 0.0, 0.0, size_wh[1] / high, 0.0)
    scales = math.hypot(shown[0], shown[3]), math.hypot(shown[1], shown[4])
    small = max(1, round(wide * min(1, scales[0]))), max(1, round(high * min(1, scales[1])))
    if small != (wide, high):
        values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    shown = compose_affine(shown, (wide / small[0], 0.0, 0.0, 0.0, high / small[1], 0.0))
    border = cv2.BORDER_REFLECT_101 if outside else cv2.BORDER_CONSTANT
    warped: Values = cv2.warpAffine(
        values, pixel_centre_matrix(shown), size_wh, flags=cv2.INTER_LANCZOS4, borderMode=border
    )
    return warped


def _crop_values(crop: Crop) -> Values:
    return crop.pixels.astype(np.float32) / np.float32(255)
