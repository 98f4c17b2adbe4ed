"""Every region gets its part of the prompt; rules and choices do what docs/prompts.md says."""

import os
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.errors import RecipeError
from autofix.metadata import GenerationText
from autofix.prompts import DEFAULTS, assign_prompts, check_prompts, picture_seed
from autofix.prompts.grammar import EXTREMES, MEASURES, split_parts
from autofix.prompts.wildcards import draw_choices
from autofix.settings.model_sections import Prompt
from autofix.values import Region, SoftMask
from tests.build import detection, region

MAIN = GenerationText("a crowd", "ugly")


def row(*, label="face"):
    """Three things from left to right: 10, 40 and 20 px wide, in a picture of 200 x 100."""
    boxes = [(0, 40, 10, 50), (60, 10, 100, 50), (150, 60, 170, 80)]
    scores = (0.9, 0.5, 0.7)
    return tuple(
        Region(detection(box, score=score, label=label), index, region(box).mask)
        for index, (box, score) in enumerate(zip(boxes, scores, strict=True))
    )


def instructed(prompt="", *, regions=None, main=MAIN, seed=0, **more):
    chosen = row() if regions is None else regions
    given = Prompt(positive=prompt, **more)
    return assign_prompts(chosen, given, main=main, picture_wh=(200, 100), seed=seed)


def prompts(prompt="", **more):
    return [each.prompt for each in instructed(prompt, **more)]


def test_no_region_needs_no_prompt():
    assert instructed("a [SEP] b", regions=()) == ()


def test_without_a_prompt_it_is_the_pictures_own():
    done = instructed()
    assert {(each.prompt, each.negative_prompt) for each in done} == {("a crowd", "ugly")}


@pytest.mark.parametrize("main", [None, GenerationText("", "ugly"), GenerationText(" \n")])
def test_without_that_it_suits_the_label(main):
    for label, expected in DEFAULTS.items():
        done = instructed(regions=row(label=label), main=main)[0]
        assert (done.prompt, done.negative_prompt) == expected
    strange = instructed(regions=row(label="teapot"), main=main)[0]
    assert strange.prompt.startswith("teapot")
    assert instructed("a [PROMPT]", main=main)[0].prompt == f"a {DEFAULTS['face'][0]}"


def test_a_picture_without_a_negative_prompt_gets_none():
    done = instructed(main=GenerationText("a crowd"))[0]
    assert (done.prompt, done.negative_prompt) == ("a crowd", "")


def test_the_negative_prompt_is_parted_by_itself():
    done = instructed("a [SEP] b", negative="x [SEP] [PROMPT], y [SEP]")
    assert [each.negative_prompt for each in done] == ["x", "ugly, y", "ugly"]
    assert [each.prompt for each in done] == ["a", "b", "b"]


def test_seeds_count_over_everything_found():
    regions = tuple(each.with_skip("no") if each.index == 1 else each for each in row())
    done = instructed("a [SEP] b", regions=regions, seed=7)
    assert [each.seed for each in done] == [7, 8, 9]
    assert [each.prompt for each in done] == ["a", "", "b"]
    assert [each.skip for each in done] == ["", "no", ""]


def test_one_seed_for_all_if_wanted():
    assert [each.seed for each in instructed(seed=7, same_seed=True)] == [7, 7, 7]


@pytest.mark.parametrize(
    ("seed", "said", "expected"),
    [("auto", 5, 5), ("auto", None, 0), ("auto", -1, 0), ("auto", 10**30, 2**63 - 1), (3, 5, 3)],
)
def test_the_pictures_seed(seed, said, expected):
    assert picture_seed(seed, GenerationText("x", seed=said)) == expected


def test_without_text_the_seed_is_nought():
    assert picture_seed("auto", None) == 0


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("left", [0]),
        ("right", [2]),
        ("top", [1]),
        ("bottom", [2]),
        ("center", [1]),
        ("centre", [1]),
        ("largest", [1]),
        ("smallest", [0]),
        ("area>1%", [1, 2]),
        ("area > 0.01", [1, 2]),
        ("area<0.01", [0]),
        ("width<=20", [0, 2]),
        ("height>=40", [1]),
        ("side>10", [1, 2]),
        ("x<0.5", [0, 1]),
        ("y>0.5", [2]),
        ("score>=0.7", [0, 2]),
        ("confidence<.6", [1]),
        ("index=2", [1]),
        ("index != 2", [0, 2]),
        ("label=face", [0, 1, 2]),
        ("label = FACE", [0, 1, 2]),
        ("label!=face", []),
        ("label='hand'", []),
        ("score>0.6 and left", [0]),
        ("index>1, smallest", [2]),
        ("index>1 and largest and right", []),
        ("left, right", []),
        ("label=hand and left", []),
    ],
)
def test_rules(rule, whose):
    given = prompts(f"[SEP:{rule}] it [SEP] other")
    assert given == ["it" if place in whose else "other" for place in range(3)]


