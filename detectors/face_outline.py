"""Any detector, its faces given an outline and landmarks by the face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.base import Closing, Detector, Pixels
from detectors.detection import Detection, Point
from detectors.face_mesh import FACE_OVAL, FaceMesh, Mesh

FOREHEAD = 0.15
"""The mesh ends at the hair line or just below: what lies above the eyes is drawn so much higher.
Judged by eye on the pictures in tests/detectors/test_face_outline.py."""


SURE = 0.9
"""Least presence. A mesh that the model is less sure of is a profile's (0.69 on the one at hand),
whose outline cuts off the nose; faces of 40 px and more from the front have 0.99."""


class Outlined(Closing):
    """Finds what `detector` finds, and gives faces (label holds "face") what they lack.

    A face without polygon gets its contour, forehead to chin, one without landmarks the six named
    `mp_face.LANDMARKS`. Boxes, scores and order stay. A face that the mesh does not see, or sees
    outside the box, stays as it is. Closes the detector and the mesh. Not thread-safe.
    """

    def __init__(self, detector: Detector, mesh: FaceMesh) -> None:
        self._detector = detector
        self._mesh = mesh

    @property
    def name(self) -> str:
        """The detector's own name."""
        return self._detector.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The detector's own labels."""
        return self._detector.labels

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """See `Detector.detect`."""
        found = self._detector.detect(pictures, names=names)
        return [
            tuple(self._completed(pixels, detection) for detection in each)
            for pixels, each in zip(pictures, found, strict=True)
        ]

    def close(self) -> None:
        """Give back what both models hold. Closing again does nothing."""
        self._detector.close()
        self._mesh.close()

    def _completed(self, pixels: Pixels, face: Detection) -> Detection:
        if "face" not in face.label.lower() or (face.polygon and face.landmarks):
            return face
        right, left = face.landmark("right_eye"), face.landmark("left_eye")
        eyes = (right, left) if right and left else None
        mesh = self._mesh.find(pixels, face.box_xyxy, eyes)
        if mesh is None or mesh.presence < SURE or not _inside(mesh, face):
            return face
        size_wh = pixels.shape[1], pixels.shape[0]
        landmarks = face.landmarks or mesh.landmarks
        polygon = face.polygon or contour(mesh)
        return replace(face, landmarks=landmarks, polygon=polygon).clipped(size_wh) or face


def contour(mesh: Mesh) -> tuple[Point, ...]:
    """Return the outline of a face: the mesh's oval, drawn `FOREHEAD` higher above the eyes."""
    oval = mesh.points[list(FACE_OVAL)].astype(np.float64)
    right, left = np.array(mesh.eyes)
    across = (left - right) / max(mesh.eye_distance, 1e-6)
    up = np.array([across[1], -across[0]])
    height = np.maximum((oval - (right + left) / 2) @ up, 0)
    return tuple((float(x), float(y)) for x, y in oval + FOREHEAD * height[:, None] * up)


def _inside(mesh: Mesh, face: Detection) -> bool:
    """Whether the mesh's eyes and mouth lie in the face's box, so that they are that face's."""
    x0, y0, x1, y1 = face.box_xyxy
    spots = dict(mesh.landmarks)
    inner = (spots["right_eye"], spots["left_eye"], spots["mouth_center"])
    return all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in inner)
