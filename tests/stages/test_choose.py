import pytest

from autofix.recipe import Choose
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
    """Defect 5: any limit sorted largest first; defect 4: scores stayed behind the boxes."""
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
