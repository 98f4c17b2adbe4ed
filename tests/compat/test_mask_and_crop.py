"""What other detailers get wrong in choosing, masks, crops and sizes, and must not here."""

import cv2
import numpy as np
import pytest

from autofix.geometry import Window
from autofix.settings.region_sections import Choose, CropSection, Mask
from autofix.stages.choose import choose
from autofix.stages.crop import crop, crop_window, unfit_reason, working_size
from autofix.stages.mask import mask, merge
from detectors.yolo.detector import mask_outline
from tests.build import detection, picture, region

SMALL, FACE, LARGE = (5, 5, 9, 9), (100, 100, 200, 200), (250, 60, 390, 180)


def regions(*boxes, size_wh=(400, 300), choosing=None, scores=(), **section):
    settings = Mask(**{"dilate": 0, "blur": 0, **section})
    scores = scores or [0.9] * len(boxes)
    found = [detection(box, score=score) for box, score in zip(boxes, scores, strict=True)]
    chosen = choose(picture(*size_wh), found, choosing or Choose(sort="none"))
    return merge([mask(each, size_wh, settings) for each in chosen], size_wh, settings)


def test_an_emptied_mask_leaves_the_others_with_their_own_boxes():
    small, face, large = regions(SMALL, FACE, LARGE, dilate=-8)
    assert small.skip
    for each, box in ((face, FACE), (large, LARGE)):
        assert each.detection.box_xyxy == box
        assert each.mask.box_xyxy == (box[0] + 4, box[1] + 4, box[2] - 4, box[3] - 4)


def test_a_merged_mask_is_sized_by_all_of_it():
    """Theirs was sized by the first box alone."""
    first, second = regions(FACE, LARGE, merge="merge")
    assert second.skip
    assert first.detection.box_xyxy == first.mask.box_xyxy == (100, 60, 390, 200)
    (inverse,) = regions(FACE, merge="merge-invert")
    assert inverse.detection.box_xyxy == inverse.mask.box_xyxy == (0, 0, 400, 300)


def test_a_dropped_box_takes_its_mask_along():
    """A box without area is refused where it is made, so that no mask is left without one."""
    with pytest.raises(ValueError, match="left < right"):
        detection((10, 10, 10, 40))
    polygon = ((100.0, 100.0), (200.0, 100.0), (150.0, 200.0))
    outside = detection((500, 10, 540, 40), polygon=((500, 10), (540, 10), (520, 40)))
    face = detection(FACE, polygon=polygon)
    chosen = choose(picture(400, 300), [outside, face], Choose(sort="none"))
    gone, kept = (
        mask(each, (400, 300), Mask(shape="outline", dilate=0, blur=0)) for each in chosen
    )
    assert gone.skip
    assert kept.detection == face
    assert kept.mask.box_xyxy[:2] == (100, 100)


@pytest.mark.parametrize("sort", ["none", "left-right", "center-edge", "area"])
def test_every_sort_keeps_scores_with_their_boxes(sort):
    scores = {LARGE: 0.7, SMALL: 0.95, FACE: 0.5}
    found = regions(*scores, scores=tuple(scores.values()), choosing=Choose(sort=sort))
    assert {each.detection.box_xyxy: each.detection.score for each in found} == scores


@pytest.mark.parametrize("by", ["area", "confidence"])
@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_a_limit_never_reorders(limit, by):
    found = regions(
        SMALL,
        LARGE,
        FACE,
        scores=(0.5, 0.7, 0.9),
        choosing=Choose(sort="none", limit=limit, limit_by=by),
    )
    assert [each.detection.box_xyxy for each in found] == [SMALL, LARGE, FACE]
    assert sum(not each.skip for each in found) == (limit or 3)


def test_an_offset_does_not_wrap_round_the_edge():
    """Mask x 5..60, moved by -20 in 400 px: theirs reached from 0 to 400."""
    (found,) = regions((5, 100, 61, 161), offset_x=-20)
    assert found.mask.box_xyxy == (0, 100, 41, 161)
    window = crop_window((400, 300), found, CropSection(padding=0), native=512)
    assert window.box_xyxy[2] <= 61 + 5
    for offset_x, offset_y in ((390, 0), (0, 250), (0, -290), (-390, 250)):
        (found,) = regions(FACE, offset_x=offset_x, offset_y=offset_y)
        assert found.skip or max(found.mask.values.shape) <= 100


