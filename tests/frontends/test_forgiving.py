import pytest

from autofix.errors import RecipeError
from autofix.frontends.forgiving import fix_each
from autofix.values import Outcome
from tests.build import picture
from tests.frontends.tools import fake_pipeline
from tests.pipeline.fakes import Boxes


class Choosy(Boxes):
    """Fails at pictures of one width."""

    def detect(self, pictures, *, names=()):
        if any(each.shape[1] == 200 for each in pictures):
            raise ZeroDivisionError("inside")
        return super().detect(pictures, names=names)


@pytest.mark.parametrize("widths", [(), (160,), (200,), (160, 200, 160), (200, 200)])
def test_bad_pictures_fail_alone(widths):
    pipeline = fake_pipeline(detector=Choosy((60, 40, 90, 76)))
    answers = fix_each(pipeline, [picture(width, 120) for width in widths])
    kinds = [Outcome if width == 160 else ZeroDivisionError for width in widths]
    assert [type(answer) for answer in answers] == kinds


def test_a_setting_that_does_not_hold_fails_them_all_at_once():
    pipeline = fake_pipeline(inpaint__prompt="{a|")
    answers = fix_each(pipeline, [picture(160, 120)] * 3)
    assert [type(answer) for answer in answers] == [RecipeError] * 3
