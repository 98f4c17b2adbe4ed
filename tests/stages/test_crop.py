import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autofix.geometry import Window, map_point
from autofix.settings.region_sections import Choose, CropSection, Mask
from autofix.settings.units import Share
from autofix.stages.choose import choose
from autofix.stages.crop import crop, crop_window, lean_degrees, unfit_reason, working_size
from autofix.stages.mask import mask
from tests.build import detection, picture, region

EYES = ("right_eye", "left_eye", "mouth_center")


def cropped(seen, found, section, *, native=96, upscale=None):
    window = crop_window(seen.size_wh, found, section, native=native)
    return crop(seen, found, section, window, upscale=upscale)


def face(degrees, *, at=(100.0, 100.0), side=40.0, names=EYES, box=None):
    """A face that leans clockwise by so much."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    spots = {"right_eye": (-0.2, -0.1), "left_eye": (0.2, -0.1), "mouth_center": (0.0, 0.25)}
    landmarks = tuple(
        (
            name,
            (
                at[0] + side * (cos * spots[name][0] - sin * spots[name][1]),
                at[1] + side * (sin * spots[name][0] + cos * spots[name][1]),
            ),
        )
        for name in names
    )
    half = side / 2
    box = box or (at[0] - half, at[1] - half, at[0] + half, at[1] + half)
    return detection(box, landmarks=landmarks)


def masked(seen, found, **section):
    return mask(choose(seen, [found], Choose())[0], seen.size_wh, Mask(**section))


def test_the_crop_shows_the_golden_window_of_a1111():
    seen = picture(1000, 800)
    found = region((390, 290, 510, 430))  # as blurred by 4 px
    cut = cropped(seen, found, CropSection(padding=32), native=512)
    assert cut.window == Window((348, 258, 552, 462), (512, 512))
    assert cut.pixels.shape == (512, 512, 3)
    assert cut.mask.shape == (512, 512)
    assert cut.mask[256, 256] == 255
    assert cut.mask[:, :90].max() == 0


def test_padding_can_be_a_share_of_the_box():
    seen = picture(200, 200)
    small = cropped(seen, region((95, 80, 105, 100)), CropSection(padding="25%"))
    large = cropped(seen, region((80, 80, 120, 160)), CropSection(padding="25%"))
    assert small.window.box_xyxy == (85, 75, 115, 105)
    assert large.window.box_xyxy == (40, 60, 160, 180)


def test_padding_left_to_the_model_is_what_it_asks_for():
    seen, found = picture(400, 400), region((150, 150, 250, 230))

    def wide(section, **asked):
        return crop_window(seen.size_wh, found, section, native=512, **asked).box_wh[0]

    assert wide(CropSection()) == wide(CropSection(padding=32)) == 164
    assert wide(CropSection(), padding=Share(0.08, True)) == 116
    assert wide(CropSection(padding=32), padding=Share(0.08, True)) == 164


def test_pixels_and_mask_belong_together():
    seen = picture(64, 64)
    cut = cropped(seen, region((20, 24, 30, 34)), CropSection(padding=3), native=16)
    assert cut.window.box_xyxy == (17, 21, 33, 37)
    assert np.array_equal(cut.pixels, seen.pixels[21:37, 17:33])
    assert np.array_equal(np.argwhere(cut.mask).min(0), [3, 3])


@pytest.mark.parametrize(
    ("section", "thing_wh", "expected"),
    [
        ({}, (200, 300), (512, 512)),
        ({"size": "832x1216"}, (200, 300), (832, 1216)),
        ({"size": 300}, (200, 300), (304, 304)),
        ({"match": "free", "size": 640}, (200, 300), (640, 640)),  # a size that is set is taken
        ({"match": "free"}, (300, 200), (624, 416)),
        ({"match": "free"}, (100, 100), (512, 512)),
        ({"match": "free"}, (1, 1000), (256, 1024)),  # no side under half the native one
        ({"match": "free"}, (1000, 1), (1024, 256)),
        ({"match": "strict"}, (200, 300), (512, 512)),  # SDXL's sizes are nothing to others
    ],
)
def test_the_working_size(section, thing_wh, expected):
    assert working_size(thing_wh, (1000, 800), CropSection(**section), native=512) == expected


@pytest.mark.parametrize(
    ("picture_wh", "expected"),
    [
        ((1000, 800), (576, 464)),  # the picture's aspect, the native size's number of pixels
        ((400, 300), (400, 304)),  # never enlarged
        ((9000, 30), (4096, 64)),
        ((1, 1), (64, 64)),
    ],
)
def test_the_working_size_of_a_whole_picture(picture_wh, expected):
    section = CropSection(area="whole-picture")
    assert working_size((20, 20), picture_wh, section, native=512) == expected


def test_sizes_are_multiples_of_what_the_model_takes():
    for match in ("off", "free"):
        section = CropSection(match=match)
        size = working_size((123, 77), (500, 500), section, native=200, multiple=16)
        assert [side % 16 for side in size] == [0, 0]
        assert min(size) >= 100


@pytest.mark.parametrize(
    ("picture_wh", "size", "box"),
    [
        ((400, 300), "auto", (0, -2, 400, 302)),  # one to one, what is missing reflected
        ((1000, 800), "auto", (0, -2, 1000, 803)),
        ((1000, 600), 512, (0, -200, 1000, 800)),  # A1111 stretches here
        ((100, 200), "512x512", (-50, 0, 150, 200)),
    ],
)
def test_the_whole_picture_is_never_stretched(picture_wh, size, box):
    section = CropSection(area="whole-picture", size=size)
    window = crop_window(picture_wh, region((10, 10, 30, 40)), section, native=512)
    assert window.box_xyxy == box
    wide, high = window.box_wh
    assert wide / high == pytest.approx(window.size_wh[0] / window.size_wh[1], rel=1 / min(box[2:]))


def test_of_a_whole_picture_the_inner_half_of_the_rim_is_all_new():
    """A1111's overlay mask there: clip(2 * mask)."""
    values = np.array([[0, 1, 100, 127, 128, 255]], np.uint8)
    found = region((10, 10, 16, 11), values=values)
    cut = cropped(picture(64, 64), found, CropSection(area="whole-picture"), native=64)
    assert cut.region.mask.values.tolist() == [[0, 2, 200, 254, 255, 255]]
    assert cut.mask[10, 10:16].tolist() == [0, 2, 200, 254, 255, 255]
    only = cropped(picture(64, 64), found, CropSection(), native=64)
    assert only.region is found


