import cv2
import numpy as np
import pytest

from autofix.geometry import Window
from autofix.settings.region_sections import Check
from autofix.stages.check import check, refusal, score
from autofix.values import Crop, Finding, Picture, Region, SoftMask
from tests.build import crop, detection, patch, picture, region
from tests.detectors.photos import FACES, photo

SEEN = picture(64, 48)
BOX, WINDOW, SIZE = (20, 16, 36, 32), (12, 8, 44, 40), (96, 96)
AT_WORKING_SIZE = (24, 24, 72, 72)
OF_ANYTHING = ["finite", "spread", "clipped", "drift", "ring", "seam"]
OF_A_FACE = ["colour", "structure", "peak", "eyes"]
POINTS = ("right_eye", "left_eye", "nose_tip", "mouth_center")


class Answers:
    """A detector that gives prepared answers, first for the crops, then for what became of them."""

    name, labels = "test", ("face",)

    def __init__(self, *answers, label="face"):
        self.answers = [
            () if each is None else (detection(each, label=label),)
            if isinstance(each, tuple)
            else (each,)
            for each in answers
        ]  # fmt: skip
        self.seen = []

    def detect(self, pictures, *, names=()):
        self.seen.extend(pictures)
        return self.answers

    def close(self):
        pass


def checked(detector, pixels=None, **settings):
    one = patch(crop(SEEN, region(BOX), WINDOW, SIZE), pixels)
    return check([one], {"test": detector}, Check(**settings))[0]


def a_face(label="face"):
    """Grace Hopper's face at half its size, as a crop of 256 x 256 px with a soft round mask."""
    x0, y0, x1, y1 = (edge // 2 for edge in FACES["hopper"][0])
    pixels = photo("hopper")
    seen = Picture(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    values = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.ellipse(values, (51, 58), (40, 48), 0, 0, 360, 255, -1)
    mask = SoftMask((x0, y0, x1, y1), cv2.GaussianBlur(values, (0, 0), 3))
    found = Region(detection((x0, y0, x1, y1), label=label), 0, mask)
    window = Window((x0 - 30, y0 - 20, x0 + 130, y0 + 140), (256, 256))
    shown = window.cut_mask(mask.within(window.box_xyxy))
    return Crop(found, window, window.cut(seen.pixels), shown)


def repainted(change, label="face", **settings):
    """What the check says of the face after `change` of its pixels, 0 to 1, by name."""
    cut = a_face(label)
    pixels = cut.pixels.astype(np.float32) / 255
    findings = check([patch(cut, change(pixels, cut.mask / 255))], {}, Check(**settings))[0]
    return {finding.name: finding for finding in findings}


def failed(findings):
    return {name for name, finding in findings.items() if not finding.passed}


def test_no_patches_have_no_findings():
    assert check([], {"test": Answers()}, Check()) == []


def test_a_good_patch_passes_and_says_what_was_measured():
    findings = checked(Answers(AT_WORKING_SIZE, (24, 24, 72, 70)))
    assert [f.name for f in findings] == [*OF_ANYTHING, *OF_A_FACE, "place", "score"]
    assert refusal(findings) == ""
    assert findings[-2].value == pytest.approx(46 / 48)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_before_anyone_looks(bad):
    """A NaN latent is pasted as a black box."""
    detector = Answers(AT_WORKING_SIZE, AT_WORKING_SIZE)
    findings = checked(detector, bad)
    assert refusal(findings) == "100.0% of it is not a number"
    assert [f.name for f in findings] == ["finite"]
    assert detector.seen == []


@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_a_flat_or_black_patch_is_refused(flat):
    findings = checked(Answers(AT_WORKING_SIZE, AT_WORKING_SIZE), flat)
    assert "it is flat or black (spread 0.00, min_spread 2)" in refusal(findings)


def test_pixels_newly_at_the_end_of_the_range_are_counted():
    findings = repainted(lambda pixels, mask: np.where(pixels > 0.5, 1, pixels))
    assert findings["clipped"].value > 0.1
    assert "it is burnt out or black" in refusal(list(findings.values()))


def test_drift_that_the_blend_mends_passes_and_more_does_not():
    """A brighter square around the face."""
    small = repainted(lambda pixels, mask: pixels + 0.03)
    assert small["drift"].value > 1
    assert small["ring"].value < 1
    assert failed(small) == set()
    assert "drift" in failed(repainted(lambda pixels, mask: pixels * 0.5))


def test_a_cast_that_the_ring_does_not_show_is_seen_in_the_rim():
    findings = repainted(lambda pixels, mask: pixels + (mask > 0)[..., None] * (0.15, 0, 0))
    assert findings["drift"].value < 0.1
    assert "ring" in failed(findings)


def test_a_cast_on_one_side_is_not_averaged_away():
    def half(pixels, mask):
        sign = np.where(np.arange(pixels.shape[1]) < 128, 1, -1)
        return pixels + 0.12 * (sign * (mask > 0))[..., None]

    assert {"ring", "seam"} <= failed(repainted(half))


def test_a_sharper_face_passes_and_one_that_moved_does_not():
    def sharper(pixels, mask):
        return pixels + (pixels - cv2.GaussianBlur(pixels, (0, 0), 2))

    def moved(pixels, mask):
        return np.roll(pixels, 12, axis=1)

    assert failed(repainted(sharper)) == set()
    assert {"structure", "eyes"} <= failed(repainted(moved))


def test_a_face_may_become_another_where_the_recipe_says_so():
    def mirrored(pixels, mask):
        inside = mask[..., None]
        return pixels * (1 - inside) + pixels[::-1] * inside

    asked = repainted(mirrored, min_spread=0)
    assert set(OF_A_FACE) <= set(asked)
    assert "structure" in failed(asked)
    assert not set(OF_A_FACE) & set(repainted(mirrored, likeness="off"))


def test_the_shape_of_a_hand_may_change():
    assert list(repainted(lambda pixels, mask: pixels, label="hand")) == OF_ANYTHING


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (None, "face not found again (place 0.00, min_iou 0.5)"),
        ((60, 24, 96, 72), "face found elsewhere (place 0.17, min_iou 0.5)"),
    ],
)
def test_a_face_that_is_gone_or_moved_is_refused(after, reason):
    assert refusal(checked(Answers(AT_WORKING_SIZE, after))) == reason


