"""What other detailers get wrong, or leave their users asking for, in prompts and metadata."""

import json

import pytest

from autofix.metadata import (
    GenerationText,
    parse_generation,
    read_generation,
    read_infotext,
    record_fix,
)
from autofix.metadata.recipe_import import import_recipe
from autofix.prompts import assign_prompts, picture_seed
from autofix.settings.model_sections import Prompt
from autofix.settings.recipe import Recipe, parse_recipe
from autofix.settings.region_sections import Choose
from autofix.stages.choose import choose
from autofix.values import Outcome, RegionResult, Source
from tests.build import detection, picture, region

WH = (200, 100)
BOXES = ((5, 5, 25, 25), (40, 5, 100, 65), (120, 5, 160, 45))  # from left to right: 20, 60, 40 px
INFOTEXT = (
    "a crowd\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, "
    "Denoising strength: 0.55, Hires upscale: 2, Hires upscaler: Latent"
)


def things(boxes=BOXES, label="face"):
    return tuple(region(box, index=index) for index, box in enumerate(boxes))


def prompts(prompt, regions=None, *, main=None, seed=0, **more):
    regions = things() if regions is None else regions
    done = assign_prompts(
        regions, Prompt(positive=prompt, **more), main=main, picture_wh=WH, seed=seed
    )
    return [each.prompt for each in done]


def fixed(recipe, results=None, infotext=INFOTEXT):
    source = Source(text=(("parameters", infotext),))
    results = results or [RegionResult(each, "fixed") for each in things()]
    return record_fix(source, Outcome(picture(*WH), tuple(results)), recipe)


def test_a_limit_does_not_change_whose_part_it_is():
    found = [detection(box) for box in BOXES]
    for limit in (0, 2):
        regions = choose(picture(*WH), found, Choose(limit=limit))
        got = prompts("[SEP:index=2] second [SEP:index=3] third [SEP] first", regions)
        assert got[1:] == ["second", "third"]
    assert prompts("a [SEP] b", regions) == ["", "a", "b"]


def test_one_seed_for_all_things_says_so_and_passes_share_theirs():
    regions = things()
    for same, seeds in ((False, [7, 8, 9]), (True, [7, 7, 7])):
        settings = Prompt(same_seed=same)
        for _ in ("first pass", "second pass"):
            done = assign_prompts(regions, settings, main=None, picture_wh=WH, seed=7)
            assert [each.seed for each in done] == seeds


def test_what_was_skipped_or_switched_off_comes_back(tmp_path):
    recipe = parse_recipe(
        {"passes": [{"prompt": {"positive": "[SKIP] [SEP] a"}}, {"check": {"enabled": False}}]},
        origin="test",
    )
    path = tmp_path / "record.json"
    path.write_text(dict(fixed(recipe).text)["autofix"], encoding="utf-8")
    assert import_recipe(path).recipe == recipe


def test_draws_are_the_same_every_time(tmp_path):
    (tmp_path / "hair.txt").write_text("\n".join("abcdefgh"), encoding="utf-8")
    given = {"prompt": "{1|2|3|4} __hair__", "wildcards": str(tmp_path)}
    alone = [prompts(regions=[each], seed=3, **given)[0] for each in things()]
    assert prompts(seed=3, **given) == prompts(seed=3, **given) == alone
    assert prompts(seed=4, **given) != alone


def test_no_prompt_leaks_into_the_next_pass_or_picture():
    own = GenerationText("the picture's own")
    assert prompts("a [SEP] b", main=own) == ["a", "b", "b"]
    assert prompts("", main=own) == ["the picture's own"] * 3
    assert all(each.startswith("face") for each in prompts("", main=None))


def test_each_pass_counts_its_own_things():
    assert prompts("1 [SEP] 2 [SEP] 3") == ["1", "2", "3"]
    assert prompts("1 [SEP] 2 [SEP] 3", things(BOXES[:1])) == ["1"]


@pytest.mark.parametrize(("sort", "whose"), [("left-right", "abc"), ("area", "cab")])
def test_parts_go_in_the_order_that_was_asked_for(sort, whose):
    found = [detection(box) for box in reversed(BOXES)]
    regions = choose(picture(*WH), found, Choose(sort=sort))
    got = zip(regions, prompts("a [SEP] b [SEP] c", regions), strict=True)
    from_left = sorted(got, key=lambda pair: pair[0].detection.box_xyxy)
    assert "".join(prompt for _, prompt in from_left) == whose


def test_rules_choose_a_prompt_when_nobody_looks():
    assert prompts("[SEP:largest] big [SEP:score>0.6] sure") == ["sure", "big", "sure"]


def test_the_number_that_is_drawn_picks_a_thing():
    assert prompts("[SEP:index=3] it [SEP] [SKIP]") == ["[SKIP]", "[SKIP]", "it"]


def test_each_thing_can_have_its_own_lora():
    given = "a <lora:woman:0.8> [SEP] b <lora:man:1>"
    assert prompts(given)[:2] == ["a <lora:woman:0.8>", "b <lora:man:1>"]


def test_faces_in_the_background_are_left_alone():
    done = assign_prompts(
        things(), Prompt(positive="[SEP:area<5%] [SKIP]"), main=None, picture_wh=WH, seed=0
    )
    assert [bool(each.skip) for each in done] == [True, False, False]


def test_every_part_is_in_the_picture():
    recipe = Recipe().override({"prompt.positive": "a, b [SEP] c: d [SEP] [PROMPT]"})
    results = [
        RegionResult(each, "fixed")
        for each in assign_prompts(
            things(), recipe.prompt, main=parse_generation(INFOTEXT), picture_wh=WH, seed=5
        )
    ]
    done = fixed(recipe, results)
    said = dict(read_infotext(done).settings)
    assert said["ADetailer prompt"] == "a, b [SEP] c: d [SEP] [PROMPT]"
    record = json.loads(dict(done.text)["autofix"])
    assert [each["prompt"] for each in record["regions"]] == ["a, b", "c: d", "a crowd"]


def test_no_key_that_was_there_changes():
    recipe = Recipe().override({"inpaint.strength": 0.4, "sampling.steps": 99, "sampling.cfg": 1})
    before, after = parse_generation(INFOTEXT), read_infotext(fixed(recipe))
    assert after.settings[: len(before.settings)] == before.settings
    assert dict(after.settings)["Denoising strength"] == "0.55"
    assert dict(after.settings)["ADetailer denoising strength"] == "0.4"


@pytest.mark.parametrize("same", [True, False])
def test_one_draw_for_all_things_or_one_for_each(same):
    drawn = {tuple(prompts("{a|b|c|d|e|f|g|h}", seed=s, same_seed=same)) for s in range(8)}
    alike = [len(set(each)) == 1 for each in drawn]
    assert all(alike) if same else not any(alike)


def test_each_picture_brings_its_own_prompt_and_seed():
    said = read_generation(Source(text=(("parameters", INFOTEXT),)))
    assert prompts("[PROMPT], detailed", main=said) == ["a crowd, detailed"] * 3
    assert picture_seed("auto", said) == 5
