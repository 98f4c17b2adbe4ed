"""A recipe's settings come back from ADetailer's arguments, and what is not taken over is named."""

import pytest

from autofix.metadata.adetailer_infotext import DEFAULTS, infotext_keys, tabs_of
from autofix.metadata.adetailer_recipe import YOLO_NAMES, args_of, sampler_name, settings_of
from autofix.settings.model_sections import Control
from autofix.settings.recipe import Recipe, parse_recipe
from autofix.values import RegionResult
from tests.build import region
from weights.environment import default_store


def results(box=(0, 0, 100, 50), status="fixed", **more):
    return [RegionResult(region(box, **more), status)]


RECIPES = [
    {},
    {"detect.detectors": ["face_yolov8n"], "detect.confidence": 0.5, "detect.classes": ["a", "b"]},
    {"choose.limit": 2, "choose.limit_by": "confidence", "choose.min_ratio": 0.1},
    {"choose.max_ratio": 0.9, "mask.offset_x": 3, "mask.offset_y": -4, "mask.dilate": -8},
    {"mask.merge": "merge", "mask.blur": 7},
    {"mask.merge": "merge-invert", "crop.area": "whole-picture", "crop.size": "512x768"},
    {"crop.padding": 64, "prompt.positive": "a [SEP] b", "prompt.negative": "c"},
    {"inpaint.strength": 0.25, "sampling.steps": 30, "sampling.cfg": 5.5},
    {"sampling.sampler": "Euler a"},
]
PIXELS = {"choose.sort": "none", "mask.dilate": 4, "mask.blur": 4, "crop.padding": 32} | {
    "detect.detectors": ["face_yolov8n"],
    "detect.confidence": 0.3,
    "inpaint.strength": 0.4,
}


@pytest.mark.parametrize("changes", RECIPES)
def test_a_recipe_in_pixels_comes_back_from_its_arguments(changes):
    recipe = Recipe().override({**PIXELS, **changes})
    found, notes = settings_of(args_of(recipe, results()), {})
    if recipe.crop.area == "whole-picture":  # ADetailer then names no padding
        found["crop"]["padding"] = recipe.crop.padding
    assert parse_recipe(found, origin="it") == recipe
    assert notes == []


def test_shares_become_pixels_by_the_first_repainted_box():
    recipe = Recipe()
    args = args_of(recipe, [*results((0, 0, 10, 10), "kept"), *results((0, 0, 50, 200))])
    assert [args[f"ad_{key}"] for key in ("dilate_erode", "mask_blur")] == [8, 8]
    assert args["ad_inpaint_only_masked_padding"] == 64
    args = args_of(recipe, [])
    assert [args[f"ad_{key}"] for key in ("dilate_erode", "mask_blur")] == [4, 4]
    assert args["ad_inpaint_only_masked_padding"] == 32


@pytest.mark.parametrize(
    ("strength", "expected"), [("auto", 0.35), (0.2, 0.2), ((0.5, 0.3), 0.5), (0, 0)]
)
def test_the_strength_is_what_was_set_else_what_was_used(strength, expected):
    recipe = Recipe().override({"inpaint.strength": strength})
    assert args_of(recipe, results(strength=0.35))["ad_denoising_strength"] == expected
    used = args_of(recipe, [])["ad_denoising_strength"]
    assert used == (0.4 if strength == "auto" else expected)


@pytest.mark.parametrize(
    ("detectors", "model", "confidence"),
    [
        (["blazeface"], "mediapipe_face_short", 0.75),
        (["blazeface-full"], "mediapipe_face_full", 0.75),
        (["face_yolov8n"], "face_yolov8n.pt", 0.3),
        (["models/eyes v2.pt"], "eyes v2.pt", 0.3),
        (["C:\\models\\eyes.pt"], "eyes.pt", 0.3),
        (["hands", "hand_yolov8n"], "hands, hand_yolov8n.pt", 0.75),
    ],
)
def test_detectors_by_their_names(detectors, model, confidence):
    args = args_of(Recipe().override({"detect.detectors": detectors}), [])
    assert (args["ad_model"], args["ad_confidence"]) == (model, confidence)


def test_prompts_with_rules_are_written_as_each_thing_got_them():
    given = "[SEP:left] a [SEP] b"
    recipe = Recipe().override({"prompt.positive": given, "prompt.negative": "x"})
    found = [
        RegionResult(region((0, 0, 9, 9), prompt="a"), "fixed"),
        RegionResult(region((0, 0, 9, 9), skip="too small"), "skipped"),
        RegionResult(region((0, 0, 9, 9), prompt="[SKIP]", skip="it says so"), "skipped"),
        RegionResult(region((0, 0, 9, 9), prompt="b"), "kept"),
    ]
    args = args_of(recipe, found)
    assert args["ad_prompt"] == "a [SEP] [SKIP] [SEP] b"
    assert args["ad_negative_prompt"] == "x"