def test_every_word_of_the_grammar_is_tried_above():
    assert len(EXTREMES) == 7
    assert len(MEASURES) == 8


def test_of_equals_the_first_is_the_largest():
    same = tuple(region((x, 0, x + 10, 10), index=place) for place, x in enumerate((0, 50, 90)))
    assert prompts("[SEP:largest] it [SEP] other", regions=same) == ["it", "other", "other"]


def test_the_first_rule_that_holds_wins():
    assert prompts("[SEP:area>1%] big [SEP:left] first [SEP:right] last") == ["first", "big", "big"]


def test_the_parts_without_a_rule_go_to_the_others_in_order():
    assert prompts("a [SEP:index=2] it [SEP] b") == ["a", "it", "b"]
    assert prompts("a [SEP:index=1] it [SEP] b [SEP] c") == ["it", "a", "b"]
    assert prompts("[SEP:index=1] it [SEP] b") == ["it", "b", "b"]
    assert prompts("[SEP:index=1] it") == ["it", "a crowd", "a crowd"]
    assert prompts("[SEP][SEP:index=1] it") == ["it", "a crowd", "a crowd"]


def test_a_rule_can_skip():
    done = instructed("[SEP:area<1%] [SKIP] [SEP] a")
    assert [bool(each.skip) for each in done] == [True, False, False]
    assert done[0].skip == "[SKIP] in its prompt"


def test_what_is_skipped_already_has_no_place_among_the_left():
    regions = (row()[0].with_skip("too small"), *row()[1:])
    assert prompts("[SEP:left] it [SEP] other", regions=regions) == ["", "it", "other"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("lefft", "did you mean 'left'"),
        ("arae>1", "did you mean 'area'"),
        ("scores>=0.5", "did you mean 'score'"),
        ("lable=face", "did you mean 'label'"),
        ("qqq", "known: left, right"),
        ("zzz>1", "known: area, width"),
        ("area", "'area' has nothing to compare to"),
        ("left>1", "'left' takes no number"),
        ("area>big", "compared with a number, but got 'big'"),
        ("label>face", "can be = or !="),
        ("", "neither a word nor a comparison"),
        ("area>", "neither a word nor a comparison"),
        ("left and", "neither a word nor a comparison"),
        ("a b", "neither a word nor a comparison"),
    ],
)
def test_a_rule_that_does_not_hold_is_refused(rule, message):
    with pytest.raises(RecipeError, match=message):
        instructed(f"a [SEP:{rule}] b", regions=())
    with pytest.raises(RecipeError, match=message):
        check_prompts(Prompt(negative=f"[SEP:{rule}]"))


@pytest.mark.parametrize("text", ["[sep] a", "[SEP a", "(a:1.2) BREAK [b] <lora:x:1>", "a | b"])
def test_all_other_text_stays_as_it_is(text):
    assert prompts(text) == [text] * 3


# Choices


def drawn(prompt, seed=0, folder=""):
    return draw_choices(prompt, Random(seed), str(folder))


