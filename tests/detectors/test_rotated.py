import numpy as np
import pytest

from detectors.mp_face import MediapipeFaces
from detectors.overlap import iou
from detectors.rotated import RotatedDetector
from tests.build import detection
from tests.detectors.photos import FACES, photo
from weights.environment import default_store


@pytest.fixture(scope="module")
def faces():
    with RotatedDetector(MediapipeFaces(default_store().path("blazeface"))) as detector:
        yield detector


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_face_is_found_however_the_picture_is_turned(faces, quarters):
    upright = photo("astronaut")
    turned = np.rot90(upright, quarters).copy()
    (found,) = faces.detect([turned])[0]
    (x0, y0, x1, y1), side = FACES["astronaut"][0], upright.shape[0]
    expected = {
        0: (x0, y0, x1, y1),
        1: (y0, side - x1, y1, side - x0),
        2: (side - x1, side - y1, side - x0, side - y0),
        3: (side - y1, x0, side - y0, x1),
    }[quarters]
    assert iou(found.box_xyxy, expected) > 0.6
    # The person's right eye is left of the left one, upright, and turns with the picture.
    right, left = np.array(found.landmark("right_eye")), np.array(found.landmark("left_eye"))
    level = np.degrees(np.arctan2(*(left - right)[::-1]))
    off = (level + 90 * quarters + 180) % 360 - 180
    assert abs(off) < 25


def test_rotated_copies_add_no_false_faces(faces):
    assert faces.detect([photo("rocket")]) == [()]


class Corner:
    """Finds the top left 10 x 20 px of whatever it is shown."""

    name, labels = "corner", ("face",)
    closed = False

    def detect(self, pictures, *, names=()):
        shape = {"polygon": ((0, 0), (10, 0), (10, 20)), "landmarks": (("tip", (10, 20)),)}
        return [(detection((0, 0, 10, 20), **shape),) for _ in pictures]

    def close(self):
        self.closed = True


def test_boxes_polygons_and_points_come_back_to_the_picture():
    inner = Corner()
    found = RotatedDetector(inner).detect([np.zeros((50, 80, 3), np.uint8)])[0]
    assert {d.box_xyxy: d.landmark("tip") for d in found} == {
        (0, 0, 10, 20): (10, 20),
        (60, 0, 80, 10): (60, 10),
        (70, 30, 80, 50): (70, 30),
        (0, 40, 20, 50): (20, 40),
    }
    for each in found:
        assert np.min(each.polygon, axis=0).tolist() == list(each.box_xyxy[:2])
        assert np.max(each.polygon, axis=0).tolist() == list(each.box_xyxy[2:])


def test_name_and_closing_are_the_inner_detectors():
    inner = Corner()
    with RotatedDetector(inner) as turned:
        assert (turned.name, turned.labels) == ("corner", ("face",))
    assert inner.closed
