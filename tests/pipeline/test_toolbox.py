"""What the toolbox opens for a recipe."""

from __future__ import annotations

import pytest

from autofix.errors import DetectorSetupError, UsageError
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from tests.detectors.photos import photo
from tests.engines import tiny


@pytest.mark.parametrize(("shape", "outlined"), [("outline", True), ("box", False)])
def test_faces_have_an_outline_only_where_the_mask_asks_for_it(shape, outlined):
    with Toolbox(Recipe().override({"mask.shape": shape})) as toolbox:
        with toolbox.detectors() as (detector,):
            (face,) = detector.detect([photo("hopper")])[0]
        assert (face.polygon is not None) == outlined
        assert detector.name == "mediapipe-face"


def test_a_detector_is_found_in_the_user_s_models_folders(tmp_path, monkeypatch):
    kept = tmp_path / "models" / "adetailer" / "my_faces.pt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    config = tmp_path / "config.toml"
    config.write_text('[models]\nfolders = ["models"]\n')
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
    opened = []

    def fake(kind, path, *, settings):
        opened.append((kind, path))
        return NullDetector()

    monkeypatch.setattr("autofix.pipeline.toolbox.open_detector", fake)
    for name in ("my_faces", "my_faces.pt"):
        recipe = Recipe().override({"detect.detectors": [name]})
        with Toolbox(recipe) as toolbox, toolbox.detectors():
            pass
    assert opened == [("yolo", kept)] * 2
    with (
        Toolbox(Recipe().override({"detect.detectors": ["my_face"]})) as toolbox,
        pytest.raises(DetectorSetupError, match="my_face"),
        toolbox.detectors(),
    ):
        pass


class NullDetector:
    name = "null"

    def close(self):
        pass


@pytest.mark.parametrize(
    ("changes", "another"),
    [
        ({"model.revision": "v2"}, True),
        ({"model.trust_pickle": True}, True),
        ({"device.vram": "low"}, True),
        ({"device.compile": True}, True),
        ({"device.dtype": "bfloat16"}, True),
        ({"sampling.sampler": "DDIM", "inpaint.control": ["tile"]}, False),
        ({"sampling.cfg": 3, "sampling.steps": 5, "prompt.positive": "x"}, False),
    ],
)
def test_recipes_share_an_engine_unless_a_setting_needs_another(changes, another):
    with Toolbox(Recipe().override({"model.name": "null"})) as toolbox:
        with toolbox.engine() as engine:
            pass
        with toolbox.for_recipe(toolbox.recipe.override(changes)).engine() as other:
            assert (other is not engine) == another


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inpaint.control": ["nowhere"]}, "no controlnet 'nowhere'"),
        ({"sampling.sampler": "Oiler"}, "Oiler"),
        ({"prompt.positive": "x <lora:nowhere:1>"}, "no LoRA 'nowhere'"),
    ],
)
def test_each_recipe_that_shares_an_engine_is_checked_before_any_weights_load(
    tmp_path, changes, said
):
    recipe = Recipe().override({"model.name": str(tiny.sd(tmp_path / "sd"))})
    with Toolbox(recipe) as toolbox:
        with pytest.raises(UsageError, match=said):
            toolbox.for_recipe(recipe.override(changes)).check()
        with toolbox.engine() as engine:
            assert engine.engine.model is None