@pytest.mark.parametrize("degrees", [16, 45, 90, 135, 179, -16, -90, -170])
@pytest.mark.parametrize("names", [EYES, EYES[:2]])
def test_a_face_leans_as_its_eyes_do(degrees, names):
    assert lean_degrees(face(degrees, names=names)) == pytest.approx(degrees)


def test_a_face_on_its_head_leans_by_half_a_turn():
    assert abs(lean_degrees(face(180))) == pytest.approx(180)


@pytest.mark.parametrize("degrees", [0, 14.9, -14.9])
def test_up_to_15_degrees_it_stands_upright(degrees):
    assert lean_degrees(face(degrees)) == 0


@pytest.mark.parametrize("names", [(), EYES[:1], EYES[1:]])
def test_without_both_eyes_nothing_leans(names):
    assert lean_degrees(face(90, names=names)) == 0


def test_in_a_profile_the_mouth_tells_what_is_up():
    """The eyes are next to each other, in any order: alone they would turn it on its head."""
    spots = (("right_eye", (101.0, 90.0)), ("left_eye", (99.0, 91.0)), ("mouth_center", (97, 130)))
    assert lean_degrees(detection((70, 60, 130, 150), landmarks=spots)) == 0
    assert abs(lean_degrees(detection((70, 60, 130, 150), landmarks=spots[:2]))) > 150