@pytest.mark.parametrize("dilate", [-9, -8, -4, -3, 3, 4, 8, 9, 32])
def test_dilation_and_erosion_are_symmetric(dilate):
    (found,) = regions(FACE, dilate=dilate)
    x0, y0, x1, y1 = found.mask.box_xyxy
    assert 100 - x0 == 100 - y0 == x1 - 200 == y1 - 200
    assert abs((100 - x0) - dilate / 2) <= 0.5


def test_top_k_by_confidence_takes_every_detector_s_scores():
    """Theirs met a list there; a score that is no number is refused where it is made."""
    found = regions(
        SMALL, FACE, scores=(np.float32(0.5), 1), choosing=Choose(limit=1, limit_by="confidence")
    )
    assert [each.detection.box_xyxy for each in found if not each.skip] == [FACE]
    with pytest.raises((ValueError, TypeError)):
        detection(FACE, score=[0.5])


@pytest.mark.parametrize("match", ["off", "strict", "free"])
@pytest.mark.parametrize("native", [192, 512, 1024])
@pytest.mark.parametrize("box_wh", [(1e-9, 300), (300, 1e-9), (10, 300), (3000, 20), (5, 5)])
def test_no_size_is_a_sliver(match, native, box_wh):
    """A box without height raised; Free gave 24x512."""
    size = working_size(box_wh, (4000, 4000), CropSection(match=match), native=native)
    assert min(size) >= native / 2
    assert all(side % 8 == 0 for side in size)


@pytest.mark.parametrize("size_wh", [(832, 1216), (1920, 1080)])
def test_an_outline_is_right_to_under_a_pixel_at_the_edge(size_wh):
    """Theirs was 9.5 and 33.8 px off at the edge of these sizes."""
    wide, high = size_wh
    corners = (
        (0.0, high * 0.3),
        (wide * 0.4, 0.0),
        (float(wide), high * 0.6),
        (wide * 0.5, float(high)),
    )
    found = detection((0, 0, wide, high), polygon=corners)
    chosen = choose(picture(*size_wh), [found], Choose())[0]
    soft = mask(chosen, size_wh, Mask(shape="outline", dilate=0, blur=0)).mask
    values = soft.within((0, 0, *size_wh))
    ys, xs = np.mgrid[0:high, 0:wide] + 0.5
    away = np.full(values.shape, np.inf)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        # The outline goes clockwise as it is seen: inside is on each edge's right.
        away = np.minimum(
            away, ((bx - ax) * (ys - ay) - (by - ay) * (xs - ax)) / np.hypot(bx - ax, by - ay)
        )
    assert (values[away > 1] == 255).all()
    assert (values[away < -1] == 0).all()


@pytest.mark.parametrize("size_wh", [(832, 1216), (1920, 1080)])
def test_a_segmentation_comes_back_as_the_mask_it_was(size_wh):
    """From a model's mask to its outline, and through the mask stage: under a pixel at the edge."""
    wide, high = size_wh
    ys, xs = np.mgrid[0:high, 0:wide] + 0.5
    segment = ((xs / wide - 0.5) / 0.45) ** 2 + ((ys / high - 0.4) / 0.37) ** 2 < 1
    polygon = mask_outline(segment.astype(np.uint8))
    found = detection((0, 0, wide, high), polygon=polygon)
    chosen = choose(picture(*size_wh), [found], Choose())[0]
    soft = mask(chosen, size_wh, Mask(shape="outline", dilate=0, blur=0)).mask
    drawn = soft.within((0, 0, *size_wh)) > 127
    kernel = np.ones((3, 3), np.uint8)
    shrunk = cv2.erode(segment.astype(np.uint8), kernel, borderValue=0) > 0
    grown = cv2.dilate(segment.astype(np.uint8), kernel) > 0
    assert drawn[shrunk].all()
    assert not drawn[~grown].any()


def test_the_ratio_is_the_box_s_and_says_so():
    """It is documented as the mask's there; ours is named for what it measures."""
    found = regions(FACE, shape="ellipse", choosing=Choose(min_ratio=100 * 100 / (400 * 300)))
    assert not found[0].skip
    found = regions(FACE, choosing=Choose(min_ratio=0.09))
    assert found[0].skip == "area ratio 0.0833 is under min_ratio 0.09"
    assert "box area" in Choose.model_fields["min_ratio"].description


