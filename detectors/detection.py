"""One thing found in one picture: everything known about it, in one value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Detection:
    """One thing found in a picture. Frozen, hashable, picklable; checks itself when built.

    All coordinates are pixels of the whole picture, x right and y down, measured at pixel edges:
    the pixel in column 3 covers x from 3 to 4, so a box around that pixel alone is 3 to 4.

    box_xyxy: left, top, right, bottom; left < right and top < bottom.
    label: what it is ("face", "hand", or the model's own class name); not empty.
    score: the model's confidence, 0 to 1.
    detector: the name of the detector that found it.
    polygon: the outline, three or more points in order, not closed; None if the model gives none.
    landmarks: named points, in the model's order; they may lie outside the box and the picture.

    Raises ValueError, quoting what it got, where one of these does not hold.
    """

    box_xyxy: Box
    label: str
    score: float
    detector: str
    polygon: tuple[Point, ...] | None = None
    landmarks: tuple[tuple[str, Point], ...] = ()

    def __post_init__(self) -> None:
        box = tuple(float(edge) for edge in self.box_xyxy)
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise ValueError(f"box_xyxy must be four finite numbers, but got {self.box_xyxy!r}")
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"box_xyxy must have left < right and top < bottom, but got {box}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be between 0 and 1, but got {self.score!r}")
        if not self.label or not self.detector:
            raise ValueError(
                "label and detector must not be empty, "
                f"but got {self.label!r} and {self.detector!r}"
            )
        # Plain floats in plain tuples, so that values from numpy or JSON hash and pickle alike.
        object.__setattr__(self, "box_xyxy", box)
        object.__setattr__(self, "score", float(self.score))
        if self.polygon is not None:
            polygon = _checked_points(self.polygon, "polygon", least=3)
            object.__setattr__(self, "polygon", polygon)
        names = tuple(name for name, _ in self.landmarks)
        spots = _checked_points(tuple(spot for _, spot in self.landmarks), "landmarks")
        if len(set(names)) != len(names):
            raise ValueError(f"landmark names must differ, but got {names}")
        object.__setattr__(self, "landmarks", tuple(zip(names, spots, strict=True)))

    @property
    def width(self) -> float:
        """Width of the box in px."""
        return self.box_xyxy[2] - self.box_xyxy[0]

    @property
    def height(self) -> float:
        """Height of the box in px."""
        return self.box_xyxy[3] - self.box_xyxy[1]

    @property
    def area(self) -> float:
        """Area of the box (not of the polygon) in square px."""
        return self.width * self.height

    @property
    def center_xy(self) -> Point:
        """Middle of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2

    def landmark(self, name: str) -> Point | None:
        """Return the point of that name, or None if this detection has none of that name."""
        return dict(self.landmarks).get(name)

    def move_by(self, dx: float, dy: float) -> Detection:
        """Return a copy shifted right by dx and down by dy px, with its polygon and landmarks."""
        return self._map_points(1.0, 1.0, dx, dy)

    def scale_by(self, sx: float, sy: float) -> Detection:
        """Return a copy whose coordinates are all multiplied by sx and sy, both above 0."""
        if not (sx > 0 and sy > 0):
            raise ValueError(f"scale must be above 0, but got {sx!r} and {sy!r}")
        return self._map_points(sx, sy, 0.0, 0.0)

    def clip_to(self, size_wh: tuple[float, float]) -> Detection | None:
        """Return a copy cut to a picture of that size, or None if no part of the box lies inside.

        Polygon points outside are moved to the nearest edge; landmarks stay where they are.
        """
        width, height = size_wh
        x0, y0, x1, y1 = self.box_xyxy
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if box[0] >= box[2] or box[1] >= box[3]:
            return None
        polygon = self.polygon and tuple(
            (min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)))
            for x, y in self.polygon
        )
        return replace(self, box_xyxy=box, polygon=polygon)

    def _map_points(self, sx: float, sy: float, dx: float, dy: float) -> Detection:
        def map_all(points: tuple[Point, ...]) -> tuple[Point, ...]:
            return tuple((x * sx + dx, y * sy + dy) for x, y in points)

        (x0, y0), (x1, y1) = map_all((self.box_xyxy[:2], self.box_xyxy[2:]))
        spots = map_all(tuple(spot for _, spot in self.landmarks))
        return replace(
            self,
            box_xyxy=(x0, y0, x1, y1),
            polygon=None if self.polygon is None else map_all(self.polygon),
            landmarks=tuple(zip((name for name, _ in self.landmarks), spots, strict=True)),
        )


def in_order(detections: Iterable[Detection]) -> tuple[Detection, ...]:
    """Return them best score first; equal scores by box (left, top, right, bottom), then label.

    This is the order in which every detector returns what it found; it does not depend on the
    input's order.
    """
    return tuple(sorted(detections, key=lambda d: (-d.score, d.box_xyxy, d.label)))


def _checked_points(points: tuple[Point, ...], what: str, *, least: int = 0) -> tuple[Point, ...]:
    plain = tuple((float(x), float(y)) for x, y in points)
    if len(plain) < least or not all(map(math.isfinite, (v for point in plain for v in point))):
        raise ValueError(f"{what} must be {least} or more finite points, but got {points!r}")
    return plain
