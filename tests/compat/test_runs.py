"""What goes wrong in whole runs of other detailers, and must not here."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from autofix.engines.diffusion.inputs import touched_mask
from autofix.frontends.files.batch import Destination
from autofix.imagefiles.files import find_pictures
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from autofix.settings.region_sections import Blend, Check
from autofix.stages.blend import blend
from autofix.stages.check import check, refusal
from detectors.errors import DetectorError
from tests.build import crop, patch, picture, region, smooth
from tests.pipeline.fakes import Boxes, Broken, Painter, pipeline

FACE = (20, 16, 44, 40)


def test_a_detector_is_opened_once_for_all_pictures_and_passes():
    first, second = (
        load_recipe("face").override({"passes": [{}, {"inpaint": {"strength": 0.2}}]}).each_pass
    )
    with Toolbox(first) as toolbox:
        lent = []
        for each in (toolbox, toolbox, toolbox.for_recipe(second)):
            with each.detectors() as (detector,):
                lent.append(detector)
        assert lent[0] is lent[1] is lent[2]


def test_a_detector_that_fails_is_not_a_picture_without_faces():
    class Failing(Boxes):
        def detect(self, pictures, *, names=()):
            raise DetectorError("the model failed")

    with pytest.raises(DetectorError):
        pipeline(Failing(), Painter()).fix([picture(220, 140)])


def test_whatever_the_soft_mask_touches_is_repainted():
    values = np.zeros((16, 16), np.uint8)
    values[4:12, 4:12] = 1
    values[6:10, 6:10] = 255
    assert np.array_equal(touched_mask(values) > 0, values > 0)


def test_one_value_that_is_not_a_number_refuses_the_patch():
    seen = smooth()
    made = patch(crop(seen, region(FACE), (10, 6, 54, 46), (44, 40)))
    made.pixels[20, 20, 1] = np.nan
    (findings,) = check([made], {}, Check())
    assert "not a number" in refusal(findings)


def test_a_patch_like_its_crop_changes_no_level():
    seen = smooth()
    made = patch(crop(seen, region(FACE), (10, 6, 54, 46), (44, 40)))
    assert np.array_equal(blend(seen, made, Blend()).pixels, seen.pixels)


def test_what_went_wrong_is_in_the_record():
    (outcome,) = pipeline(Boxes((10, 10, 30, 34)), Broken()).fix([picture(220, 140)])
    assert outcome.failed
    assert "no such layer" in outcome.results[0].reason


def test_a_picture_without_faces_stays_in_the_run():
    seen = [picture(220, 140, name="a.png"), picture(90, 90, name="b.png")]
    outcomes = pipeline(Boxes((10, 10, 30, 34)), Painter()).fix(seen)
    assert [outcome.picture.name for outcome in outcomes] == ["a.png", "b.png"]
    assert outcomes[1].picture is seen[1]


def test_pictures_of_one_stem_do_not_collide(tmp_path):
    for name in ("a.png", "a.jpg", "A.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    out = tmp_path / "out"
    targets = {
        Destination(out, out).result_path(each) for each in find_pictures([tmp_path], out=out)
    }
    assert {target.name for target in targets} == {"a.png", "a.jpg", "A.png"}
