"""ADetailer 25.3's prompt grammar and infotext, as reading its source gives them.

The expected values were written down from its rules (scripts/!adetailer.py and adetailer/args.py),
not made with autofix.
"""

import pytest

from autofix.metadata import GenerationText, parse_generation
from autofix.metadata.adetailer_infotext import DEFAULTS, NAMES, infotext_keys, tabs_of
from autofix.prompts import assign_prompts
from autofix.settings.model_sections import Prompt
from tests.build import region

FOUR = tuple(region((20 * n, 0, 20 * n + 10, 10), index=n) for n in range(4))
MAIN = GenerationText("main", "main negative")


def four(prompt, negative=""):
    settings = Prompt(positive=prompt, negative=negative)
    done = assign_prompts(FOUR, settings, main=MAIN, picture_wh=(100, 50), seed=100)
    return [None if each.skip else each.prompt for each in done], done


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", ["main"] * 4),
        (" ", [" "] * 4),  # spaces are not nothing
        ("a", ["a"] * 4),
        ("a[SEP]b", ["a", "b", "b", "b"]),
        ("a [SEP] b\n[SEP]\tc", ["a", "b", "c", "c"]),
        ("a[SEP]b[SEP]c[SEP]d[SEP]e", ["a", "b", "c", "d"]),
        ("[SEP]b", ["main", "b", "b", "b"]),
        (" [SEP] b", ["main", "b", "b", "b"]),  # the marker takes the spaces around it
        ("a[SEP]", ["a", "main", "main", "main"]),
        ("a[SEP][SEP]c", ["a", "main", "c", "c"]),
        ("[PROMPT], x [SEP] y [PROMPT] [PROMPT]", ["main, x"] + ["y main main"] * 3),
        ("a[sep]b", ["a[sep]b"] * 4),
        ("[prompt]", ["[prompt]"] * 4),
        ("[SKIP]", [None] * 4),
        ("a[SEP] [SKIP] [SEP]c", ["a", None, "c", "c"]),
        ("a[SEP][SKIP]", ["a", None, None, None]),
        ("a [SKIP]", ["a [SKIP]"] * 4),  # only if it is the whole part
        ("[skip]", ["[skip]"] * 4),
    ],
)
def test_parts(prompt, expected):
    assert four(prompt)[0] == expected


def test_a_skipped_thing_uses_up_its_index_and_its_seed():
    prompts, done = four("a[SEP][SKIP][SEP]c")
    assert prompts == ["a", None, "c", "c"]
    assert [each.seed for each in done] == [100, 101, 102, 103]


def test_both_prompts_are_parted_separately():
    _, done = four("a[SEP]b", "x[SEP]y[SEP][PROMPT]z[SEP][SKIP]")
    assert [each.negative_prompt for each in done] == ["x", "y", "main negativez", "[SKIP]"]
    assert not any(each.skip for each in done)


ALL_KEYS = """
model | model classes | prompt | negative prompt | confidence | method to decide top k masks |
mask only top k | mask min ratio | mask max ratio | x offset | y offset | dilate erode |
mask merge invert | mask blur | denoising strength | inpaint only masked | inpaint padding |
use inpaint width height | inpaint width | inpaint height | use separate steps | steps |
use separate CFG scale | CFG scale | use separate checkpoint | checkpoint | use separate VAE | VAE |
use separate sampler | sampler | scheduler | use separate noise multiplier | noise multiplier |
use separate CLIP skip | CLIP skip | restore face | ControlNet model | ControlNet module |
ControlNet weight | ControlNet guidance start | ControlNet guidance end
"""


def test_all_keys_in_their_order():
    expected = [f"ADetailer {' '.join(key.split())}" for key in ALL_KEYS.split("|")]
    assert [key for arg, key in NAMES.items() if arg != "ad_tab_enable"] == expected


def line(args, tab=1):
    return ", ".join(f"{key}: {value}" for key, value in infotext_keys(args, tab))


def test_the_defaults_as_every_picture_of_adetailer_shows_them():
    assert line({"ad_model": "face_yolov8n.pt"}) == (
        "ADetailer model: face_yolov8n.pt, ADetailer confidence: 0.3, ADetailer dilate erode: 4, "
        "ADetailer mask blur: 4, ADetailer denoising strength: 0.4, "
        "ADetailer inpaint only masked: True, ADetailer inpaint padding: 32"
    )
    assert line({"ad_model": "hand_yolov8n.pt", "ad_inpaint_only_masked": False}, 2) == (
        "ADetailer model 2nd: hand_yolov8n.pt, ADetailer confidence 2nd: 0.3, "
        "ADetailer dilate erode 2nd: 4, ADetailer mask blur 2nd: 4, "
        "ADetailer denoising strength 2nd: 0.4, ADetailer inpaint only masked 2nd: False"
    )


ALWAYS = {"model", "confidence", "dilate erode", "mask blur", "denoising strength"} | {
    "inpaint only masked",
    "inpaint padding",
}


