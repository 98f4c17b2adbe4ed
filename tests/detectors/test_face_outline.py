"""Faces get an outline and landmarks from the mesh, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from detectors.base import Closing
from detectors.detection import Detection
from detectors.face_mesh import FACE_OVAL, FaceMesh
from detectors.face_outline import OutlinedDetector, face_contour
from detectors.mp_face import LANDMARKS
from detectors.rotated import RotatedDetector
from tests.detectors.photos import FACES, photo


class FixedDetector(Closing):
    """Finds what it is given."""

    name = "fixed"
    labels = ("face", "hand")

    def __init__(self, *found: Detection) -> None:
        self.found = found
        self.closed = False

    def detect(self, pictures, *, names=()):
        return [self.found for _ in pictures]

    def close(self):
        self.closed = True


def make_face(name="hopper", label="face", **more) -> Detection:
    return Detection(FACES[name][0], label, 0.9, "fixed", **more)


def completed(mesh, *found, picture=None):
    picture = photo("hopper") if picture is None else picture
    (seen,) = OutlinedDetector(FixedDetector(*found), mesh).detect([picture])
    assert len(seen) == len(found)
    return seen


def inside(polygon, spot):
    return cv2.pointPolygonTest(np.array(polygon, np.float32), spot, False) > 0


@pytest.mark.parametrize("name", ["hopper", "astronaut"])
def test_outline_holds_the_face_and_not_much_more(mesh, faces, name):
    (before,) = faces.detect([photo(name)])[0]
    (after,) = completed(mesh, before, picture=photo(name))
    assert replace(after, polygon=None) == before
    for spot in LANDMARKS[:4]:
        assert inside(after.polygon, after.landmark(spot)), spot
    assert not inside(after.polygon, (before.box_xyxy[0] + 1, before.box_xyxy[1] + 1))
    area = cv2.contourArea(np.array(after.polygon, np.float32))
    x0, y0, x1, y1 = FACES[name][0]
    ellipse = np.pi / 4 * (x1 - x0) * (y1 - y0)
    assert 0.75 < area / ellipse < 1.25
    (left, top), (right, bottom) = np.min(after.polygon, axis=0), np.max(after.polygon, axis=0)
    slack = 0.12 * (y1 - y0)
    assert (left, top, right, bottom) == pytest.approx((x0, y0, x1, y1), abs=slack)


def test_face_without_landmarks_gets_them(mesh):
    (after,) = completed(mesh, make_face(label="Anime_Face"))
    assert tuple(name for name, _ in after.landmarks) == LANDMARKS
    assert (after.box_xyxy, after.score) == (make_face().box_xyxy, 0.9)


def test_forehead_grows_and_the_chin_stays(mesh):
    seen = mesh.find_mesh(photo("hopper"), FACES["hopper"][0])
    oval, grown = seen.points[list(FACE_OVAL)], np.array(face_contour(seen))
    moved = oval - grown
    assert moved[:, 1].max() == pytest.approx(moved[0, 1])  # the first point is the topmost
    assert 2 < moved[0, 1] < 0.1 * (oval[:, 1].max() - oval[:, 1].min())
    chin = oval[:, 1] > seen.landmarks[2][1][1]
    assert chin.sum() > 10
    assert np.abs(moved[chin]).max() < 1e-4


def test_hands_complete_faces_and_unseen_faces_stay_as_they_are(mesh):
    hand = make_face(label="hand")
    nowhere = replace(make_face(), box_xyxy=(0, 400, 60, 500))
    beside = replace(make_face(), box_xyxy=(150, 110, 250, 360))  # half of the face
    polygon = ((0, 0), (9, 0), (0, 9))
    whole = make_face(polygon=polygon, landmarks=(("right_eye", (1, 2)),))
    assert completed(mesh, hand, nowhere, beside, whole) == (hand, nowhere, beside, whole)
    (kept,) = completed(mesh, make_face(polygon=polygon))
    assert kept.polygon == polygon
    assert kept.landmarks


def test_profile_keeps_its_box(mesh, faces):
    found = faces.detect([photo("zidane")])[0]
    seen = completed(mesh, *found, picture=photo("zidane"))
    profile, front = sorted(seen, key=lambda face: face.box_xyxy)
    assert profile in found
    assert front.polygon is not None


def test_outline_at_the_pictures_edge_stays_inside(mesh):
    picture = photo("hopper")[150:]
    x0, _, x1, y1 = FACES["hopper"][0]
    (after,) = completed(
        mesh, replace(make_face(), box_xyxy=(x0, 0, x1, y1 - 150)), picture=picture
    )
    assert min(y for _, y in after.polygon) == 0
    assert len(after.polygon) == len(FACE_OVAL)


def test_faces_in_rotated_copies_are_outlined_too(mesh, faces):
    picture = np.ascontiguousarray(np.rot90(photo("astronaut")))
    (face,) = RotatedDetector(OutlinedDetector(faces, mesh)).detect([picture])[0]
    assert all(inside(face.polygon, face.landmark(spot)) for spot in LANDMARKS[:4])


def test_name_labels_and_closing_are_the_detectors(mesh_model):
    detector = FixedDetector()
    with OutlinedDetector(detector, FaceMesh(mesh_model)) as outlined:
        assert (outlined.name, outlined.labels) == ("fixed", ("face", "hand"))
    assert detector.closed