@pytest.mark.parametrize(
    ("model", "detector", "shape", "said"),
    [
        ("face_yolov8n.pt", "face_yolov8n", "box", ""),
        ("person_yolov8n-seg.pt", "person_yolov8n-seg", "outline", ""),
        ("mediapipe_face_full", "blazeface-full", "box", ""),
        ("mediapipe_face_short", "blazeface", "box", ""),
        ("mediapipe_face_mesh", "blazeface", "outline", ""),
        ("mediapipe_face_mesh_eyes_only", "blazeface", "outline", "masks the eyes alone"),
        ("mine.pt", "mine.pt", "box", "put its file's path in detect.detectors"),
    ],
)
def test_models_by_our_names(model, detector, shape, said):
    found, notes = settings_of({"ad_model": model}, {})
    assert found["detect"]["detectors"] == [detector]
    assert found["mask"]["shape"] == shape
    assert said in "".join(notes)
    assert len(notes) == bool(said)


def test_every_model_that_is_known_by_name_is_in_the_manifest():
    store = default_store()
    for name in (*YOLO_NAMES, "blazeface", "blazeface-full", "hands"):
        assert store.find_entry(name)


def test_the_default_confidence_is_not_carried_to_a_detector_whose_scores_run_higher():
    assert "confidence" not in settings_of({"ad_model": "mediapipe_face_full"}, {})[0]["detect"]
    for model, confidence in (("mediapipe_face_full", 0.5), ("face_yolov8n.pt", 0.3)):
        found, _ = settings_of({"ad_model": model, "ad_confidence": confidence}, {})
        assert found["detect"]["confidence"] == confidence


def test_a_tab_without_its_own_takes_what_holds_for_the_whole_picture():
    main = {"steps": 20, "cfg": 5, "sampler": "Euler", "size": "640x960"}
    found, _ = settings_of({"ad_model": "face_yolov8n.pt"}, main)
    assert found["crop"]["size"] == "640x960"
    assert [found["sampling"][key] for key in ("steps", "cfg", "sampler")] == [20, 5, "Euler"]
    own = {"ad_use_steps": True, "ad_use_cfg_scale": True, "ad_use_sampler": True} | {
        "ad_use_inpaint_width_height": True
    }
    found, _ = settings_of({"ad_model": "face_yolov8n.pt", **own}, main)
    assert found["crop"]["size"] == "512x512"
    assert [found["sampling"][key] for key in ("steps", "cfg", "sampler")] == [
        28,
        7.0,
        "DPM++ 2M Karras",
    ]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "name"),
    [
        ("DPM++ 2M", "Karras", "DPM++ 2M Karras"),
        ("DPM++ 2M Karras", "Karras", "DPM++ 2M Karras"),
        ("Euler a", "Use same scheduler", "Euler a"),
        ("Euler a", "Automatic", "Euler a"),
        ("DPM++ 2M", "Automatic", "DPM++ 2M Karras"),
        ("Euler a", "", "Euler a"),
    ],
)
def test_samplers_with_their_scheduler(sampler, scheduler, name):
    assert sampler_name(sampler, scheduler) == name


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"ad_use_checkpoint": True, "ad_checkpoint": "x.ckpt"}, "ADetailer checkpoint 'x.ckpt'"),
        ({"ad_restore_face": True}, "ADetailer restore face 'True'"),
        ({"ad_controlnet_model": "Passthrough"}, "ADetailer ControlNet model 'Passthrough'"),
        ({"ad_use_sampler": True, "ad_sampler": "Restart"}, "sampler 'Restart' is none of ours"),
        ({"ad_nonsense": 1}, "ad_nonsense is no argument of ADetailer"),
    ],
)
def test_what_has_no_counterpart_is_named(args, said):
    found, notes = settings_of({"ad_model": "face_yolov8n.pt", **args}, {})
    assert len(notes) == 1
    assert said in notes[0]
    assert parse_recipe(found, origin="it").sampling.sampler == "auto"


@pytest.mark.parametrize(
    ("args", "section", "key", "value"),
    [
        ({"ad_use_vae": True, "ad_vae": "v.pt"}, "model", "vae", "v.pt"),
        ({"ad_use_vae": True, "ad_vae": "Automatic"}, "model", "vae", ""),
        ({"ad_use_clip_skip": True, "ad_clip_skip": 2}, "model", "clip_skip", 2),
        (
            {"ad_use_noise_multiplier": True, "ad_noise_multiplier": 1.2},
            *("sampling", "noise_multiplier", 1.2),
        ),
    ],
)
def test_a_tab_s_own_model_settings_are_taken_over_and_written_back(args, section, key, value):
    found, notes = settings_of({"ad_model": "face_yolov8n.pt", **args}, {})
    recipe = parse_recipe(found, origin="it")
    assert notes == []
    assert getattr(getattr(recipe, section), key) == value
    if value:
        assert args_of(recipe, ()).items() >= args.items()


