import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autofix.settings.region_sections import Choose, Mask
from autofix.stages.choose import choose
from autofix.stages.mask import mask, merge
from tests.build import detection, picture


def masked(box, size_wh=(200, 160), *, polygon=None, **section):
    seen = picture(*size_wh)
    region = choose(seen, [detection(box, polygon=polygon)], Choose())[0]
    return mask(region, size_wh, Mask(**section))


def test_the_blurred_box_has_a1111s_golden_box_and_values():
    """Mask (400,300)-(499,419), blur 4: the blurred mask is (390,290,510,430)."""
    soft = masked((400, 300, 500, 420), (1000, 800), dilate=0, blur=4).mask
    assert soft.box_xyxy == (390, 290, 510, 430)
    full = np.zeros((800, 1000), np.uint8)
    full[300:420, 400:500] = 255
    blurred = cv2.GaussianBlur(cv2.GaussianBlur(full, (21, 1), 4), (1, 21), 4, sigmaY=4)
    assert np.array_equal(soft.within((0, 0, 1000, 800)), blurred)


@pytest.mark.parametrize(("dilate", "grown"), [(4, 2), (5, 2), (8, 4), (-4, -2), (0, 0)])
def test_dilation_is_symmetric(dilate, grown):
    """A 4x4 kernel grew 1 px left and 2 px right."""
    soft = masked((50, 40, 90, 100), dilate=dilate, blur=0).mask
    assert soft.box_xyxy == (50 - grown, 40 - grown, 90 + grown, 100 + grown)
    assert soft.values.min() == 255


def test_shares_grow_with_the_box():
    """Absolute px are most of a small face and nothing to a large one."""
    small = masked((50, 50, 60, 75), dilate="32%", blur=0).mask
    large = masked((20, 20, 60, 120), dilate="32%", blur=0).mask
    assert small.box_xyxy == (46, 46, 64, 79)
    assert large.box_xyxy == (4, 4, 76, 136)


def test_a_mask_emptied_by_erosion_is_skipped_and_stays_with_its_own_box():
    """An emptied mask shifted all later masks to other faces' boxes."""
    seen = picture(200, 160)
    regions = choose(seen, [detection((5, 5, 9, 9)), detection((50, 50, 150, 150))], Choose())
    small, large = (mask(region, seen.size_wh, Mask(dilate=-8, blur=0)) for region in regions)
    assert "empty after dilating by -8" in small.skip
    assert not large.skip
    assert large.mask.box_xyxy == (54, 54, 146, 146)
    assert large.detection.box_xyxy == (50, 50, 150, 150)


