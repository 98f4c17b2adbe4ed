from __future__ import annotations

import cv2
import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.mp_hand import LANDMARKS, MediapipeHands
from detectors.overlap import iou
from tests.detectors.photos import HANDS, photo


@pytest.mark.parametrize("name", HANDS)
def test_hands_of_a_photograph_are_found_and_nothing_else(hands, name):
    found = hands.detect([photo(name)])[0]
    assert len(found) == len(HANDS[name]), [d.box_xyxy for d in found]
    for box in HANDS[name]:
        assert max(iou(hand.box_xyxy, box) for hand in found) > 0.65


def test_outline_is_convex_holds_the_joints_and_spans_the_box(hands):
    for hand in hands.detect([photo("bus")])[0]:
        assert (hand.label, hand.detector) == ("hand", "mediapipe-hand")
        assert tuple(name for name, _ in hand.landmarks) == LANDMARKS
        outline = np.array(hand.polygon, dtype=np.float32)
        assert cv2.isContourConvex(outline)
        assert (*outline.min(axis=0), *outline.max(axis=0)) == pytest.approx(hand.box_xyxy)
        reach = [cv2.pointPolygonTest(outline, spot, True) for _, spot in hand.landmarks]
        assert min(reach) > 0.05 * hand.width  # flesh outside every joint


def test_landmarks_of_a_known_hand(hands):
    (hand,) = hands.detect([photo("zidane")])[0]
    assert np.hypot(*np.subtract(hand.landmark("index_tip"), (1145, 414))) < 12
    assert hand.landmark("wrist")[0] < hand.landmark("index_mcp")[0] < hand.landmark("index_tip")[0]


def test_hands_have_21_joints():
    assert len(set(LANDMARKS)) == 21
    assert LANDMARKS[:6] == (
        "wrist",
        "thumb_cmc",
        "thumb_mcp",
        "thumb_ip",
        "thumb_tip",
        "index_mcp",
    )
    assert LANDMARKS[9] == "middle_mcp"
    assert LANDMARKS[-1] == "pinky_tip"


def test_flat_pictures_have_no_hands(hands):
    assert hands.detect([]) == []
    assert hands.detect([np.full((40, 300, 3), 90, np.uint8)]) == [()]


def test_face_model_is_refused(face_model):
    with pytest.raises(DetectorError, match="not a model that mediapipe-hand can use"):
        MediapipeHands(face_model)
