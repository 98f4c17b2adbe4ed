"""The 468 points of a face, by MediaPipe's face mesh, run in OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import Closing, Pixels, check_pictures
from detectors.detection import Box, Point
from detectors.errors import DetectorError
from detectors.mp_face import LANDMARKS

# Rows of `Mesh.points`; right and left are the person's own. Rings are in order, not closed.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
NOSE = (
    *(168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327),
    *(294, 278, 344, 440, 275, 45, 220, 115, 48, 64),
)
OUTER_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
INNER_LIPS = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324),
    *(308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
NOSE_TIP, RIGHT_EAR, LEFT_EAR = 1, 234, 454

POINTS = 468
PRESENT = 0.5
"""Least presence of a face."""

_SIDE_PX = 192
"""Side of the model's input."""
_POINTS_OUTPUT = "conv2d_21"
"""The model's output of the points: x, y, z each."""
_PRESENCE_OUTPUT = "conv2d_31"
"""The model's output of how sure it is that it sees a face: a logit."""
_POINTS_MARGIN = 1.5
"""Side of the model's view in sides of the square around a face's points, as in MediaPipe."""
_BOX_MARGIN = 1.25
"""The same around a box. A box tight around the face wants 1.5, BlazeFace's 1.2; seen too closely
the points of a blurred face are far off, seen too widely only a little."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """The points of one face.

    points: float32, 468 x 2, read-only: x, y in px of the picture, at pixel edges.
    presence: how sure the model is that it saw a face, 0 to 1.
    """

    points: NDArray[np.float32]
    presence: float

    def __post_init__(self) -> None:
        if self.points.shape != (POINTS, 2) or not np.isfinite(self.points).all():
            raise ValueError(
                f"a mesh must be {POINTS} finite points, but got shape {self.points.shape}"
            )
        self.points.setflags(write=False)

    @property
    def eyes(self) -> tuple[Point, Point]:
        """The middles of the right and the left eye."""
        return self._middle_of(RIGHT_EYE), self._middle_of(LEFT_EYE)

    @property
    def eye_distance(self) -> float:
        """From the middle of one eye to the other's, in px."""
        return math.dist(*self.eyes)

    @property
    def landmarks(self) -> tuple[tuple[str, Point], ...]:
        """The six named points that BlazeFace gives (`mp_face.LANDMARKS`)."""
        right, left = self.eyes
        ends = (self._middle_of((row,)) for row in (RIGHT_EAR, LEFT_EAR))
        spots = (right, left, self._middle_of((NOSE_TIP,)), self._middle_of(INNER_LIPS), *ends)
        return tuple(zip(LANDMARKS, spots, strict=True))

    def _middle_of(self, rows: Sequence[int]) -> Point:
        x, y = self.points[list(rows)].mean(axis=0)
        return float(x), float(y)


