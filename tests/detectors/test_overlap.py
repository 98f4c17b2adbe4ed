from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.detection import Detection, in_order
from detectors.overlap import (
    cluster_detections,
    intersection_area,
    iou,
    mean_of,
    overlap_of_smaller,
    suppress_overlaps,
)

EDGE = st.integers(0, 30)
BOXES = st.tuples(EDGE, EDGE, st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
DETECTIONS = st.lists(
    st.builds(
        Detection,
        BOXES,
        st.sampled_from(["face", "hand"]),
        st.sampled_from([0.3, 0.5, 0.9]),
        st.just("test"),
    ),
    max_size=12,
)


def make(box, *, score=0.5, label="face", **more):
    return Detection(box, label, score, "test", **more)


@pytest.mark.parametrize(
    ("a", "b", "shared", "union", "smaller"),
    [
        ((0, 0, 2, 2), (5, 5, 6, 6), 0, 0, 0),  # apart
        ((0, 0, 2, 2), (2, 0, 4, 2), 0, 0, 0),  # touching
        ((0, 0, 2, 2), (0, 0, 2, 2), 4, 1, 1),  # the same
        ((0, 0, 4, 4), (1, 1, 2, 2), 1, 1 / 16, 1),  # one inside the other
        ((0, 0, 2, 2), (1, 0, 3, 2), 2, 1 / 3, 1 / 2),  # side by side
    ],
)
def test_measures_of_two_boxes(a, b, shared, union, smaller):
    assert intersection_area(a, b) == shared
    assert iou(a, b) == pytest.approx(union)
    assert overlap_of_smaller(a, b) == pytest.approx(smaller)


@given(BOXES, BOXES)
def test_measures_are_symmetric_and_between_0_and_1(a, b):
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= overlap_of_smaller(a, b) == overlap_of_smaller(b, a) <= 1
    assert (iou(a, b) == 1) == (a == b)


def test_boxes_without_area_overlap_nothing():
    assert iou((1, 1, 1, 1), (1, 1, 1, 1)) == overlap_of_smaller((1, 1, 1, 2), (0, 0, 3, 3)) == 0


def test_no_detections_make_no_clusters():
    assert suppress_overlaps([], iou_above=0.5) == cluster_detections([], iou_above=0.5) == ()


def test_best_of_an_overlapping_pair_stays_and_other_labels_do_too():
    best, worse = make((0, 0, 10, 10), score=0.9), make((1, 0, 11, 10), score=0.8)
    hand = make((0, 0, 10, 10), label="hand", score=0.4)
    assert suppress_overlaps([worse, hand, best], iou_above=0.5) == (best, hand)


def test_box_inside_another_goes_only_by_the_second_criterion():
    large, small = make((0, 0, 10, 10), score=0.9), make((2, 2, 5, 5), score=0.8)
    assert suppress_overlaps([large, small], iou_above=0.3) == (large, small)
    assert suppress_overlaps([large, small], iou_above=0.3, smaller_above=0.6) == (large,)


def test_box_that_overlaps_only_a_dropped_one_stays():
    chain = [make((4 * i, 0, 4 * i + 10, 10), score=0.9 - i / 10) for i in range(3)]
    assert suppress_overlaps(chain, iou_above=0.4) == (chain[0], chain[2])


@given(DETECTIONS, st.floats(0, 1), st.floats(0, 1), st.randoms())
def test_suppression_keeps_apart_what_it_keeps_and_ignores_the_order(found, limit, smaller, random):
    kept = suppress_overlaps(found, iou_above=limit, smaller_above=smaller)
    shuffled = random.sample(found, len(found))
    assert kept == suppress_overlaps(shuffled, iou_above=limit, smaller_above=smaller)
    assert kept == suppress_overlaps(kept, iou_above=limit, smaller_above=smaller) == in_order(kept)
    for index, one in enumerate(kept):
        for other in kept[index + 1 :]:
            if one.label == other.label:
                assert iou(one.box_xyxy, other.box_xyxy) <= limit
                assert overlap_of_smaller(one.box_xyxy, other.box_xyxy) <= smaller


@given(DETECTIONS, st.floats(0, 1))
def test_detections_are_in_one_cluster_each(found, limit):
    gathered = cluster_detections(found, iou_above=limit)
    assert in_order([one for cluster in gathered for one in cluster]) == in_order(found)
    for cluster in gathered:
        assert cluster == in_order(cluster)
        assert len({one.label for one in cluster}) == 1


def test_mean_is_weighted_by_score_and_goes_by_the_first():
    spot, other = (("eye", (0.0, 0.0)),), (("eye", (4.0, 8.0)),)
    outline = ((0, 0), (1, 0), (1, 1))
    first = make((0, 0, 4, 4), score=0.75, landmarks=spot, polygon=outline)
    second = make((4, 0, 8, 4), score=0.25, landmarks=other)
    mean = mean_of([first, second])
    assert mean == make((1, 0, 5, 4), score=0.75, landmarks=(("eye", (1.0, 2.0)),))
    assert mean_of([second]) == second
    assert mean_of([make((0, 0, 2, 2), score=0), make((2, 0, 4, 2), score=0)]).box_xyxy == (
        1,
        0,
        3,
        2,
    )
