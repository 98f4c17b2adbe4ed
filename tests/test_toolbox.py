"""What the toolbox opens for a recipe."""

from __future__ import annotations

import pytest

from autofix.recipe import Recipe
from autofix.toolbox import Toolbox
from tests.detectors.photos import photo


@pytest.mark.parametrize(("shape", "outlined"), [("outline", True), ("box", False)])
def test_faces_have_an_outline_only_where_the_mask_asks_for_it(shape, outlined):
    with Toolbox(Recipe().override({"mask.shape": shape})) as toolbox:
        (detector,) = toolbox.detectors
        (face,) = detector.detect([photo("hopper")])[0]
        assert (face.polygon is not None) == outlined
        assert toolbox.detectors_by_name == {"mediapipe-face": detector}
