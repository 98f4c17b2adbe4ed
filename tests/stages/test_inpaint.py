import pytest

from autofix.engines.null import NullEngine
from autofix.settings.recipe import Recipe
from autofix.stages.inpaint import inpaint
from tests.build import crop, picture, region

SEEN = picture()


def test_one_patch_a_crop_in_order():
    crops = [
        crop(SEEN, region((8, 8, 24, 24), index=n, seed=n), (8, 8, 24, 24), (32, 32))
        for n in range(3)
    ]
    patches = inpaint(crops, NullEngine(), Recipe())
    assert [patch.crop.region.index for patch in patches] == [0, 1, 2]
    assert [patch.seed for patch in patches] == [0, 1, 2]


def test_a_batch_of_two_sizes_or_plans_is_a_mistake():
    small = crop(SEEN, region((8, 8, 24, 24)), (8, 8, 24, 24), (32, 32))
    large = crop(SEEN, region((8, 8, 24, 24)), (8, 8, 24, 24), (64, 64))
    strong = crop(SEEN, region((8, 8, 24, 24), strength=0.9), (8, 8, 24, 24), (32, 32))
    for other in (large, strong):
        with pytest.raises(ValueError, match="one size and one plan"):
            inpaint([small, other], NullEngine(), Recipe())