@pytest.mark.parametrize(
    ("prompt", "possible"),
    [
        ("{a|b|c}", {"a", "b", "c"}),
        ("x {a|b} y", {"x a y", "x b y"}),
        ("{ a | b }", {"a", "b"}),
        ("{a|}", {"a", ""}),
        ("{a}", {"a"}),
        ("{}", {""}),
        ("{{a|b} c|d}", {"a c", "b c", "d"}),
        ("{1::a|0::b}", {"a"}),
        ("{2$$a|b}", {"a, b", "b, a"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{2$$$$a|b}", {"ab", "ba"}),
        ("{1-2$$a|b}", {"a", "b", "a, b", "b, a"}),
        ("{5$$a|b}", {"a, b", "b, a"}),
        ("{0$$a|b}", {""}),
        (r"\{a\|b\}", {"{a|b}"}),
        (r"{a\|b|c}", {"a|b", "c"}),
        (r"\(a\) {b}", {r"\(a\) b"}),
        ("a | b", {"a | b"}),
        ("{[x], (y:1.2)|z}", {"[x], (y:1.2)", "z"}),
    ],
)
def test_choices(prompt, possible):
    assert {drawn(prompt, seed) for seed in range(60)} == possible


def test_weights_are_kept():
    counts = Counter(drawn("{3::a|b}", seed) for seed in range(2000))
    assert counts["a"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_a_draw_depends_on_the_seed_alone():
    assert [drawn("{a|b|c|d}", seed) for seed in range(12)] == list("dddcacdadbbc")
    first, second = (prompts("{a|b|c|d|e|f}", seed=5) for _ in range(2))
    assert first == second
    assert len(set(prompts("{a|b|c|d|e|f}", seed=5))) > 1
    assert len(set(prompts("{a|b|c|d|e|f}", seed=5, same_seed=True))) == 1


def test_one_prompt_draws_nothing_for_the_other():
    alone = [e.negative_prompt for e in instructed("x", negative="{a|b|c}")]
    beside = [e.negative_prompt for e in instructed("{x|y} {x|y}", negative="{a|b|c}")]
    assert alone == beside


def test_the_pictures_own_prompt_is_taken_as_it_is():
    main = GenerationText("{a|b} __hair__ [SEP] c", "{d")
    done = instructed("{[PROMPT]|[PROMPT]}, x", main=main)[0]
    assert (done.prompt, done.negative_prompt) == ("{a|b} __hair__ [SEP] c, x", "{d")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{a|b", "has a { without its }"),
        ("a}", "has a } without its {"),
        ("{" * 31 + "}" * 31, "choices within choices 30 deep"),
        ("{0::a|0::b}", "weights are all 0"),
        ("{3-2$$a|b}", "asks for 3 to 2"),
        ("a __hair__", "there is no folder of wildcards"),
    ],
)
def test_choices_that_do_not_hold_are_refused(prompt, message):
    with pytest.raises(RecipeError, match=message):
        instructed(prompt, regions=())
    with pytest.raises(RecipeError, match=message):
        check_prompts(Prompt(negative=prompt))


@pytest.fixture
def wildcards(tmp_path):
    (tmp_path / "people").mkdir()
    for name, text in {
        "hair": "\ufeffred hair\n\n# a comment\n  blond hair  \n3::black {long|short} hair\n",
        "people/old": "an old __people/sex__\n",
        "people/sex": "man\nwoman",
        "loop": "x __loop2__",
        "loop2": "__loop__",
        "empty": "# nothing\n\n",
        "broken": "fine\n{not fine",
        "eye_colour": "green eyes",
    }.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    return tmp_path


def test_wildcards_are_lines_of_files(wildcards):
    counts = Counter(drawn("__hair__", seed, wildcards) for seed in range(1000))
    black = counts.pop("black long hair") + counts.pop("black short hair")
    assert set(counts) == {"red hair", "blond hair"}
    assert black / 1000 == pytest.approx(0.6, abs=0.05)
    assert {drawn("__people/old__", seed, wildcards) for seed in range(20)} == {
        "an old man",
        "an old woman",
    }
    assert drawn("__eye_colour__ and __eye_colour__", 0, wildcards) == "green eyes and green eyes"


def test_several_lines_of_one_file_differ(wildcards):
    for seed in range(20):
        assert sorted(drawn("{2$$__people/sex__}", seed, wildcards).split(", ")) == ["man", "woman"]


def test_a_changed_file_is_read_again(wildcards):
    path = wildcards / "eye_colour.txt"
    assert drawn("__eye_colour__", 0, wildcards) == "green eyes"
    path.write_text("blue eyes", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert drawn("__eye_colour__", 0, wildcards) == "blue eyes"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("__hare__", r"No such file.*did you mean __hair__\?"),
        ("__zzzzzz__", "No such file.*that holds zzzzzz.txt"),
        ("__loop__", "leads back to itself: loop -> loop2 -> loop"),
        ("__empty__", "hold no choice"),
        ("__broken__", "without its }"),
        ("__latin__", "not UTF-8"),
        ("{a|b {c|__hare__}}", "did you mean __hair__"),
    ],
)
def test_wildcards_that_do_not_hold_are_refused_before_they_are_drawn(wildcards, prompt, message):
    with pytest.raises(RecipeError, match=message):
        check_prompts(Prompt(positive=f"x [SEP] {prompt}", wildcards=str(wildcards)))


@pytest.mark.parametrize("prompt", ["__../hair__", "__/etc/passwd__", "____", "a__", "__a b__"])
def test_nothing_outside_the_folder_is_a_wildcard(tmp_path, prompt):
    assert drawn(prompt, 0, tmp_path) == prompt


# Any text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("[]SEP:KI{}|_$0:ab ,\\\n"), max_size=40) | st.text(max_size=40))
def test_any_prompt_is_instructed_or_refused(prompt):
    try:
        done = instructed(prompt, negative=prompt)
    except RecipeError:
        return
    assert len(done) == 3
    assert [each.seed for each in done] == [0, 1, 2]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=40), st.integers(0, 2**63 - 1))
def test_text_without_choices_stays_as_it_is(prompt, seed):
    plain = "".join(each for each in prompt if each not in "{}|\\_")
    assert drawn(plain, seed) == plain


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(st.sampled_from("ab ,:"), max_size=5), min_size=1, max_size=5))
def test_parts_are_what_stands_between_the_markers(texts):
    found = split_parts("[SEP]".join(texts))
    assert len(found) == len(texts)
    assert [part.text.strip() for part in found] == [text.strip() for text in texts]


def test_an_empty_mask_is_nothing_special():
    blank = SoftMask((0, 0, 0, 0), row()[0].mask.values[:0, :0])
    only = (Region(row()[0].detection, 0, blank),)
    assert prompts("a", regions=only) == ["a"]
