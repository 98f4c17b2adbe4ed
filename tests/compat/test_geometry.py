"""The geometric values of AUTOMATIC1111 and ADetailer 25.3.0.

How they were made: A1111's modules/masking.py and modules/processing.py and ADetailer's
adetailer/mask.py and adetailer/opts.py were run on the CPU with the inputs named here. Where ours
differs on purpose, their value is named beside ours.
"""

import numpy as np
import pytest

from autofix.geometry import Window, crop_box, expand_box
from autofix.settings.region_sections import Choose, CropSection, Mask
from autofix.stages.choose import choose
from autofix.stages.crop import crop, crop_window, working_size
from autofix.stages.mask import mask, merge
from tests.build import detection, picture, region

BOX = (400, 300, 500, 420)
"""A1111's mask rectangle (400,300)-(499,419), as half-open edges."""


def masked(*boxes, size_wh=(1000, 800), choosing=None, **section):
    """Regions through choose, mask and merge, in the detector's own order if nothing else."""
    settings = Mask(**{"dilate": 0, "blur": 0, **section})
    found = [detection(box, score=0.9 - 0.1 * n) for n, box in enumerate(boxes)]
    regions = choose(picture(*size_wh), found, choosing or Choose(sort="none"))
    return merge([mask(each, size_wh, settings) for each in regions], size_wh, settings)


def opened(regions):
    return [each.detection.box_xyxy for each in regions if not each.skip]


@pytest.mark.parametrize(("blur", "reach"), [(0, 0), (1, 3), (2, 5), (3, 8), (4, 10)])
def test_a_blur_of_s_grows_the_mask_by_int_of_2_5_s_and_a_half(blur, reach):
    """Kernel 2 * int(2.5 * s + 0.5) + 1."""
    (found,) = masked(BOX, blur=blur)
    assert found.mask.box_xyxy == (400 - reach, 300 - reach, 500 + reach, 420 + reach)


def test_only_masked_with_blur_4_and_padding_32():
    (found,) = masked(BOX, blur=4)
    assert found.mask.box_xyxy == (390, 290, 510, 430)
    assert crop_box(found.mask.box_xyxy, pad_px=32, picture_wh=(1000, 800)) == (358, 258, 542, 462)
    section = CropSection(padding=32)
    square = crop_window((1000, 800), found, section, native=512)
    assert square == Window((348, 258, 552, 462), (512, 512))
    tall = crop_window((1000, 800), found, CropSection(padding=32, size="832x1216"), native=512)
    assert tall == Window((358, 226, 542, 494), (832, 1216))


def test_a_crop_that_cannot_reach_its_aspect():
    """A1111: (0,0,900,300), stretched to three times its height. Ours reaches out, reflected."""
    box = expand_box((0, 0, 900, 100), aspect_wh=(512, 512), picture_wh=(1000, 300))
    assert box == (0, -300, 900, 600)
    window = Window(box, (512, 512))
    assert window.box_wh[0] / window.box_wh[1] == 1
    rows = np.arange(300, dtype=np.uint8) // 2
    seen = np.repeat(np.repeat(rows[:, None, None], 1000, axis=1), 3, axis=2)
    cut = Window(box, (900, 900)).cut(seen)[:, 0, 0]
    assert np.array_equal(cut[300:600], rows)
    assert np.array_equal(cut[1:300], rows[:0:-1])


def test_an_empty_mask_is_no_crop():
    """A1111's v2: None, and the whole picture is repainted; v1: an inverted box. Ours: skipped."""
    (found,) = masked((10, 10, 12, 12), dilate=-8)
    assert found.skip == "its mask is empty after dilating by -8"


def test_the_whole_picture_s_overlay_mask_is_twice_the_mask():
    (found,) = masked(BOX, blur=4)
    section = CropSection(area="whole-picture")
    window = crop_window((1000, 800), found, section, native=512)
    pasted = crop(picture(1000, 800), found, section, window).region.mask
    twice = np.clip(found.mask.values.astype(np.float32) * 2, 0, 255)
    assert np.array_equal(pasted.values, twice.astype(np.uint8))


