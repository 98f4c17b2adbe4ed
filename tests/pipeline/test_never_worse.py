"""Whatever an engine paints, a refused region ends as it was, to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from autofix.engines.base import ModelInfo, SizeRule
from autofix.fixer import Fixer
from autofix.imagefiles.files import read
from checking.breaking import BREAKERS
from checking.cases import sample
from detectors.mp_face import MediapipeFaces

ROOT = Path(__file__).parents[2]
FACES = ROOT / "weights" / "builtin" / "mediapipe" / "face_detection_short_range.tflite"
BREAKABLE = sorted(BREAKERS.keys() - {"another person", "other features"})  # they need another


class Breaker:
    """Sharpens the first face of a picture, and breaks each other one in a way of its own."""

    def __init__(self, kinds):
        self.info = ModelInfo("breaker", "breaker-1", SizeRule(192), faithful=True)
        self.kinds = kinds

    def check(self, settings):
        pass

    def inpaint(self, crops, settings):
        return [self.patch(crop) for crop in crops]

    def patch(self, crop):
        face = sample(crop, "")
        pixels = face.spoilt_pixels
        sharp = np.clip(1.5 * pixels - 0.5 * cv2.GaussianBlur(pixels, (0, 0), 2), 0, 1)
        if crop.region.index == 0:
            return face.patch(sharp)
        kind = self.kinds[crop.region.index % len(self.kinds)]
        rng = np.random.default_rng(crop.region.seed)
        return face.patch(BREAKERS[kind](face.face(sharp, sharp), rng))

    def close(self):
        pass


@pytest.fixture(scope="module")
def detector():
    with MediapipeFaces(FACES) as opened:
        yield opened


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize("name", ["exhibition.png", "noticeboard.png"])
def test_a_broken_face_is_kept_as_it_was_beside_one_that_is_fixed(detector, name, turn):
    given = read(ROOT / "samples" / name, name=name)
    with Fixer(engine=Breaker(BREAKABLE[4 * turn : 4 * turn + 4]), detectors=[detector]) as fixer:
        outcome = fixer.fix(given)
    first, *others = outcome.results
    assert (first.status, first.reason) == ("fixed", "")
    assert {each.status for each in others} <= {"kept", "failed"}
    assert all(each.reason for each in others)
    changed = (outcome.picture.pixels != given.pixels).any(axis=2)
    size_wh = given.size_wh
    mask = first.region.mask.within((0, 0, *size_wh)) > 0
    assert changed[mask].mean() > 0.5
    assert not changed[~mask].any()
    for each in others:
        assert any(f"({f.name} {f.value:.2f}" in each.reason for f in each.findings) or (
            "not numbers (NaN)" in each.reason
        )