@pytest.mark.parametrize(
    ("args", "more"),
    [
        ({"ad_tab_enable": False}, set()),
        ({"ad_model_classes": "cat"}, {"model classes"}),
        ({"ad_prompt": "x", "ad_negative_prompt": "y"}, {"prompt", "negative prompt"}),
        ({"ad_mask_filter_method": "Confidence"}, set()),
        ({"ad_mask_k": 2}, {"method to decide top k masks", "mask only top k"}),
        ({"ad_mask_min_ratio": 0.1}, {"mask min ratio"}),
        ({"ad_mask_max_ratio": 0.9}, {"mask max ratio"}),
        ({"ad_x_offset": -3, "ad_y_offset": 3}, {"x offset", "y offset"}),
        ({"ad_mask_merge_invert": "Merge"}, {"mask merge invert"}),
        ({"ad_inpaint_width": 640}, set()),
        ({"ad_use_inpaint_width_height": True},
         {"use inpaint width height", "inpaint width", "inpaint height"}),
        ({"ad_steps": 50, "ad_cfg_scale": 3.0, "ad_checkpoint": "x", "ad_clip_skip": 2}, set()),
        ({"ad_use_steps": True}, {"use separate steps", "steps"}),
        ({"ad_use_cfg_scale": True}, {"use separate CFG scale", "CFG scale"}),
        ({"ad_use_checkpoint": True}, {"use separate checkpoint", "checkpoint"}),
        ({"ad_use_vae": True}, {"use separate VAE", "VAE"}),
        ({"ad_scheduler": "Karras"}, set()),
        ({"ad_use_sampler": True}, {"use separate sampler", "sampler"}),
        ({"ad_use_sampler": True, "ad_scheduler": "Karras"},
         {"use separate sampler", "sampler", "scheduler"}),
        ({"ad_use_noise_multiplier": True}, {"use separate noise multiplier", "noise multiplier"}),
        ({"ad_use_clip_skip": True}, {"use separate CLIP skip", "CLIP skip"}),
        ({"ad_restore_face": True}, {"restore face"}),
        ({"ad_controlnet_weight": 0.5}, set()),
        ({"ad_controlnet_model": "tile"}, {"ControlNet model"}),
        ({"ad_controlnet_model": "tile", "ad_controlnet_module": "m", "ad_controlnet_weight": 0.5,
          "ad_controlnet_guidance_start": 0.1, "ad_controlnet_guidance_end": 0.9},
         {"ControlNet model", "ControlNet module", "ControlNet weight",
          "ControlNet guidance start", "ControlNet guidance end"}),
    ],
)  # fmt: skip
def test_what_is_left_out(args, more):
    keys = [key for key, _ in infotext_keys({"ad_model": "face_yolov8n.pt", **args})]
    assert set(keys) == {f"ADetailer {key}" for key in ALWAYS | more}
    assert keys == [key for key in NAMES.values() if key in keys]


def test_an_infotext_as_the_web_ui_writes_it_is_read():
    said = parse_generation(
        "1girl\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, "
        'ADetailer model: face_yolov8n.pt, ADetailer prompt: "a, b [SEP] [SKIP]", '
        "ADetailer confidence: 0.3, ADetailer model 2nd: hand_yolov8n.pt, "
        "ADetailer mask only top k 2nd: 1, ADetailer use separate steps 2nd: True, "
        "ADetailer steps 2nd: 40, ADetailer version: 25.3.0, Version: v1.10.1"
    )
    assert tabs_of(said.settings) == {
        1: {
            "ad_model": "face_yolov8n.pt",
            "ad_prompt": "a, b [SEP] [SKIP]",
            "ad_confidence": "0.3",
        },
        2: {
            "ad_model": "hand_yolov8n.pt",
            "ad_mask_k": "1",
            "ad_use_steps": True,
            "ad_steps": "40",
        },
    }


def test_the_defaults_are_adetailers():
    numbers = {
        "ad_confidence": 0.3, "ad_mask_k": 0, "ad_mask_min_ratio": 0.0, "ad_mask_max_ratio": 1.0,
        "ad_x_offset": 0, "ad_y_offset": 0, "ad_dilate_erode": 4, "ad_mask_blur": 4,
        "ad_denoising_strength": 0.4, "ad_inpaint_only_masked": True,
        "ad_inpaint_only_masked_padding": 32, "ad_inpaint_width": 512, "ad_inpaint_height": 512,
        "ad_steps": 28, "ad_cfg_scale": 7.0, "ad_sampler": "DPM++ 2M Karras",
        "ad_noise_multiplier": 1.0, "ad_clip_skip": 1, "ad_restore_face": False,
        "ad_controlnet_model": "None", "ad_controlnet_weight": 1.0,
    }  # fmt: skip
    assert {arg: DEFAULTS[arg] for arg in numbers} == numbers
