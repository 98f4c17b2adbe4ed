"""A recipe comes back from what autofix and ADetailer leave behind."""

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from autofix.errors import PictureError, RecipeError
from autofix.imagefiles import files
from autofix.metadata import record_fix
from autofix.metadata.recipe_import import import_recipe
from autofix.settings.recipe import Recipe
from autofix.settings.recipe_toml import build_recipe, load_recipe, tomllib
from autofix.values import Outcome, Picture, RegionResult, Source
from tests.build import picture, region

TAB = {
    "ad_model": "face_yolov8n.pt",
    "ad_prompt": "a [SEP] b",
    "ad_denoising_strength": 0.3,
    "ad_dilate_erode": 8,
    "ad_use_steps": True,
    "ad_steps": 40,
}
INFOTEXT = (
    "a cat\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 1, "
    "Size: 512x768, Model: dream, ADetailer model: face_yolov8n.pt, "
    'ADetailer prompt: "a, b: c", ADetailer confidence: 0.25, ADetailer dilate erode: 6, '
    "ADetailer mask blur: 5, ADetailer denoising strength: 0.35, "
    "ADetailer inpaint only masked: True, ADetailer inpaint padding: 48, "
    "ADetailer model 2nd: hand_yolov8n.pt, ADetailer confidence 2nd: 0.5, "
    "ADetailer dilate erode 2nd: 4, ADetailer mask blur 2nd: 4, "
    "ADetailer denoising strength 2nd: 0.4, ADetailer inpaint only masked 2nd: False, "
    "ADetailer version: 25.3.0"
)
MODEL_NOTE = "ADetailer inpaints with the web UI's model: name yours in model.name"


def written(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def settings(recipe):
    data = recipe.model_dump(mode="json", exclude_defaults=True)
    return {key: value for key, value in data.items() if key != "name"}


RECIPES = {
    "defaults": Recipe(),
    "shipped": load_recipe("face"),
    "two passes": load_recipe("face-hand"),
    "changed": load_recipe("face").override(
        {
            "seed": 9,
            "detect.detectors": ["face_yolov8n", 'models/it\'s "mine".pt'],
            "mask.dilate": "-8%",
            "crop.size": "832x1216",
            "prompt.positive": '[SEP:left] a "b"\\ \n [SEP] {c|\x7f 猫}',
            "inpaint.strength": [0.5, 0.3],
        }
    ),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_our_own_pictures_give_their_recipe_back(tmp_path, name, suffix):
    source = Source(text=(("parameters", "a cat\nSteps: 3, Seed: 4, Sampler: Euler"),))
    outcome = Outcome(picture(), (RegionResult(region((1, 2, 30, 40)), "fixed"),))
    fixed = Picture(picture().pixels, "p", record_fix(source, outcome, RECIPES[name]))
    files.write(fixed, tmp_path / f"p.{suffix}")
    found = import_recipe(tmp_path / f"p.{suffix}")
    assert found.recipe == RECIPES[name]
    assert found.notes == ()
    assert build_recipe(tomllib.loads(found.to_toml()), origin="it") == RECIPES[name]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tab: tab,
        lambda tab: [tab],
        lambda tab: [True, False, tab, {"ad_model": "None"}, {**tab, "ad_tab_enable": False}],
        lambda tab: {"args": [True, tab]},
        lambda tab: {"ADetailer": {"args": [tab]}},
        lambda tab: {"prompt": "x", "alwayson_scripts": {"ADetailer": {"args": [tab]}}},
    ],
)
def test_adetailers_arguments_in_every_wrapping(tmp_path, wrap):
    found = import_recipe(written(tmp_path / "mine.json", wrap(TAB)))
    assert found.recipe.name == "mine"
    assert settings(found.recipe) == {
        "detect": {"detectors": ["face_yolov8n"], "confidence": 0.3},
        "choose": {"sort": "none"},
        "mask": {"dilate": 8.0, "blur": 4.0},
        "crop": {"padding": 32.0},
        "prompt": {"positive": "a [SEP] b"},
        "sampling": {"steps": 40},
        "inpaint": {"strength": 0.3},
    }
    assert found.notes == (MODEL_NOTE,)


def test_a_whole_request_sets_what_the_tabs_leave_open(tmp_path):
    request = {
        "steps": 30, "cfg_scale": 6, "sampler_name": "Euler a", "scheduler": "Automatic",
        "width": 640, "height": 832, "alwayson_scripts": {"ADetailer": {"args": [TAB, TAB]}},
    }  # fmt: skip
    recipe = import_recipe(written(tmp_path / "r.json", request)).recipe
    assert len(recipe.each_pass) == 2
    for each in recipe.each_pass:
        assert (each.sampling.steps, each.sampling.cfg, each.sampling.sampler) == (40, 6, "Euler a")
        assert each.crop.size == (640, 832)


