"""Film grain and sensor noise: measured in a picture, and synthesised."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autofix.values import MaskValues, Pixels, SoftMask

Levels = NDArray[np.float32]
"""Last axis RGB in levels, or the axes of `OPPONENT`."""

SIDE_PX = 16
"""Side of the tiles that grain is taken from; it cannot be coarser than half of that."""

LEAST_LEVELS = 1.0
"""Least standard deviation of grain's grey axis: rounding alone is below."""

MOST_LEVELS = 15.0
"""Greatest standard deviation of grain's grey axis: texture is above."""

OPPONENT = np.float32(np.array([(1, 1, 1), (1, 0, -2), (1, -1, 1)]) / np.sqrt([3, 2, 6]))
"""RGB -> grey, red against blue, green against both: an orthonormal basis, in columns."""


def grain_of(pixels: Pixels, mask: SoftMask) -> Levels:
    """Tiles of a picture's pure grain, count x SIDE_PX x SIDE_PX x 3 opponent; none without grain.

    They are the residue of its flattest tiles outside the mask's box after a quadratic surface is
    subtracted. Unlike texture, grain is equally strong everywhere (the flattest twentieth of all
    tiles and the flattest quarter agree), and its correlation dies away within four pixels.
    """
    tiles = _spread_tiles(pixels, mask)
    grey = tiles.mean(axis=3)
    tiles = tiles[(grey.min(axis=(1, 2)) > 4) & (grey.max(axis=(1, 2)) < 251)]  # not clipped
    grain = _quadratic_residue(tiles @ OPPONENT)
    if len(grain) < 20:  # too few to judge
        return grain[:0]
    deviation = np.sqrt(_tile_variance(grain)[:, 0])
    flattest, flat = np.quantile(deviation, [0.05, 0.25])
    grain = np.asarray(grain[deviation <= 1.4 * flattest], np.float32)
    alike = LEAST_LEVELS <= flat <= min(MOST_LEVELS, 1.4 * flattest)
    is_grain = alike and _grey_correlation(grain, 2) < 0.5 and _grey_correlation(grain, 4) < 0.25
    return grain if is_grain else grain[:0]