NOT_DEFAULT = {
    "ad_model": "mediapipe_face_full",
    "ad_model_classes": "a, b",
    "ad_prompt": "x",
    "ad_negative_prompt": "y",
    "ad_mask_filter_method": "Confidence",
    "ad_mask_merge_invert": "Merge",
    "ad_checkpoint": "c.safetensors",
    "ad_vae": "v.pt",
    "ad_sampler": "Euler",
    "ad_scheduler": "Exponential",
    "ad_controlnet_model": "control_v11f1e_sd15_tile",
    "ad_controlnet_module": "canny",
}
OF_THE_TAB = {"ad_tab_enable"}


@pytest.mark.parametrize("arg", [arg for arg in DEFAULTS if arg not in OF_THE_TAB])
def test_every_argument_is_taken_over_or_named_with_a_reason(arg):
    default = DEFAULTS[arg]
    if arg in NOT_DEFAULT:
        value = NOT_DEFAULT[arg]
    elif isinstance(default, bool):
        value = not default
    else:
        value = default + 3 if isinstance(default, int) else default / 2 + 0.25
    used = {switch: True for switch in DEFAULTS if switch.startswith("ad_use_")}
    others = {"ad_checkpoint": "c", "ad_vae": "v", "ad_controlnet_model": "tile"}
    base = {"ad_model": "face_yolov8n.pt", **used, **others}
    assert settings_of({**base, arg: value}, {}) != settings_of({**base, arg: default}, {})


@pytest.mark.parametrize("args", [{"ad_checkpoint": "x"}, {"ad_vae": "v"}, {"ad_clip_skip": 2}])
def test_what_is_not_in_use_is_not_missed(args):
    assert settings_of({"ad_model": "face_yolov8n.pt", **args}, {})[1] == []


TILE = "control_v11f1e_sd15_tile [a371b31b]"
CONTROL_ARGS = ["ad_controlnet_model", "ad_controlnet_module", "ad_controlnet_weight"]


def imported_controls(**args):
    settings, notes = settings_of({"ad_model": "face_yolov8n.pt", **args}, {})
    return parse_recipe(settings, origin="it").inpaint.control, notes


def test_a_tab_without_controlnet_has_none():
    for model in ("None", ""):
        assert imported_controls(ad_controlnet_model=model, ad_controlnet_weight=0.5) == ((), [])


def test_a_tab_says_which_controlnet_steers_how_much_and_when():
    given = {
        "ad_controlnet_model": TILE,
        "ad_controlnet_module": "tile_resample",
        "ad_controlnet_weight": 0.6,
        "ad_controlnet_guidance_start": 0.1,
        "ad_controlnet_guidance_end": 0.8,
    }
    wanted = Control(model=TILE, module="tile_resample", weight=0.6, start=0.1, end=0.8)
    assert imported_controls(**given) == ((wanted,), [])
    text = {key: str(value) for key, value in infotext_keys({"ad_model": "m.pt", **given})}
    assert imported_controls(**tabs_of(list(text.items()))[1])[0] == (wanted,)


@pytest.mark.parametrize("module", ["None", None, ""])
def test_a_module_that_is_not_given_is_guessed_as_adetailer_does(module):
    found = imported_controls(ad_controlnet_model=TILE, ad_controlnet_module=module)
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
    (control,), notes = imported_controls(ad_controlnet_model="m", ad_controlnet_module=module)
    assert control.module == ours
    assert notes == [f"ADetailer ControlNet module {module!r} is none of ours: {ours} instead"]


@pytest.mark.parametrize(
    ("control", "given"),
    [
        (Control(model="/n/control_tile.safetensors", weight=0.5), ["control_tile", "None", 0.5]),
        (Control(model="C:\\n\\canny.pth", module="canny"), ["canny", "canny", 1.0]),
        (Control(model="m", module="lineart"), ["m", "lineart_realistic", 1.0]),
        (Control(model="m", module="none"), ["m", "None", 1.0]),
    ],
)
def test_what_was_done_is_written_as_adetailer_would(control, given):
    args = args_of(Recipe(inpaint={"control": (control, Control(model="second"))}), ())
    assert [args[name] for name in CONTROL_ARGS] == given


def test_nothing_is_written_of_no_controlnet():
    keys = [key for key, _ in infotext_keys(args_of(Recipe(), ()))]
    assert not [key for key in keys if "ControlNet" in key]
