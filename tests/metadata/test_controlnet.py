import pytest

from autofix.metadata.adetailer_infotext import infotext_keys, tabs_of
from autofix.metadata.adetailer_recipe import args_of, settings_of
from autofix.settings.model_sections import Control
from autofix.settings.recipe import Recipe, parse_recipe

TILE = "control_v11f1e_sd15_tile [a371b31b]"
NAMES = ["ad_controlnet_model", "ad_controlnet_module", "ad_controlnet_weight"]


def imported(**args):
    settings, notes = settings_of({"ad_model": "face_yolov8n.pt", **args}, {})
    return parse_recipe(settings, origin="it").inpaint.control, notes


def test_a_tab_without_controlnet_has_none():
    for model in ("None", ""):
        assert imported(ad_controlnet_model=model, ad_controlnet_weight=0.5) == ((), [])


def test_a_tab_says_which_controlnet_steers_how_much_and_when():
    said = {
        "ad_controlnet_model": TILE,
        "ad_controlnet_module": "tile_resample",
        "ad_controlnet_weight": 0.6,
        "ad_controlnet_guidance_start": 0.1,
        "ad_controlnet_guidance_end": 0.8,
    }
    wanted = Control(model=TILE, module="tile_resample", weight=0.6, start=0.1, end=0.8)
    assert imported(**said) == ((wanted,), [])
    text = {key: str(value) for key, value in infotext_keys({"ad_model": "m.pt", **said})}
    assert imported(**tabs_of(list(text.items()))[1])[0] == (wanted,)


@pytest.mark.parametrize("module", ["None", None, ""])
def test_a_module_that_is_not_said_is_guessed_as_adetailer_does(module):
    found = imported(ad_controlnet_model=TILE, ad_controlnet_module=module)
    assert found == ((Control(model=TILE, module="auto"),), [])


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("tile_colorfix+sharp", "tile_resample"),
        ("inpaint_only+lama", "inpaint_only"),
        ("dw_openpose_full", "openpose_full"),
        ("depth_hand_refiner", "depth_midas"),
        ("shuffle", "auto"),
    ],
)
def test_a_module_that_is_none_of_ours_is_replaced_and_noted(module, ours):
    (control,), notes = imported(ad_controlnet_model="m", ad_controlnet_module=module)
    assert control.module == ours
    assert notes == [f"ADetailer ControlNet module {module!r} is none of ours: {ours} instead"]


@pytest.mark.parametrize(
    ("control", "said"),
    [
        (Control(model="/n/control_tile.safetensors", weight=0.5), ["control_tile", "None", 0.5]),
        (Control(model="C:\\n\\canny.pth", module="canny"), ["canny", "canny", 1.0]),
        (Control(model="m", module="lineart"), ["m", "lineart_realistic", 1.0]),
        (Control(model="m", module="none"), ["m", "None", 1.0]),
    ],
)
def test_what_was_done_is_written_as_adetailer_would(control, said):
    args = args_of(Recipe(inpaint={"control": (control, Control(model="second"))}), ())
    assert [args[name] for name in NAMES] == said


def test_nothing_is_written_of_no_controlnet():
    keys = [key for key, _ in infotext_keys(args_of(Recipe(), ()))]
    assert not [key for key in keys if "ControlNet" in key]