def test_padding_and_blur_suit_every_size():
    """32 px are 80 % of a face of 40 px and 3 % of one of 1000."""
    shares = []
    for side in (40, 400, 1000):
        box = (1000, 1000, 1000 + side, 1000 + side)
        (found,) = regions(box, size_wh=(3000, 3000), blur="4%", dilate="4%")
        window = crop_window((3000, 3000), found, CropSection(), native=512)
        shares.append((window.box_wh[0] / side, found.mask.values.shape[0] / side))
    assert np.ptp([crop_share for crop_share, _ in shares]) < 0.06
    assert np.ptp([mask_share for _, mask_share in shares]) < 0.06


@pytest.mark.parametrize(
    ("box", "size_wh"), [((0, 0, 350, 400), (3000, 3000)), ((700, 700, 1500, 1600), (2400, 2432))]
)
def test_no_crop_runs_above_the_working_size(box, size_wh):
    """A limit of 1024 was ignored: 1050x1200, and 2400x2432."""
    (found,) = regions(box, size_wh=size_wh)
    for section in (CropSection(), CropSection(match="free"), CropSection(area="whole-picture")):
        window = crop_window(size_wh, found, section, native=1024)
        assert window.size_wh[0] * window.size_wh[1] <= 1024**2 * 1.02
        assert max(window.size_wh) <= 2048
    large = crop_window(size_wh, found, CropSection(padding="100%", min_scale=0.9), native=512)
    assert "would be shrunk" in unfit_reason(large, size_wh, CropSection(min_scale=0.9))


@pytest.mark.parametrize("size", ["auto", "599x691"])
@pytest.mark.parametrize("area", ["only-masked", "whole-picture"])
def test_sizes_are_multiples_of_8_and_nothing_is_cut_off(size, area):
    """599x691 was cut to 592x688 and stretched back."""
    section = CropSection(size=size, area=area, padding=32)
    (found,) = regions(FACE)
    window = crop_window((400, 300), found, section, native=500)
    assert [side % 8 for side in window.size_wh] == [0, 0]
    scale_x, scale_y = (
        shown / there for shown, there in zip(window.size_wh, window.box_wh, strict=True)
    )
    assert scale_x == pytest.approx(scale_y, rel=0.006)  # a pixel of the box's, no more
    cut = crop(picture(400, 300), found, section, window)
    assert cut.pixels.shape[:2] == window.size_wh[::-1]


def test_the_feather_is_what_was_asked_for_on_small_things_too():
    """The kernel shrank silently on small crops."""
    (small,) = regions((100, 100, 108, 108), blur=4)
    (large,) = regions((100, 100, 200, 200), blur=4)
    assert small.mask.box_xyxy[0] in (90, 91, 92)  # what rounds to 0 is cut off
    assert large.mask.box_xyxy[0] == 90


@pytest.mark.parametrize("size_wh", [(300, 900), (900, 300)])
def test_nothing_depends_on_the_picture_being_square(size_wh):
    """Theirs swapped the axes. The same thing in a turned picture has the turned window."""
    box = (120, 80, 180, 110)
    (found,) = regions(box, size_wh=size_wh, blur=4)
    (turned,) = regions((80, 120, 110, 180), size_wh=size_wh[::-1], blur=4)
    # Blurred along x first, then y: the rounding in between differs by a level.
    assert np.abs(found.mask.values.astype(int) - turned.mask.values.T).max() <= 1
    section = CropSection(match="free", padding=20)
    one, other = (
        crop_window(wh, each, section, native=512)
        for wh, each in ((size_wh, found), (size_wh[::-1], turned))
    )
    assert one.size_wh == other.size_wh[::-1]
    assert one.box_wh == other.box_wh[::-1]


def test_a_round_mask_holds_tall_things_and_crops_keep_their_shape():
    """A circle inscribed in the box cut tall faces; crops were stretched to the picture's size."""
    tall = (100, 50, 140, 250)
    (found,) = regions(tall, shape="ellipse")
    assert found.mask.box_xyxy == tall
    assert found.mask.area == pytest.approx(np.pi * 20 * 100, rel=0.01)
    window = crop_window((400, 300), found, CropSection(), native=512)
    assert window.box_wh[0] == window.box_wh[1]


def test_a_soft_mask_stays_soft_in_the_crop():
    """The libraries' own crops binarise the mask and shrink it by nearest."""
    values = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    shown = Window((0, 0, 64, 64), (16, 16)).cut_mask(
        region((0, 0, 64, 64), values=values).mask.values
    )
    assert len(np.unique(shown)) == 16
