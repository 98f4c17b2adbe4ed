"""The breakers of scripts/checking, and the figures that scripts/calibrate_check reports."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import calibrate_check
from autofix.settings.region_sections import Check
from autofix.values import Finding, Region
from calibrate_check import Judged
from checking.breaking import BREAKERS, Face
from checking.cases import Labelled, sample
from checking.sheet import sheet
from tests.build import crop, detection, patch, picture, region
from tests.detectors.photos import photo

LANDMARKS = (
    ("right_eye", (24.0, 22.0)),
    ("left_eye", (32.0, 22.0)),
    ("nose_tip", (28.0, 26.0)),
    ("mouth_center", (28.0, 29.0)),
    ("right_ear_tragion", (19.0, 23.0)),
    ("left_ear_tragion", (37.0, 23.0)),
)


@pytest.fixture(scope="module")
def face():
    pixels = photo("astronaut")[20:212, 130:322].astype(np.float32) / 255
    points = np.float32([(71, 85), (116, 87), (88, 105), (91, 127), (50, 90), (140, 92)])
    y, x = np.mgrid[:192, :192]
    mask = np.float32(((x - 95) / 60) ** 2 + ((y - 100) / 75) ** 2 < 1)
    return Face(pixels, points, mask, pixels[:, ::-1].copy(), 3.0)


@pytest.mark.parametrize("kind", BREAKERS)
def test_a_breaker_changes_the_face_and_only_its_own_copy(face, kind):
    before = face.pixels.copy()
    broken = BREAKERS[kind](face, np.random.default_rng(0))
    assert (broken.dtype, broken.shape) == (np.float32, before.shape)
    assert np.array_equal(face.pixels, before)
    inside = face.mask > 0
    assert np.isnan(broken).any() or np.abs(broken - before)[inside].max() > 0.05


BOX = (20, 16, 36, 32)
FOUND = Region(detection(BOX, landmarks=LANDMARKS), 0, region(BOX).mask)
CROP = crop(picture(), FOUND, (12, 8, 44, 40), (96, 96))
SUBJECT = sample(CROP, "p.png 0")


def judged(kind, good, value):
    """A patch whose seam was measured to be `value`; a tenth is allowed."""
    finding = Finding("seam", value, 0.1, value <= 0.1, "its rim would show")
    return Judged(Labelled(SUBJECT, kind, good, patch(CROP)), (finding,))


SOME = [
    judged("model", True, 0.01),
    judged("model", True, 0.3),
    judged("black", False, 0.9),
    judged("black", False, 0.8),
    judged("mosaic", False, 0.05),
    judged("mended", None, 0.2),
]


def test_the_report_counts_what_is_refused_of_each_kind():
    text = "\n".join(calibrate_check._report(SOME))
    assert "Of 3 broken patches 2 are refused (66.7%, recall), of 2 good ones 1 (50.0%)" in text
    assert "66.7% of what is refused is broken (precision)" in text
    assert "a broken patch scores under a good one of the same face in 50.0% of all pairs" in text
    assert "| black | 2 | 2 (100%) | seam |" in text
    assert "| mosaic | 1 | 0 (0%) |  |" in text
    assert "| mended | 1 | 1 (100%) |" in text
    assert "| seam | 0.1 | 0.155 | 0.3 | 2 (67%) |" in text


def test_the_bound_it_asks_for_lets_good_ones_pass(monkeypatch):
    monkeypatch.setattr(calibrate_check, "CHOSEN", ("seam",))
    said = "\n".join(calibrate_check._suggested(SOME, Check()))
    assert "refused 66.7% of the broken, 50.0% of the good" in said
    assert "seam: 0.299 (the recipe has 0.1)" in said


def test_the_sheet_has_the_mistakes_first():
    page = sheet([(each.case, each.findings) for each in SOME])
    assert page.height > page.width / 4
    assert np.asarray(page).std() > 0