def test_a_face_that_the_detector_doubts_is_refused():
    again = detection(AT_WORKING_SIZE, score=0.8)
    reason = refusal(checked(Answers(AT_WORKING_SIZE, again)))
    assert reason == "the detector is less sure of it (score 0.10, max_score_drop 0.05)"
    surer = detection(AT_WORKING_SIZE, score=1.0)
    assert refusal(checked(Answers(AT_WORKING_SIZE, surer))) == ""


def with_points(shift=0.0):
    """A face whose eyes are 20 px apart at working size, its mouth moved down."""
    spots = ((38.0, 40.0), (58.0, 40.0), (48.0, 50.0), (48.0, 60.0 + shift))
    return detection(AT_WORKING_SIZE, landmarks=tuple(zip(POINTS, spots, strict=True)))


@pytest.mark.parametrize(
    ("shift", "value"), [(0, 0), (3, 0), (5, 0.1), (8, 0.25)], ids=lambda value: f"{value}"
)
def test_landmarks_may_move_by_one_pixel_of_the_picture_and_a_little(shift, value):
    """The window enlarges three times: less than 3 px at working size tell nothing."""
    findings = checked(Answers(with_points(), with_points(shift)))
    last = findings[-1]
    assert (last.name, last.value) == ("landmarks", pytest.approx(value))
    assert ("eyes, nose or mouth moved" in refusal(findings)) == (value > 0.15)


def test_landmarks_are_not_asked_where_the_face_may_become_another():
    findings = checked(Answers(with_points(), with_points(9)), likeness="off")
    assert refusal(findings) == ""


def test_the_eyes_are_where_the_landmarks_say():
    low = (("right_eye", (25.0, 29.0)), ("left_eye", (31.0, 29.0)))
    found = region(BOX)
    known = Region(detection(BOX, landmarks=low), 0, found.mask)
    pixels = crop(SEEN, found, WINDOW, SIZE).pixels.astype(np.float32) / 255
    pixels[58:] = 0.5
    errors = [
        next(f.value for f in check([patch(cut, pixels)], {}, Check())[0] if f.name == "eyes")
        for cut in (crop(SEEN, each, WINDOW, SIZE) for each in (known, found))
    ]
    assert errors[0] > 2 * errors[1]


def test_the_detector_is_not_asked_where_it_did_not_see_the_original_either():
    for findings in (
        checked(Answers(None, None)),
        checked(Answers((60, 60, 96, 96), None)),
        checked(Answers(AT_WORKING_SIZE, AT_WORKING_SIZE, label="hand")),
    ):
        assert [f.name for f in findings] == [*OF_ANYTHING, *OF_A_FACE]
        assert refusal(findings) == ""


def test_the_detector_sees_the_crop_and_the_paste_in_one_call():
    detector = Answers(AT_WORKING_SIZE, AT_WORKING_SIZE)
    checked(detector, 0.5)
    before, after = detector.seen
    inside = (slice(30, 66), slice(30, 66))
    assert (after[inside] == 128).all()
    assert np.array_equal(after[:10], before[:10])


def test_another_person_is_told_by_the_embedding_that_a_caller_gives():
    def embedding(pixels, box_xyxy):
        assert box_xyxy == pytest.approx(AT_WORKING_SIZE)
        return np.float32([1, 0] if np.array_equal(pixels, cut.pixels) else [0.1, 1])

    cut = crop(SEEN, region(BOX), WINDOW, SIZE)
    same, other = patch(cut), patch(cut, 0.5)
    broken = patch(cut, np.nan)
    found = check([same, other, broken], {}, Check(), identity=embedding)
    assert [(f[-1].name, f[-1].passed) for f in found] == [
        ("identity", True),
        ("identity", False),
        ("finite", False),
    ]


def test_switched_off_it_asks_nothing():
    assert checked(Answers(), np.nan, enabled=False) == ()


def found(name, value, threshold, passed=True):
    return Finding(name, value, threshold, passed)


def test_a_refused_patch_has_no_score_and_one_that_was_not_asked_the_best():
    assert score(()) == 1
    assert score([found("finite", 1, 1)]) == 1
    assert score([found("place", 1, 0.5), found("ring", 7, 6, False)]) == 0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (found("ring", 1, 6), found("ring", 5, 6)),
        (found("place", 0.9, 0.5), found("place", 0.6, 0.5)),
        (found("structure", 0.95, 0.7), found("structure", 0.8, 0.7)),
    ],
)
def test_the_score_grows_with_the_margin_whichever_way_the_bound_lies(better, worse):
    assert 1 >= score([better]) > score([worse]) > 0


def test_at_the_bound_the_score_is_0():
    assert score([found("clipped", 0, 0)]) == 0
    assert score([found("place", 0.5, 0.5)]) == 0
