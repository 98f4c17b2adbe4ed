"""A detector around another one: adds outline and landmarks to its faces, by the face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.base import Detector, Pixels, WrappingDetector
from detectors.detection import Detection, Point
from detectors.face_mesh import FACE_OVAL, FaceMesh, Mesh

FOREHEAD_GROWTH = 0.15
"""The mesh ends at the hair line or just below: the outline above the eyes is drawn higher by this
part of its height. Chosen by eye on the pictures in tests/detectors/test_face_outline.py."""

LEAST_PRESENCE = 0.9
"""A mesh of less presence is a profile's (0.69 in the test picture), whose outline cuts off the
nose; faces of 40 px and more from the front have 0.99."""


class OutlinedDetector(WrappingDetector):
    """Finds what `detector` finds, and gives faces (label holds "face") what they lack.

    A face without polygon gets its contour, forehead to chin, one without landmarks the six named
    `mp_face.LANDMARKS`. Boxes, scores and order stay. A face that the mesh does not see, or sees
    outside the box, stays as it is. Closes the detector and the mesh. Not thread-safe.
    """

    def __init__(self, detector: Detector, mesh: FaceMesh) -> None:
        super().__init__(detector)
        self._mesh = mesh

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """See `Detector.detect`."""
        found = self._detector.detect(pictures, names=names)
        return [
            tuple(self._complete_face(pixels, detection) for detection in detections)
            for pixels, detections in zip(pictures, found, strict=True)
        ]

    def close(self) -> None:
        """Give back what both models hold. Closing again does nothing."""
        super().close()
        self._mesh.close()

    def _complete_face(self, pixels: Pixels, face: Detection) -> Detection:
        if "face" not in face.label.lower() or (face.polygon and face.landmarks):
            return face
        right, left = face.landmark("right_eye"), face.landmark("left_eye")
        eyes = (right, left) if right and left else None
        mesh = self._mesh.find_mesh(pixels, face.box_xyxy, eyes)
        if mesh is None or mesh.presence < LEAST_PRESENCE or not _lies_in_box(mesh, face):
            return face
        size_wh = pixels.shape[1], pixels.shape[0]
        landmarks = face.landmarks or mesh.landmarks
        polygon = face.polygon or face_contour(mesh)
        return replace(face, landmarks=landmarks, polygon=polygon).clip_to(size_wh) or face


def face_contour(mesh: Mesh) -> tuple[Point, ...]:
    """Return the outline of a face: the mesh's oval, grown above the eyes by `FOREHEAD_GROWTH`."""
    oval = mesh.points[list(FACE_OVAL)].astype(np.float64)
    right, left = np.array(mesh.eyes)
    across = (left - right) / max(mesh.eye_distance, 1e-6)
    up = np.array([across[1], -across[0]])
    height = np.maximum((oval - (right + left) / 2) @ up, 0)
    return tuple((float(x), float(y)) for x, y in oval + FOREHEAD_GROWTH * height[:, None] * up)


def _lies_in_box(mesh: Mesh, face: Detection) -> bool:
    """Whether the mesh's eyes and mouth lie in the face's box, so that they are that face's."""
    x0, y0, x1, y1 = face.box_xyxy
    spots = dict(mesh.landmarks)
    inner = (spots["right_eye"], spots["left_eye"], spots["mouth_center"])
    return all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in inner)
