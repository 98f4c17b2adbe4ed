from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.detection import Detection, in_order

FINITE = st.floats(-1000, 1000)


def make(box=(1, 2, 4, 6), *, label="face", score=0.5, **more):
    return Detection(box, label, score, "test", **more)


def test_detection_knows_its_measures():
    found = make((1, 2, 4, 6))
    assert (found.width, found.height, found.area) == (3, 4, 12)
    assert found.center_xy == (2.5, 4)


@pytest.mark.parametrize(
    ("change", "quoted"),
    [
        ({"box": (1, 2, 1, 6)}, r"\(1\.0, 2\.0, 1\.0, 6\.0\)"),
        ({"box": (1, 6, 4, 2)}, "left < right and top < bottom"),
        ({"box": (1, 2, float("nan"), 6)}, "nan"),
        ({"box": (1, 2, float("inf"), 6)}, "inf"),
        ({"box": (1, 2, 3)}, r"\(1, 2, 3\)"),
        ({"score": 1.01}, "1.01"),
        ({"score": -0.1}, "-0.1"),
        ({"score": float("nan")}, "nan"),
        ({"label": ""}, "label"),
        ({"polygon": ((0, 0), (1, 1))}, "polygon must be 3 or more"),
        ({"polygon": ((0, 0), (1, 1), (float("inf"), 1))}, "inf"),
        ({"landmarks": (("eye", (float("nan"), 0)),)}, "landmarks"),
        ({"landmarks": (("eye", (0, 0)), ("eye", (1, 1)))}, "'eye', 'eye'"),
    ],
)
def test_impossible_values_are_refused_and_quoted(change, quoted):
    with pytest.raises(ValueError, match=quoted):
        make(**change)


def test_numbers_from_numpy_become_plain_so_that_equal_ones_are_equal():
    box = np.array([1, 2, 4, 6], dtype=np.float32)
    polygon = np.array([(1, 2), (4, 2), (4, 6)], dtype=np.float32)
    found = make(tuple(box), score=np.float32(0.5), polygon=tuple(map(tuple, polygon)))
    assert found == make(polygon=((1, 2), (4, 2), (4, 6)))
    assert all(type(edge) is float for edge in (*found.box_xyxy, found.score, *found.polygon[0]))


def test_detection_is_hashable_picklable_and_frozen():
    found = make(polygon=((1, 2), (4, 2), (4, 6)), landmarks=(("eye", (2, 3)),))
    assert pickle.loads(pickle.dumps(found)) == found
    assert len({found, make(), make()}) == 2
    with pytest.raises(AttributeError):
        found.score = 1.0


def test_landmarks_are_found_by_name():
    found = make(landmarks=(("eye", (2, 3)), ("nose", (3, 4))))
    assert found.landmark("nose") == (3.0, 4.0)
    assert found.landmark("ear") is None


@given(dx=FINITE, dy=FINITE, sx=st.floats(0.1, 10), sy=st.floats(0.1, 10))
def test_moving_and_scaling_take_everything_along_and_can_be_undone(dx, dy, sx, sy):
    found = make(polygon=((1, 2), (4, 2), (4, 6)), landmarks=(("eye", (1, 2)),))
    there = found.scale_by(sx, sy).move_by(dx, dy)
    assert there.polygon[0] == there.landmark("eye") == there.box_xyxy[:2]
    back = there.move_by(-dx, -dy).scale_by(1 / sx, 1 / sy)
    assert back.box_xyxy == pytest.approx(found.box_xyxy, abs=1e-6)
    assert np.allclose(back.polygon, found.polygon, atol=1e-6)
    assert (there.label, there.score, there.detector) == (found.label, found.score, found.detector)


@pytest.mark.parametrize("scale", [(0, 1), (1, -2), (float("nan"), 1)])
def test_scale_that_is_not_above_zero_is_refused(scale):
    with pytest.raises(ValueError, match="above 0"):
        make().scale_by(*scale)


def test_clipping_cuts_box_and_polygon_to_the_picture():
    found = make(
        (-5, 2, 20, 30), polygon=((-5, 2), (20, 2), (20, 30)), landmarks=(("eye", (-5, 2)),)
    )
    cut = found.clip_to((10, 8))
    assert cut.box_xyxy == (0, 2, 10, 8)
    assert cut.polygon == ((0, 2), (10, 2), (10, 8))
    assert cut.landmark("eye") == (-5, 2)


def test_clipping_leaves_nothing_of_what_lies_outside():
    assert make((10, 0, 12, 5)).clip_to((10, 8)) is None
    assert make((-3, -3, 0, 5)).clip_to((10, 8)) is None
    assert make().clip_to((10, 8)) == make()


def test_order_is_by_score_then_place_then_label_whatever_came_first():
    first, second = make(score=0.9), make((0, 0, 1, 1), label="a")
    third, fourth = make((0, 0, 1, 1), label="b"), make((0, 1, 1, 2), label="a")
    for mixed in ([fourth, second, first, third], [third, fourth, second, first]):
        assert in_order(mixed) == (first, second, third, fourth)
    assert in_order([]) == ()