def missing_grain(grain: Levels, old: Levels, new: Levels, mask: MaskValues) -> Levels:
    """How much of `grain` is lost where `new` covers `old` (RGB) through a mask, as factors of it.

    Height x width x 3 opponent, 0 to 1. Two grains that are mixed average out, unless they are
    the same grain, as their covariance on the flattest tiles shows. Where `old` has no grain (a
    smooth face before a rough wall), none is missing.
    """
    olds, news = (_covered_residues(each, mask, SIDE_PX // 2) for each in (old, new))
    if len(olds) == 0:
        return np.zeros_like(new)
    alone = _quadratic_residue(_quarter_tiles(grain))
    whole = _tile_variance(alone[_flattest_quarter(alone)]).mean(axis=0)
    flat_old, flat_new = _flattest_quarter(olds), _flattest_quarter(news)
    shares = (
        _tile_variance(olds[flat_old]),
        _tile_variance(news[flat_new]),
        _tile_variance(olds, news)[flat_new],
    )
    was, has, same = (each.mean(axis=0) / np.maximum(whole, 1e-6) for each in shares)
    was = np.minimum(was, 1)
    same = np.clip(same, 0, np.sqrt(was * has))
    share = np.linspace(0, 1, 256)[:, None]
    rest = (1 - share) ** 2 * was + share**2 * has + 2 * share * (1 - share) * same
    return np.asarray(np.sqrt(np.maximum(was - rest, 0))[mask], np.float32)


def synthesise_grain(grain: Levels, size_wh: tuple[int, int], seed: int) -> Levels:
    """Grain of the same strength, spectrum and colour, height x width x 3 opponent.

    Tiles drawn at random overlap by half under windows whose squares add up to one, as the
    variances of independent grains do.
    """
    width, height = size_wh
    rows, columns = height // SIDE_PX + 2, width // SIDE_PX + 2
    rise = np.sin(np.pi * (np.arange(SIDE_PX, dtype=np.float32) + 0.5) / SIDE_PX)
    tiles = grain * np.outer(rise, rise)[..., None]
    random = np.random.default_rng(seed)
    field = np.zeros((height, width, 3), np.float32)
    for top in (0, SIDE_PX // 2):
        for left in (0, SIDE_PX // 2):
            drawn = tiles[random.integers(len(tiles), size=(rows, columns))]
            layer = drawn.swapaxes(1, 2).reshape(rows * SIDE_PX, columns * SIDE_PX, 3)
            field += layer[top : top + height, left : left + width]
    return field


def _spread_tiles(pixels: Pixels, mask: SoftMask) -> Levels:
    """Up to 16 x 16 tiles spread evenly over a picture, without those in the mask's box."""
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE_PX:
        return np.zeros((0, SIDE_PX, SIDE_PX, 3), np.float32)
    tops, lefts = (
        np.linspace(0, side - SIDE_PX, min(16, side // SIDE_PX)).astype(int)
        for side in (height, width)
    )
    x0, y0, x1, y1 = mask.box_xyxy
    above, beside = (tops + SIDE_PX <= y0) | (tops >= y1), (lefts + SIDE_PX <= x0) | (lefts >= x1)
    row, column = np.nonzero(above[:, None] | beside)
    views = sliding_window_view(pixels, (SIDE_PX, SIDE_PX), axis=(0, 1))
    return np.asarray(np.moveaxis(views[tops[row], lefts[column]], 1, -1), np.float32)


def _covered_residues(values: Levels, mask: MaskValues, side: int) -> Levels:
    """The residues of some 300 tiles, evenly chosen among those whose centre the mask covers."""
    if min(mask.shape) < side:
        return np.zeros((0, side, side, 3), np.float32)
    centre = slice(side // 2, -(side // 2) + 1)
    rows, columns = np.nonzero(mask[centre, centre] > 127)
    chosen = slice(0, None, max(len(rows) // 300, 1))
    views = sliding_window_view(values, (side, side), axis=(0, 1))
    return _quadratic_residue(np.moveaxis(views[rows[chosen], columns[chosen]], 1, -1) @ OPPONENT)


def _quarter_tiles(tiles: Levels) -> Levels:
    """Tiles cut into four."""
    count, side = tiles.shape[0], tiles.shape[1] // 2
    parts = tiles.reshape(count, 2, side, 2, side, 3).swapaxes(2, 3)
    return parts.reshape(-1, side, side, 3)


def _quadratic_residue(tiles: Levels) -> Levels:
    """The residue of tiles after the quadratic surface that fits best is subtracted."""
    basis = _quadratic_basis(tiles.shape[1])
    flat = tiles.reshape(len(tiles), tiles.shape[1] * tiles.shape[2], 3)
    return np.asarray(flat - basis @ (basis.T @ flat), np.float32).reshape(tiles.shape)


def _flattest_quarter(residue: Levels) -> NDArray[np.bool_]:
    """Which tiles are the flattest quarter, by their grey values."""
    grey = _tile_variance(residue)[:, 0]
    return np.asarray(grey <= np.quantile(grey, 0.25))


def _tile_variance(residue: Levels, other: Levels | None = None) -> Levels:
    """The variance of each tile's channels, or the covariance with another's, count x 3."""
    freedom = residue.shape[1] * residue.shape[2] - 6
    other = residue if other is None else other
    return np.asarray((residue * other).sum(axis=(1, 2)) / freedom, np.float32)


def _grey_correlation(residue: Levels, apart: int) -> float:
    """The correlation of grey values so many px apart, the stronger of both directions."""
    grey = residue[..., 0]
    along = (grey[:, :, apart:] * grey[:, :, :-apart]).mean()
    down = (grey[:, apart:] * grey[:, :-apart]).mean()
    return float(max(abs(along), abs(down)) / (grey**2).mean())


@cache
def _quadratic_basis(side: int) -> Levels:
    """An orthonormal basis of the quadratic surfaces on a tile, side^2 x 6."""
    y, x = np.mgrid[0:side, 0:side].reshape(2, -1) / side - 0.5
    surfaces = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
    return np.linalg.qr(surfaces)[0].astype(np.float32)