class FaceMesh(Closing):
    """Finds the points of a face whose box is known. Not thread-safe: one for each thread.

    path: MediaPipe's legacy face_landmark.tflite. Raises DetectorError where it is not.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DetectorError(f"no model file at {path}: check the face mesh's path")
        self._net: Any = _open_net(path)

    def find_mesh(
        self, pixels: Pixels, box_xyxy: Box, eyes: tuple[Point, Point] | None = None
    ) -> Mesh | None:
        """Return the mesh of the face in that box, or None where the model sees no face.

        The box holds the whole face (as `MediapipeFaces` gives it) and may reach outside the
        picture. eyes: the right and the left one; without them a face may lean by some 40 degrees,
        with them as far as it likes. To compare two pictures of one face, give both the same box
        and eyes. The picture is only read.
        Raises DetectorError for what is not `Pixels`, and after close.
        """
        check_pictures((pixels,), ())
        x0, y0, x1, y1 = box_xyxy
        if not (x0 < x1 and y0 < y1 and all(map(math.isfinite, box_xyxy))):
            raise DetectorError(f"a face's box must have left < right, top < bottom: {box_xyxy}")
        square = _Square(
            np.array([(x0 + x1) / 2, (y0 + y1) / 2]),
            max(x1 - x0, y1 - y0) * _BOX_MARGIN,
            _eye_angle(eyes) if eyes else 0.0,
        )
        # The first look finds where the face is; the second sees it framed as in training.
        square = _face_square(self._find_points(pixels, square))
        points = self._find_points(pixels, square)
        presence = (1 + math.tanh(float(self._net.forward(_PRESENCE_OUTPUT).item()) / 2)) / 2
        return None if presence < PRESENT else Mesh(points.astype(np.float32), presence)

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        self._net = None

    def _find_points(self, pixels: Pixels, square: _Square) -> NDArray[np.float64]:
        """Where the model puts the points, in px of the picture, whether or not it sees a face."""
        if self._net is None:
            raise DetectorError("the face mesh was closed: open it again")
        view = square.cut_view(pixels).transpose(2, 0, 1)[None]
        self._net.setInput(view.astype(np.float32) / np.float32(255))
        seen = self._net.forward(_POINTS_OUTPUT).reshape(POINTS, 3)[:, :2]
        return np.asarray(seen @ square.view_axes.T + square.view_corner, np.float64)


@dataclass(frozen=True, eq=False)
class _Square:
    """The part of a picture that the model sees: a square around `middle`, turned clockwise."""

    middle: NDArray[np.float64]
    side: float
    turn: float

    @property
    def view_axes(self) -> NDArray[np.float64]:
        """One step right and one step down in the view, as columns, in the picture."""
        return self.side / _SIDE_PX * _rotation_matrix(self.turn)

    @property
    def view_corner(self) -> NDArray[np.float64]:
        """Where in the picture the view's upper left corner lies."""
        return np.asarray(self.middle - self.view_axes.sum(axis=1) * (_SIDE_PX / 2))

    def cut_view(self, pixels: Pixels) -> Pixels:
        """The view, _SIDE_PX wide; beyond the picture its edge pixels are repeated."""
        import cv2

        # warpAffine takes single pixels: a large face is cut out larger and then averaged down.
        times = min(max(1, round(self.side / _SIDE_PX)), 16)
        axes = self.view_axes / times
        # From pixel edges to the pixel centres that OpenCV counts in.
        shift = self.view_corner + axes.sum(axis=1) / 2 - 0.5
        large = cv2.warpAffine(
            np.ascontiguousarray(pixels),
            np.column_stack([axes, shift]),
            (_SIDE_PX * times, _SIDE_PX * times),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        view = cv2.resize(large, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
        return np.asarray(view, np.uint8)


def _open_net(path: Path) -> Any:
    import cv2

    try:
        net = cv2.dnn.readNetFromTFLite(np.fromfile(path, np.uint8))
        net.setInput(np.zeros((1, 3, _SIDE_PX, _SIDE_PX), np.float32))
        # One by one: OpenCV 5 does not count the second among the model's outputs.
        sizes = [net.forward(output).size for output in (_POINTS_OUTPUT, _PRESENCE_OUTPUT)]
    except cv2.error as error:
        raise DetectorError(f"{path} is not a face mesh that OpenCV can read: {error}") from error
    if sizes != [3 * POINTS, 1]:
        raise DetectorError(f"{path} gives {sizes} numbers, a face mesh {[3 * POINTS, 1]}")
    return net


def _face_square(points: NDArray[np.float64]) -> _Square:
    """The square in which the model sees the face of these points best."""
    right, left = (points[list(ring)].mean(axis=0) for ring in (RIGHT_EYE, LEFT_EYE))
    turn = _eye_angle((right, left))
    upright = points @ _rotation_matrix(turn)
    low, high = upright.min(axis=0), upright.max(axis=0)
    return _Square(
        _rotation_matrix(turn) @ ((low + high) / 2),
        float((high - low).max()) * _POINTS_MARGIN,
        turn,
    )


def _eye_angle(eyes: tuple[Sequence[float], Sequence[float]]) -> float:
    """How far the line from the right eye to the left is turned clockwise, in radians."""
    (right_x, right_y), (left_x, left_y) = eyes
    return math.atan2(left_y - right_y, left_x - right_x)


def _rotation_matrix(turn: float) -> NDArray[np.float64]:
    """The matrix that turns (x, y) clockwise as seen, y being down."""
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
