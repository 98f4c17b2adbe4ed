import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.recipe import Choose, Mask
from autofix.stages.choose import choose
from autofix.stages.mask import mask
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
    """Defect 7: a 4x4 kernel grew 1 px left and 2 px right."""
    soft = masked((50, 40, 90, 100), dilate=dilate, blur=0).mask
    assert soft.box_xyxy == (50 - grown, 40 - grown, 90 + grown, 100 + grown)
    assert soft.values.min() == 255


def test_shares_grow_with_the_box():
    """Defect 21: absolute px are most of a small face and nothing to a large one."""
    small = masked((50, 50, 60, 75), dilate="32%", blur=0).mask
    large = masked((20, 20, 60, 120), dilate="32%", blur=0).mask
    assert small.box_xyxy == (46, 46, 64, 79)
    assert large.box_xyxy == (4, 4, 76, 136)


def test_a_mask_emptied_by_erosion_is_skipped_and_stays_with_its_own_box():
    """Defect 1: an emptied mask shifted all later masks to other faces' boxes."""
    seen = picture(200, 160)
    regions = choose(seen, [detection((5, 5, 9, 9)), detection((50, 50, 150, 150))], Choose())
    small, large = (mask(region, seen.size_wh, Mask(dilate=-8, blur=0)) for region in regions)
    assert "empty after dilating by -8" in small.skip
    assert not large.skip
    assert large.mask.box_xyxy == (54, 54, 146, 146)
    assert large.detection.box_xyxy == (50, 50, 150, 150)


def test_at_the_edge_it_is_cut_and_not_wrapped_nor_faded():
    """Defect 6: masks wrapped round the edge."""
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
    """Defect 12: a mask resized from the letterbox was 9.5 px off."""
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


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size_wh=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    origin=st.tuples(st.floats(-50, 320), st.floats(-50, 320)),
    extent=st.tuples(st.floats(0.01, 400), st.floats(0.01, 400)),
    dilate=st.floats(-40, 40),
    blur=st.floats(0, 20),
    shape=st.sampled_from(["box", "ellipse", "outline"]),
)
def test_any_box_gives_a_mask_inside_the_picture_or_a_reason(
    size_wh, origin, extent, dilate, blur, shape
):
    box = (*origin, origin[0] + extent[0], origin[1] + extent[1])
    seen = picture(*size_wh)
    region = mask(
        choose(seen, [detection(box)], Choose())[0],
        size_wh,
        Mask(dilate=dilate, blur=blur, shape=shape),
    )
    if region.skip:
        return
    x0, y0, x1, y1 = region.mask.box_xyxy
    assert 0 <= x0 < x1 <= size_wh[0]
    assert 0 <= y0 < y1 <= size_wh[1]
    assert region.mask.values.any()
