"""Colour as people see it: CIE L*a*b* and the CIEDE2000 difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Lab = NDArray[np.float32]
"""... x 3: L* from 0 to 100, a* and b* about -128 to 127."""

_SRGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
"""Linear sRGB to XYZ; white is the sum of each row."""

_TO_XYZ = (_SRGB / _SRGB.sum(axis=1, keepdims=True)).T.astype(np.float32)
_TO_RGB = np.linalg.inv(_TO_XYZ.astype(np.float64)).astype(np.float32)
_KNEE = 6 / 29
"""Cube root of the relative light below which CIE L*a*b* is linear."""


def rgb_to_lab(rgb: NDArray[np.float32]) -> Lab:
    """sRGB, ... x 3 of 0 to 1, as CIE L*a*b* for white D65. By IEC 61966-2-1 and CIE 15.

    OpenCV's own way there and back is off by up to a level of 255.
    """
    light = np.where(rgb > 0.04045, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = light.astype(np.float32) @ _TO_XYZ
    f = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + 4 / 29)
    return np.stack(
        [
            116 * f[..., 1] - 16,
            500 * (f[..., 0] - f[..., 1]),
            200 * (f[..., 1] - f[..., 2]),
        ],
        axis=-1,
    ).astype(np.float32)


def lab_to_rgb(lab: Lab) -> NDArray[np.float32]:
    """CIE L*a*b*, ... x 3, as sRGB of 0 to 1; colours that sRGB does not hold are clipped."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29)).astype(np.float32)
    light = np.clip(xyz @ _TO_RGB, 0, 1)
    rgb = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    return np.asarray(rgb, np.float32)


def ciede2000(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """The difference of L*a*b* colours, ... x 3 each; about 2.3 is just noticeable.

    By G. Sharma, W. Wu and E. Dalal, "The CIEDE2000 color-difference formula", 2005, whose test
    values it gives; all three weights are 1.
    """
    (l1, c1, h1), (l2, c2, h2) = _to_polar(one, other)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    # Hue goes round: its difference is the short way, and its mean lies on that way. Without
    # chroma there is no hue, and the mean is the other one's.
    turn = (h2 - h1 + 180) % 360 - 180
    turn = np.where((turn == -180) & (h2 > h1), 180.0, turn)
    grey = c1 * c2 == 0
    turn = np.where(grey, 0.0, turn)
    mean_h = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    t = (
        1
        - 0.17 * _cos_degrees(mean_h - 30)
        + 0.24 * _cos_degrees(2 * mean_h)
        + 0.32 * _cos_degrees(3 * mean_h + 6)
        - 0.20 * _cos_degrees(4 * mean_h - 63)
    )
    off = (mean_l - 50) ** 2
    light = (l2 - l1) / (1 + 0.015 * off / np.sqrt(20 + off))
    chroma = (c2 - c1) / (1 + 0.045 * mean_c)
    hue = d_hue / (1 + 0.015 * mean_c * t)
    lean = 60 * np.exp(-(((mean_h - 275) / 25) ** 2))
    cross = -2 * _high_power(mean_c) * np.sin(np.radians(lean)) * chroma * hue
    return np.asarray(np.sqrt(np.maximum(light**2 + chroma**2 + hue**2 + cross, 0)), np.float64)


_Plane = NDArray[np.float64]


def _to_polar(one: NDArray[Any], other: NDArray[Any]) -> list[tuple[_Plane, _Plane, _Plane]]:
    """Lightness, chroma and hue (degrees) of both, the reddish axis stretched near grey."""
    labs = [np.moveaxis(np.asarray(each, np.float64), -1, 0) for each in (one, other)]
    stretch = 1.5 - 0.5 * _high_power(sum(np.hypot(a, b) for _, a, b in labs) / 2)
    return [
        (light, np.hypot(a * stretch, b), np.degrees(np.arctan2(b, a * stretch)) % 360)
        for light, a, b in labs
    ]


def _high_power(chroma: _Plane) -> _Plane:
    """A share of chroma to the 7th power: near 0 for greys, 1 for strong colours."""
    return np.asarray(np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))


def _cos_degrees(degrees: _Plane) -> _Plane:
    return np.asarray(np.cos(np.radians(degrees)))
