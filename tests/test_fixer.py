import numpy as np
import pytest
from PIL import Image

import autofix
from autofix.errors import ModelError, RecipeError
from tests.conftest import ROOT

LAUNCH, PAD = ROOT / "samples/launch.png", ROOT / "samples/pad.png"


def test_fixer_takes_a_picture_of_any_kind():
    with autofix.Fixer(model="null", inpaint__strength=0.3) as fixer:
        image = Image.open(LAUNCH)
        outcomes = [fixer.fix(each) for each in (image, np.array(image.convert("RGB")))]
        outcomes.append(fixer.fix(autofix.Picture(np.array(image.convert("RGB")), "launch.png")))
    for outcome in outcomes:
        (result,) = outcome.results
        assert (result.status, result.region.strength) == ("fixed", 0.3)
        assert outcome.picture.size_wh == image.size


def test_fix_many_keeps_the_order():
    with autofix.Fixer(model="null") as fixer:
        images = (Image.open(path) for path in (LAUNCH, PAD, LAUNCH))
        counts = [len(outcome.results) for outcome in fixer.fix_many(images)]
    assert counts == [1, 0, 1]


def test_fixer_can_be_closed_twice_and_used_again():
    fixer = autofix.Fixer(model="null")
    fixer.close()
    assert len(fixer.fix(Image.open(LAUNCH)).results) == 1
    fixer.close()
    fixer.close()


def test_bad_settings_are_refused():
    with pytest.raises(RecipeError, match="did you mean 'strength'"):
        autofix.Fixer(inpaint__strenght=0.3)
    with pytest.raises(ModelError, match=r"there is no model .no/such/model"):
        autofix.Fixer(model="no/such/model").fix(Image.open(LAUNCH))


def test_fix_many_takes_pictures_as_there_is_room_and_raises_what_goes_wrong():
    taken = []

    def images():
        for number in range(500):
            taken.append(number)
            yield np.zeros((8, 8, 3), np.uint8)

    with autofix.Fixer(model="null") as fixer:
        outcomes = fixer.fix_many(images())
        assert not next(outcomes).results
        assert len(taken) < 200
        outcomes.close()
        with pytest.raises(ValueError, match="shape"):
            list(fixer.fix_many([np.zeros((8, 8), np.uint8)]))