def test_at_the_edge_it_is_cut_and_not_wrapped_nor_faded():
    """Masks wrapped round the edge."""
    soft = masked((0, 60, 40, 100), dilate=4, blur=4).mask
    assert soft.box_xyxy[0] == 0
    assert soft.box_xyxy[2] <= 40 + 2 + 10
    assert soft.values[soft.values.shape[0] // 2, 0] == 255


def test_an_ellipse_touches_the_box_and_leaves_its_corners():
    soft = masked((50, 40, 90, 100), shape="ellipse", dilate=0, blur=0).mask
    assert soft.box_xyxy == (50, 40, 90, 100)
    assert soft.values[0, 0] == soft.values[-1, -1] == 0
    assert soft.area == pytest.approx(np.pi * 20 * 30, rel=0.01)


def test_an_outline_is_right_to_under_a_pixel():
    """A mask resized from the letterbox was 9.5 px off."""
    triangle = ((20.0, 20.0), (120.0, 20.0), (20.0, 120.0))
    soft = masked((20, 20, 120, 120), polygon=triangle, shape="outline", dilate=0, blur=0).mask
    assert abs(soft.area - 5000) < 50  # the outline is 341 px long: 0.15 px everywhere
    seen = soft.within((0, 0, 200, 160)) > 0
    assert seen[25, 25]
    assert seen[20:118, 20].all()
    assert not seen[100, 100]
    assert not seen[:20].any()


def test_without_an_outline_the_box_serves():
    soft = masked((50, 40, 90, 100), shape="outline", dilate=0, blur=0).mask
    assert soft.area == 40 * 60


@pytest.mark.parametrize("shape", ["box", "ellipse", "outline"])
def test_an_offset_moves_the_whole_shape_right_and_up(shape):
    section = {"polygon": OUTLINE, "shape": shape, "dilate": 4, "blur": 4}
    still = masked((50, 40, 90, 100), **section).mask
    moved = masked((50, 40, 90, 100), **section, offset_x=7, offset_y=5).mask
    assert np.array_equal(moved.values, still.values)
    x0, y0, x1, y1 = still.box_xyxy
    assert moved.box_xyxy == (x0 + 7, y0 - 5, x1 + 7, y1 - 5)


def test_an_offset_can_be_a_share_of_the_box():
    soft = masked((50, 40, 90, 100), offset_x="10%", offset_y="-50%", dilate=0, blur=0).mask
    assert soft.box_xyxy == (56, 70, 96, 130)


def test_what_is_moved_out_of_the_picture_is_cut_off():
    soft = masked((5, 100, 60, 120), offset_x=-20, dilate=0, blur=0).mask
    assert soft.box_xyxy == (0, 100, 40, 120)
    gone = masked((5, 100, 60, 120), offset_x=-60, dilate=0, blur=0)
    assert gone.skip == "its mask is empty after dilating by 0 and moving by -60, 0"
    far = masked((5, 100, 60, 120), offset_y=99999)
    assert "and moving by 0, 99999" in far.skip


OUTLINE = ((50.0, 40.0), (90.0, 70.0), (60.0, 100.0))


def merged(boxes, size_wh=(200, 160), *, choose_=None, **section):
    settings_ = Mask(**{"dilate": 0, "blur": 0, **section})
    found = [detection(box, score=0.5 + 0.1 * n) for n, box in enumerate(boxes)]
    regions = choose(picture(*size_wh), found, choose_ or Choose(sort="none"))
    regions = tuple(mask(region, size_wh, settings_) for region in regions)
    return regions, merge(regions, size_wh, settings_)


TWO = ((20, 20, 60, 60), (100, 50, 150, 120))


def test_merging_makes_one_region_of_all():
    _, (first, second) = merged(TWO, merge="merge")
    assert not first.skip
    assert second.skip == "merged into region 1"
    assert first.mask.box_xyxy == first.detection.box_xyxy == (20, 20, 150, 120)
    assert first.mask.area == 40 * 40 + 50 * 70
    assert (first.detection.label, first.detection.score) == ("face", pytest.approx(0.6))
    assert first.detection.detector == "test"


def test_merging_and_inverting_leaves_out_only_what_was_found():
    _, (first, second) = merged(TWO, merge="merge-invert")
    assert second.skip == "merged into region 1"
    assert first.mask.box_xyxy == first.detection.box_xyxy == (0, 0, 200, 160)
    assert first.mask.area == 200 * 160 - 40 * 40 - 50 * 70
    seen = first.mask.within((0, 0, 200, 160)) > 0
    assert not seen[20:60, 20:60].any()
    assert not seen[50:120, 100:150].any()


def test_shapes_are_merged_before_they_are_blurred():
    """Two boxes that touch: one mask without a dent between them, as ADetailer's order gives."""
    _, (first, _) = merged(((20, 20, 60, 60), (60, 20, 100, 60)), merge="merge", blur=4)
    one = masked((20, 20, 100, 60), dilate=0, blur=4)
    assert first.mask.box_xyxy == one.mask.box_xyxy
    assert np.array_equal(first.mask.values, one.mask.values)
    _, (inverse,) = merged(((20, 20, 100, 60),), merge="merge-invert", blur=4)
    assert (
        np.abs(inverse.mask.values + one.mask.within((0, 0, 200, 160)).astype(int) - 255).max() <= 1
    )


@pytest.mark.parametrize("boxes", [(), TWO])
def test_without_merging_the_regions_stay(boxes):
    before, after = merged(boxes, merge="none")
    assert all(a is b for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("how", ["merge", "merge-invert"])
def test_with_nothing_to_repaint_nothing_is_merged(how):
    before, after = merged(TWO, merge=how, choose_=Choose(min_side=999))
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert merged((), merge=how) == ((), ())


def test_a_single_thing_is_inverted_but_not_merged():
    before, after = merged(TWO[:1], merge="merge")
    assert after[0] is before[0]
    _, (inverse,) = merged(TWO[:1], merge="merge-invert")
    assert inverse.mask.area == 200 * 160 - 40 * 40


def test_skipped_things_take_no_part_in_merging():
    boxes = ((0, 0, 9, 9), *TWO)
    _, (small, first, second) = merged(
        boxes, merge="merge", choose_=Choose(sort="none", min_side=20)
    )
    assert "min_side" in small.skip
    assert first.mask.box_xyxy == (20, 20, 150, 120)
    assert second.skip == "merged into region 2"
    assert first.index == 1


def test_where_the_things_cover_all_there_is_nothing_to_repaint_around_them():
    _, (region,) = merged(((0, 0, 200, 160),), merge="merge-invert")
    assert region.skip == "its mask is empty: the things found cover the whole picture"


def test_a_large_polygon_is_drawn_as_a_small_one():
    """Drawn in bands: they meet without a seam."""
    corners = ((10.0, 5.0), (150.0, 300.0), (30.0, 700.5), (5.0, 400.0))
    soft = masked((5, 5, 150, 701), (200, 800), polygon=corners, shape="outline", dilate=0, blur=0)
    values = soft.mask.within((0, 0, 200, 800)).astype(float) / 255
    ends = np.array([*corners, corners[0]])
    area = abs((ends[:-1, 0] * ends[1:, 1] - ends[1:, 0] * ends[:-1, 1]).sum()) / 2
    assert values.sum() == pytest.approx(area, rel=0.005)
    rows = values.sum(axis=1)
    for seam in (256, 512):
        assert abs(rows[seam] - (rows[seam - 1] + rows[seam + 1]) / 2) < 0.2


def test_an_outline_may_reach_out_of_its_box():
    soft = masked((60, 50, 80, 90), polygon=OUTLINE, shape="outline", dilate=0, blur=0).mask
    rows, columns = np.nonzero(soft.within((0, 0, 200, 160)) > 99)
    assert (columns.min(), rows.min()) == (50, 40)
    assert abs(columns.max() - 89) <= 1
    assert abs(rows.max() - 99) <= 1


wild = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 10000)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size_wh=st.tuples(st.integers(1, 9000), st.integers(1, 30)),
    across=st.booleans(),
    corners=st.lists(st.tuples(wild, wild, wild, wild), min_size=1, max_size=3),
    lengths=st.tuples(*[st.sampled_from([0, 3, -7, "20%", "-300%", 99999, -99999])] * 3),
    blur=st.sampled_from([0, 2, "1%", 99999]),
    shape=st.sampled_from(["box", "ellipse", "outline"]),
    how=st.sampled_from(["none", "merge", "merge-invert"]),
)
@example(
    (300, 20), False, [(-1e300, -1e300, 1e300, 1e300)], ("9999%",) * 3, 99999, "ellipse", "merge"
)
def test_any_box_gives_a_mask_inside_the_picture_or_a_reason(
    size_wh, across, corners, lengths, blur, shape, how
):
    size_wh = size_wh[::-1] if across else size_wh
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    found = [
        detection(box, polygon=(box[:2], box[2:], (box[0], box[3])))
        for box in boxes
        if box[0] < box[2] and box[1] < box[3]
    ]
    dilate, right, up = lengths
    section = Mask(dilate=dilate, offset_x=right, offset_y=up, blur=blur, shape=shape, merge=how)
    regions = choose(picture(*size_wh), found, Choose())
    regions = tuple(mask(region, size_wh, section) for region in regions)
    for region in merge(regions, size_wh, section):
        if region.skip:
            continue
        x0, y0, x1, y1 = region.mask.box_xyxy
        assert 0 <= x0 < x1 <= size_wh[0]
        assert 0 <= y0 < y1 <= size_wh[1]
        assert region.mask.values.any()