def test_whole_picture_with_a_size_has_that_size():
    """A1111 stretches the picture to width x height; ours reflects what is missing."""
    section = CropSection(area="whole-picture", size="512x768")
    window = crop_window((1000, 800), region(BOX), section, native=512)
    assert window == Window((0, -350, 1000, 1150), (512, 768))


@pytest.mark.parametrize(
    ("box_wh", "adetailer"),
    [
        ((200, 300), (832, 1216)),
        ((300, 200), (1216, 832)),
        ((100, 100), (1024, 1024)),
        ((100, 300), (640, 1536)),
        ((1600, 1700), (1024, 1024)),  # none of the list holds it: unchanged
        ((900, 1300), (1024, 1024)),
    ],
)
def test_match_strict_is_adetailer_s_for_sdxl(box_wh, adetailer):
    section = CropSection(match="strict")
    assert working_size(box_wh, (4000, 4000), section, native=1024) == adetailer


@pytest.mark.parametrize(
    ("box_wh", "native", "adetailer", "ours"),
    [
        ((200, 300), 512, (344, 512), (416, 624)),
        ((20, 600), 512, (24, 512), (256, 1024)),  # theirs is a sliver
        ((300, 300), 512, (512, 512), (512, 512)),
        ((300, 200), 1024, (1024, 688), (1256, 840)),
    ],
)
def test_match_free_keeps_the_number_of_pixels(box_wh, native, adetailer, ours):
    """ADetailer: long side the native one, the other by the box, both rounded up to 8."""
    size = working_size(box_wh, (4000, 4000), CropSection(match="free"), native=native)
    assert size == ours
    assert size[0] * size[1] == pytest.approx(native**2, rel=0.02)
    assert min(size) >= native / 2
    theirs = adetailer[0] * adetailer[1]
    assert theirs <= size[0] * size[1] * 1.01


def test_the_box_and_not_the_padded_crop_sets_the_aspect():
    (found,) = masked((400, 300, 600, 600))
    for padding in (0, 32, 200):
        section = CropSection(match="free", padding=padding)
        assert crop_window((1000, 800), found, section, native=512).size_wh == (416, 624)


def test_the_order_of_adetailer():
    """Ratio filter, top k, sort, offset, dilate, drop empty, merge; blur comes last."""
    tiny, left, right, large = (
        (0, 0, 8, 8),
        (50, 50, 90, 90),
        (600, 50, 650, 100),
        (100, 200, 400, 500),
    )
    choosing = Choose(sort="left-right", min_ratio=0.001, limit=2)
    regions = masked(right, tiny, large, left, choosing=choosing)
    assert [each.detection.box_xyxy for each in regions] == [tiny, left, large, right]
    assert opened(regions) == [large, right]  # the two largest, from left to right
    section = {"offset_x": 10, "offset_y": 20, "dilate": -60, "blur": 4, "merge": "merge"}
    regions = masked(right, tiny, large, left, choosing=choosing, **section)
    # The right one is emptied, so the merged one is the large one alone: nothing is merged.
    assert opened(regions) == [large]
    assert "empty after dilating by -60" in regions[3].skip
    grown = (100 + 10 + 30, 200 - 20 + 30, 400 + 10 - 30, 500 - 20 - 30)
    assert regions[2].mask.box_xyxy == tuple(
        edge + by for edge, by in zip(grown, (-10, -10, 10, 10), strict=True)
    )


def test_x_is_right_and_y_is_up():
    (found,) = masked(BOX, offset_x=5, offset_y=7)
    assert found.mask.box_xyxy == (405, 293, 505, 413)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("left-right", [(10, 300, 60, 340), (450, 380, 540, 420), (700, 0, 720, 20)]),
        ("center-edge", [(450, 380, 540, 420), (700, 0, 720, 20), (10, 300, 60, 340)]),
        ("area", [(450, 380, 540, 420), (10, 300, 60, 340), (700, 0, 720, 20)]),
        ("none", [(700, 0, 720, 20), (10, 300, 60, 340), (450, 380, 540, 420)]),
    ],
)
def test_the_sorts_of_adetailer(sort, order):
    """Left edge; distance of the box's centre from the picture's; area, largest first."""
    boxes = ((700, 0, 720, 20), (10, 300, 60, 340), (450, 380, 540, 420))
    assert opened(masked(*boxes, choosing=Choose(sort=sort))) == order