def test_a_leaning_face_is_cut_upright():
    """Two bright eyes on a dark picture: in the crop they lie side by side, the right one left."""
    for degrees in (30, 90, -120, 180):
        found = face(degrees, at=(150.0, 120.0), side=60.0)
        pixels = np.zeros((240, 300, 3), np.uint8)
        for channel, name in ((0, "right_eye"), (1, "left_eye")):
            x, y = found.landmark(name)
            pixels[round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3, channel] = 255
        seen = picture(300, 240).with_pixels(pixels)
        cut = cropped(seen, masked(seen, found), CropSection(), native=128)
        assert cut.window.degrees == pytest.approx(lean_degrees(found))
        (ry, rx), (ly, lx) = (
            np.argwhere(cut.pixels[..., channel] > 100).mean(0) for channel in (0, 1)
        )
        assert abs(ry - ly) < 2, degrees
        assert lx - rx == pytest.approx(0.4 * 60 * cut.window.scale, abs=2)


def test_align_off_cuts_nothing_turned():
    seen = picture(200, 200)
    found = masked(seen, face(60))
    assert crop_window((200, 200), found, CropSection(), native=96).degrees == pytest.approx(60)
    assert crop_window((200, 200), found, CropSection(align="off"), native=96).degrees == 0
    whole = CropSection(area="whole-picture")
    assert crop_window((200, 200), found, whole, native=96).degrees == 0


def test_a_leaning_face_too_large_to_be_turned_is_cut_as_it_is():
    """A turned window takes more room; the face is not to be skipped for that."""
    seen = picture(130, 130)
    found = masked(seen, face(45, at=(65.0, 65.0), side=110.0))
    section = CropSection(min_scale=0.7)
    window = crop_window((130, 130), found, section, native=96)
    assert window == Window((0, 0, 130, 130), (96, 96))
    assert not unfit_reason(window, (130, 130), section)
    assert crop_window((130, 130), found, CropSection(min_scale=0), native=96).degrees > 44


def test_a_leaning_face_that_just_fits_has_less_padding():
    """Upright, padding ends with the picture; turned, it must not cost the face its repair."""
    seen = picture(300, 300)
    found = masked(seen, face(90, at=(150.0, 150.0), side=100.0), dilate=0, blur=0)
    section = CropSection(padding="40%", min_scale=0.6)
    window = crop_window((300, 300), found, section, native=96)
    assert window.degrees == pytest.approx(90)
    assert window.box_wh == (142, 142)
    assert crop_window(
        (300, 300), found, CropSection(padding="40%", min_scale=0.5), native=96
    ).box_wh == (
        182,
        182,
    )


def test_a_turned_crop_takes_its_aspect_from_the_turned_mask():
    """A face on its side is wide in the picture and high in the crop."""
    seen = picture(300, 300)
    found = masked(seen, face(90, at=(150.0, 150.0), box=(120, 130, 180, 170)), dilate=0, blur=0)
    section = CropSection(match="free", padding=4)
    window = crop_window((300, 300), found, section, native=96)
    assert window.size_wh == working_size((40, 60), (300, 300), section, native=96) == (80, 120)
    assert window.box_wh[0] < window.box_wh[1]


def test_a_crop_that_grows_is_given_to_the_upscaler():
    seen, given = picture(100, 100), []

    def upscale(pixels, size_wh):
        given.append((pixels, size_wh))
        return np.full((size_wh[1], size_wh[0], 3), 9, np.uint8)

    found = region((40, 40, 60, 60))
    section = CropSection(padding=4)
    cut = cropped(seen, found, section, native=64, upscale=upscale)
    assert cut.pixels.min() == cut.pixels.max() == 9
    assert cut.mask.max() == 255
    ((pixels, size_wh),) = given
    assert size_wh == (64, 64)
    assert np.array_equal(pixels, seen.pixels[36:64, 36:64])  # at the picture's own size
    for native in (16, 28):  # shrunk, or as it is
        section = CropSection(padding=4, size="auto")
        cut = cropped(seen, found, section, native=native, upscale=upscale)
        assert cut.pixels.shape[0] in (16, 32)
    assert [size for _, size in given] == [(64, 64), (32, 32)]


