import numpy as np
import pytest

from autofix.recipe import Check
from autofix.stages.check import check, refusal
from tests.build import crop, detection, patch, picture, region

SEEN = picture(64, 48)
BOX, WINDOW, SIZE = (20, 16, 36, 32), (12, 8, 44, 40), (96, 96)
AT_WORKING_SIZE = (24, 24, 72, 72)


class Answers:
    """A detector that gives prepared boxes, first for the crops, then for what became of them."""

    name, labels = "test", ("face",)

    def __init__(self, *answers, label="face"):
        self.answers = [() if box is None else (detection(box, label=label),) for box in answers]
        self.seen = []

    def detect(self, pictures, *, names=()):
        self.seen.extend(pictures)
        return self.answers

    def close(self):
        pass


def checked(detector, pixels=None, **settings):
    one = patch(crop(SEEN, region(BOX), WINDOW, SIZE), pixels)
    return check([one], {"test": detector}, Check(**settings))[0]


def test_a_good_patch_passes_and_says_what_was_measured():
    findings = checked(Answers(AT_WORKING_SIZE, (24, 24, 72, 70)))
    assert [f.name for f in findings] == ["finite", "spread", "place"]
    assert refusal(findings) == ""
    assert findings[2].value == pytest.approx(46 / 48)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_before_anyone_looks(bad):
    """Asks 21 and 22: a NaN latent is pasted as a black box."""
    detector = Answers(AT_WORKING_SIZE, AT_WORKING_SIZE)
    findings = checked(detector, bad)
    assert "100.0% of it is not a number" in refusal(findings)
    assert detector.seen == []


@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_a_flat_or_black_patch_is_refused(flat):
    findings = checked(Answers(AT_WORKING_SIZE, AT_WORKING_SIZE), flat)
    assert "it is flat (spread 0.0 levels, under min_spread 2)" in refusal(findings)


@pytest.mark.parametrize(
    ("after", "reason"),
    [(None, "face not found again"), ((60, 24, 96, 72), "face found elsewhere (IoU 0.17)")],
)
def test_a_face_that_is_gone_or_moved_is_refused(after, reason):
    assert reason in refusal(checked(Answers(AT_WORKING_SIZE, after)))


def test_it_is_not_asked_where_the_detector_did_not_see_the_original_either():
    findings = checked(Answers(None, None))
    assert [f.name for f in findings] == ["finite", "spread"]
    assert refusal(checked(Answers(AT_WORKING_SIZE, AT_WORKING_SIZE, label="hand"))) == ""


def test_the_detector_sees_the_crop_and_the_paste_in_one_call():
    detector = Answers(AT_WORKING_SIZE, AT_WORKING_SIZE)
    checked(detector, 0.5, min_spread=0)
    before, after = detector.seen
    inside = (slice(30, 66), slice(30, 66))
    assert (after[inside] == 128).all()
    assert np.array_equal(after[:10], before[:10])


def test_switched_off_it_asks_nothing():
    assert checked(Answers(), np.nan, enabled=False) == ()