def test_infotext_of_two_tabs_gives_two_passes(tmp_path):
    found = import_recipe(written(tmp_path / "it.txt", INFOTEXT))
    first, second = found.recipe.each_pass
    assert (first.detect.detectors, second.detect.detectors) == (
        ("face_yolov8n",),
        ("hand_yolov8n",),
    )
    assert (first.detect.confidence, second.detect.confidence) == (0.25, 0.5)
    assert (first.prompt.positive, second.prompt.positive) == ("a, b: c", "")
    assert (first.inpaint.strength, second.inpaint.strength) == (0.35, 0.4)
    assert (first.mask.dilate.value, first.mask.blur.value) == (6, 5)
    assert (first.crop.padding.value, first.crop.area) == (48, "only-masked")
    assert second.crop.area == "whole-picture"
    for each in (first, second):
        assert each.sampling.sampler == "DPM++ 2M Karras"
        assert (each.sampling.steps, each.sampling.cfg) == (20, 5)
        assert each.crop.size == (512, 768)
    assert found.notes == (MODEL_NOTE,)
    assert build_recipe(tomllib.loads(found.to_toml()), origin="it") == found.recipe


def test_infotext_in_a_picture(tmp_path):
    info = PngInfo()
    info.add_text("parameters", INFOTEXT)
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png", pnginfo=info)
    in_text = import_recipe(written(tmp_path / "it.txt", INFOTEXT))
    assert import_recipe(tmp_path / "it.png") == in_text


def test_our_record_wins_over_the_keys_beside_it(tmp_path):
    record = {"version": "9", "recipe": {"inpaint": {"strength": 0.7}}, "regions": []}
    info = PngInfo()
    info.add_text("parameters", INFOTEXT)
    info.add_text("autofix", json.dumps(record))
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png", pnginfo=info)
    for path in (tmp_path / "it.png", written(tmp_path / "it.json", record)):
        assert settings(import_recipe(path).recipe) == {"inpaint": {"strength": 0.7}}


def test_a_record_without_a_recipe_leaves_the_keys(tmp_path):
    info = PngInfo()
    info.add_text("parameters", INFOTEXT)
    info.add_text("autofix", '{"recipe": 7}')
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png", pnginfo=info)
    assert len(import_recipe(tmp_path / "it.png").recipe.passes) == 2


def test_no_picture_can_ask_for_leave_to_run_code(tmp_path):
    trusting = {
        "detect": {"trust_pickle": True, "classes": ["a"]},
        "model": {"trust_pickle": True},
    }
    record = {"recipe": {**trusting, "passes": [trusting, {"mask": {"blur": 3}}]}}
    found = import_recipe(written(tmp_path / "it.json", record))
    assert not any(each.detect.trust_pickle for each in (found.recipe, *found.recipe.each_pass))
    assert not any(each.model.trust_pickle for each in (found.recipe, *found.recipe.each_pass))
    assert found.recipe.each_pass[0].detect.classes == ("a",)
    assert len(found.notes) == 4
    settings = [line for line in found.to_toml().splitlines() if not line.startswith("#")]
    assert not any("trust_pickle" in line for line in settings)


@pytest.mark.parametrize(
    "data",
    [
        "a cat\nSteps: 20, Seed: 1, Sampler: Euler",
        "",
        "{}",
        "[]",
        "[1, true]",
        "7",
        "{broken",
        "[" * 100_000,
        {"ad_prompt": "x"},
        [{"ad_model": "None"}],
        [{"ad_model": "face_yolov8n.pt", "ad_tab_enable": False}],
    ],
)
def test_where_there_is_nothing_it_is_said(tmp_path, data):
    with pytest.raises(RecipeError, match=r"it\.json says nothing of autofix or ADetailer"):
        import_recipe(written(tmp_path / "it.json", data))


def test_pictures_that_say_nothing_or_cannot_be_read(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png")
    with pytest.raises(RecipeError, match="says nothing"):
        import_recipe(tmp_path / "it.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    with pytest.raises(PictureError, match=r"broken\.png"):
        import_recipe(tmp_path / "broken.png")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(PictureError, match=r"latin\.txt"):
        import_recipe(tmp_path / "latin.txt")
    with pytest.raises(RecipeError, match=r"cannot be read \(No such file"):
        import_recipe(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ad_confidence": 7}, "detect.confidence to 7"),
        ({"ad_dilate_erode": "wide"}, "mask.dilate to 'wide'"),
        ({"ad_mask_filter_method": "Size"}, "choose.limit_by to 'size'"),
        ({"ad_mask_merge_invert": "Mix"}, "mask.merge to 'Mix'"),
    ],
)
def test_a_value_that_does_not_hold_is_refused(tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        import_recipe(written(tmp_path / "it.json", {**TAB, **change}))
    with pytest.raises(RecipeError, match=r"the record in .*it\.json"):
        import_recipe(written(tmp_path / "it.json", {"recipe": {"inpaint": {"nonsense": 1}}}))


def test_no_text_can_leave_its_comment_or_its_string(tmp_path):
    tab = {**TAB, "ad_prompt": '"\n[detect]\ntrust_pickle = true\x1b[2J\ud800', "ad_x\ny": 1}
    found = import_recipe(written(tmp_path / "it.json", tab))
    toml = found.to_toml()
    assert "\x1b" not in toml
    assert toml.encode()
    data = tomllib.loads(toml)
    assert "trust_pickle" not in data["detect"]
    assert data["prompt"]["positive"].startswith('"\n[detect]\ntrust_pickle')