@pytest.mark.parametrize(
    ("window", "section", "reason"),
    [
        (Window((0, 0, 100, 100), (96, 96)), {}, ""),
        (
            Window((0, 0, 200, 100), (96, 48)),
            {},
            "its crop of 200x100 px would be shrunk to 96x48 and lose detail; "
            "crop.min_scale = 0 repaints it all the same",
        ),
        (Window((0, 0, 200, 100), (96, 48)), {"min_scale": 0}, ""),
        (
            Window((0, -4485, 9000, 4515), (512, 512)),
            {"min_scale": 0},
            "its crop of 9000x9000 px would show little but reflections of a picture of "
            "9000x30 px; set a crop.size nearer to its shape",
        ),
    ],
)
def test_crops_that_would_do_no_good(window, section, reason):
    picture_wh = (9000, 30) if window.box_wh[0] == 9000 else (300, 300)
    assert unfit_reason(window, picture_wh, CropSection(**section)) == reason


def test_a_large_picture_s_own_size_is_not_too_much():
    assert not unfit_reason(
        Window((0, 0, 12000, 12000), (512, 512)), (12000, 12000), CropSection(min_scale=0)
    )


sections = st.builds(
    CropSection,
    area=st.sampled_from(["only-masked", "whole-picture"]),
    padding=st.sampled_from([0, 4, 500, "32%", "400%"]),
    size=st.sampled_from(["auto", "96x64", "64x160"]),
    match=st.sampled_from(["off", "strict", "free"]),
    min_scale=st.sampled_from([0, 0.75]),
)
wild = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 10000)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    size_wh=st.tuples(st.integers(1, 9000), st.integers(1, 30)),
    across=st.booleans(),
    xs=st.tuples(wild, wild),
    ys=st.tuples(wild, wild),
    degrees=st.sampled_from([0, 45, 90, 171]),
    native=st.sampled_from([64, 1024]),
    section=sections,
)
@example((1, 1), False, (-1e300, 1e300), (-1e300, 1e300), 45, 64, CropSection(min_scale=0))
@example((9000, 30), False, (-1e9, 1e9), (0.0, 1e-300), 45, 64, CropSection(min_scale=0))
@example((9000, 30), True, (0.0, 9000.0), (0.0, 9000.0), 45, 64, CropSection(min_scale=0))
def test_any_box_in_any_picture_is_framed_whole(size_wh, across, xs, ys, degrees, native, section):
    """Pictures from 1x1 to 9000x30 and 30x9000; boxes inside, outside, empty as can be, huge."""
    size_wh = size_wh[::-1] if across else size_wh
    box = (min(xs), min(ys), max(xs), max(ys))
    if box[0] == box[2] or box[1] == box[3]:
        return
    seen = picture(*size_wh)
    found = masked(seen, face(degrees, at=(size_wh[0] / 2, size_wh[1] / 2), box=box), blur=4)
    if found.skip:
        return
    window = crop_window(size_wh, found, section, native=native)
    wide, high = window.size_wh
    assert wide % 8 == high % 8 == 0
    x0, y0 = found.mask.box_xyxy[:2]
    rows, columns = np.nonzero(found.mask.values)
    for x, y in ((columns + x0, rows + y0), (columns + x0 + 1, rows + y0 + 1)):
        u, v = map_point(window.to_working, x.astype(float), y.astype(float))
        assert u.min() >= -1e-6
        assert u.max() <= wide + 1e-6
        assert v.min() >= -1e-6
        assert v.max() <= high + 1e-6
    box_w, box_h = window.box_wh
    assert box_w / box_h == pytest.approx(wide / high, rel=max(2 / box_w, 2 / box_h))
    if window.box_wh[0] * window.box_wh[1] < 2**20 and not unfit_reason(window, size_wh, section):
        cut = crop(seen, found, section, window)
        assert cut.pixels.shape == (high, wide, 3)
        assert cut.mask.shape == (high, wide)
