import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.settings.region_sections import Choose
from autofix.stages.choose import choose
from tests.build import detection, picture

SEEN = picture(200, 100)
SMALL = detection((100, 40, 110, 50), score=0.5)
LARGE = detection((10, 10, 60, 90), score=0.6)
SURE = detection((150, 20, 180, 50), score=0.9)
ALL = (SMALL, LARGE, SURE)


def numbers(regions, *, open_only=False):
    return [ALL.index(r.detection) for r in regions if not (open_only and r.skip)]


def test_nothing_found_is_no_region():
    assert choose(SEEN, (), Choose()) == ()


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("none", [0, 1, 2]),
        ("left-right", [1, 0, 2]),
        ("center-edge", [0, 1, 2]),
        ("area", [1, 2, 0]),
    ],
)
def test_regions_are_numbered_in_the_stated_order(sort, order):
    regions = choose(SEEN, ALL, Choose(sort=sort))
    assert numbers(regions) == order
    assert [region.index for region in regions] == [0, 1, 2]


@pytest.mark.parametrize(("by", "kept"), [("area", [1, 2]), ("confidence", [1, 2])])
def test_a_limit_never_reorders(by, kept):
    """Elsewhere any limit sorted largest first, and scores stayed behind the boxes."""
    regions = choose(SEEN, ALL, Choose(limit=2, limit_by=by, sort="left-right"))
    assert numbers(regions) == [1, 0, 2]
    assert numbers(regions, open_only=True) == kept
    assert "over the limit of 2 by" in regions[1].skip


@pytest.mark.parametrize(
    ("settings", "dropped", "reason"),
    [
        (Choose(min_ratio=0.01), [0], "is under min_ratio 0.01"),
        (Choose(max_ratio=0.1), [1], "is over max_ratio 0.1"),
        (Choose(min_side=20), [0], "side 10 px is under min_side 20"),
    ],
)
def test_filters_keep_the_region_with_its_reason(settings, dropped, reason):
    regions = choose(SEEN, ALL, settings)
    assert [ALL.index(r.detection) for r in regions if r.skip] == dropped
    assert all(reason in r.skip for r in regions if r.skip)


def test_a_box_outside_the_picture_is_skipped_and_one_across_the_edge_is_cut():
    outside, across = choose(
        SEEN,
        [detection((300, 0, 310, 9)), detection((190.5, 90.2, 260, 130))],
        Choose(sort="none"),
    )
    assert "outside the picture" in outside.skip
    assert across.mask.box_xyxy == (190, 90, 200, 100)


def test_only_the_chosen_numbers_are_repainted_and_numbers_stay():
    regions = choose(SEEN, ALL, Choose(faces=(1, 3)))
    assert numbers(regions) == [1, 0, 2]
    assert [region.index for region in regions] == [0, 1, 2]
    assert numbers(regions, open_only=True) == [1, 2]
    assert regions[1].skip == "not among the chosen numbers 1, 3"


def test_a_chosen_number_that_does_not_exist_is_said_and_harms_nobody():
    regions = choose(SEEN, ALL, Choose(faces=(2, 9, 7)))
    assert numbers(regions, open_only=True) == [0]
    assert regions[0].skip == "not among the chosen numbers 2, 9, 7; there is no 7, 9"
    assert choose(SEEN, (), Choose(faces=(2,))) == ()


def test_the_filters_hold_for_chosen_numbers_and_the_limit_counts_these_alone():
    regions = choose(SEEN, ALL, Choose(faces=(2, 3), min_side=20, limit=1))
    assert numbers(regions, open_only=True) == [2]
    assert "is under min_side 20" in regions[1].skip
    regions = choose(SEEN, ALL, Choose(faces=(2, 3), limit=1))  # the largest is not chosen
    assert numbers(regions, open_only=True) == [2]


def test_a_share_of_the_picture_is_that_of_the_part_inside():
    (whole,) = choose(SEEN, [detection((-50, -50, 300, 300))], Choose(max_ratio=1))
    assert not whole.skip
    assert whole.detection.box_xyxy == (0, 0, 200, 100)
    (half,) = choose(SEEN, [detection((-100, 0, 100, 100))], Choose(min_ratio=0.6))
    assert "area ratio 0.5000 is under min_ratio 0.6" in half.skip


@pytest.mark.parametrize("bound", ["min_ratio", "max_ratio"])
def test_the_bounds_themselves_are_within(bound):
    (region,) = choose(SEEN, [detection((0, 0, 50, 100))], Choose(**{bound: 0.25}))
    assert not region.skip


numbers_ = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 10000)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    size_wh=st.tuples(st.integers(1, 9000), st.integers(1, 30)),
    found=st.lists(st.tuples(numbers_, numbers_, numbers_, numbers_), max_size=5),
    sort=st.sampled_from(["none", "left-right", "center-edge", "area"]),
    limit=st.integers(0, 3),
    faces=st.lists(st.integers(1, 6), max_size=3).map(tuple),
)
def test_any_boxes_are_numbered_and_cut_to_the_picture(size_wh, found, sort, limit, faces):
    """Outside, empty, huge: every box that is one becomes a region, open or with a reason."""
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in found]
    boxes = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    section = Choose(sort=sort, limit=limit, faces=faces)
    regions = choose(picture(*size_wh), [detection(box) for box in boxes], section)
    assert [region.index for region in regions] == list(range(len(boxes)))
    if limit:
        assert sum(not region.skip for region in regions) <= limit
    for region in regions:
        x0, y0, x1, y1 = region.mask.box_xyxy
        assert 0 <= x0 <= x1 <= size_wh[0]
        assert 0 <= y0 <= y1 <= size_wh[1]
        assert region.skip or region.mask.area > 0
