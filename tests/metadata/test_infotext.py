"""Infotexts are read by their own program's rules, and no character of them is lost."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autofix.metadata import (
    GenerationText,
    format_generation,
    parse_generation,
    read_generation,
)
from autofix.values import Source

FULL = (
    "a portrait, (smiling:1.2),\nsecond line <lora:x:0.8>\n"
    "Negative prompt: blurry,\nbad hands\n"
    "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 123, Size: 512x768, "
    "Model hash: abc, Model: some model, "
    'ADetailer prompt: "one, two: \\"three\\"\\n", Version: v1.9'
)
SETTINGS = "Steps: 20, Sampler: Euler a, Seed: 5"


def user_comment(data):
    exif = Image.Exif()
    exif[0x8769] = {0x9286: data}
    return Source(format="JPEG", exif=exif.tobytes())


def test_an_infotext_is_taken_apart():
    found = parse_generation(FULL)
    assert found.prompt == "a portrait, (smiling:1.2),\nsecond line <lora:x:0.8>"
    assert found.negative_prompt == "blurry,\nbad hands"
    assert (found.seed, found.model) == (123, "some model")
    assert found.settings == (
        ("Steps", "20"),
        ("Sampler", "DPM++ 2M Karras"),
        ("CFG scale", "7"),
        ("Seed", "123"),
        ("Size", "512x768"),
        ("Model hash", "abc"),
        ("Model", "some model"),
        ("ADetailer prompt", 'one, two: "three"\n'),
        ("Version", "v1.9"),
    )
    assert found.raw == FULL


@pytest.mark.parametrize(
    ("raw", "prompt", "negative", "count"),
    [
        ("a cat", "a cat", "", 0),
        ("a cat\nSteps: 20, Seed: 5", "a cat\nSteps: 20, Seed: 5", "", 0),
        (f"a cat\n{SETTINGS}", "a cat", "", 3),
        (f"\n\n  a cat  \r\n{SETTINGS}\n", "a cat", "", 3),
        (f"Negative prompt: dog\n{SETTINGS}", "", "dog", 3),
        (f"a\nNegative prompt: b\nNegative prompt: c\n{SETTINGS}", "a", "b\nc", 3),
        ("a\nNegative prompt:", "a", "", 0),
        (SETTINGS, "", "", 3),
        (f"a\n\nb\n{SETTINGS}", "a\n\nb", "", 3),
        ("aa: b: c: d, e f: g, h i: j", "", "", 3),
        ('x\nSteps: 1, A b: "not closed, Seed: 2', "x", "", 3),
        ('x\nSteps: 1, A b: "bad \\q", Seed: 2', "x", "", 3),
    ],
)
def test_the_rules_for_lines(raw, prompt, negative, count):
    found = parse_generation(raw)
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert len(found.settings) == count


def test_quoted_values_that_are_no_json_stay_as_they_are():
    found = parse_generation('x\nSteps: 1, Ab: "bad \\q", Seed: 2, Cd: "')
    assert dict(found.settings)["Ab"] == '"bad \\q"'
    assert dict(found.settings)["Cd"] == '"'


@pytest.mark.parametrize(
    ("said", "seed"),
    [
        ("-1", -1),
        ("007", 7),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("1_0", None),
        ("9" * 30, None),
    ],
)
def test_a_seed_is_a_whole_number_or_none(said, seed):
    assert parse_generation(f"x\nSteps: 1, Size: 1x1, Seed: {said}").seed == seed


@pytest.mark.parametrize("raw", ["", " \n ", '{"sui_image_params": {}}', '\n{"a": [1]}'])
def test_blank_texts_and_json_objects_say_nothing(raw):
    assert parse_generation(raw) is None


@pytest.mark.parametrize("raw", ["{red|blue} cat", "{" * 100_000, "{\ud800", "[1, 2]"])
def test_braces_alone_are_no_json(raw):
    assert parse_generation(raw).prompt == raw


def test_a_long_line_without_settings_takes_no_time():
    begin = time.perf_counter()
    for raw in ("word " * 40_000, " " * 200_000 + "x", 'a b: "' * 30_000, "ab:" * 60_000):
        parse_generation("p\n" + raw)
    assert time.perf_counter() - begin < 20


def test_the_parameters_text_is_read():
    source = Source(text=(("Title", "x"), ("parameters", FULL)))
    assert read_generation(source) == parse_generation(FULL)
    assert read_generation(Source(text=(("Title", "x"),))) is None
    assert read_generation(Source(text=(("parameters", " "),))) is None
    assert read_generation(Source()) is None


INFO = f"猫 é a cat\nNegative prompt: dog\n{SETTINGS}"


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + INFO.encode("utf-16-be"),
        b"UNICODE\0" + INFO.encode("utf-16-le"),
        b"UNICODE\0" + INFO.encode("utf-16"),
        b"UNICODE\0" + b"\xfe\xff" + INFO.encode("utf-16-be"),
        b"UNICODE\0" + INFO.encode("utf-16-le") + bytes(2),
        b"ASCII\0\0\0" + INFO.encode(),
        bytes(8) + INFO.encode(),
        INFO.encode() + b"\0",
    ],
)
def test_a_user_comment_is_read_in_every_encoding(comment):
    assert read_generation(user_comment(comment)) == parse_generation(INFO)


def test_old_encodings_of_user_comments_are_read():
    japanese = f"猫\n{SETTINGS}"
    found = read_generation(user_comment(b"JIS\0\0\0\0\0" + japanese.encode("shift_jis")))
    assert found.prompt == "猫"
    found = read_generation(user_comment(b"ASCII\0\0\0" + f"é\n{SETTINGS}".encode("latin-1")))
    assert found.prompt == "é"


@pytest.mark.parametrize(
    ("comment", "read"),
    [
        (b"ASCII\0\0\0Screenshot", False),
        (b"ASCII\0\0\0", False),
        (b"ab", False),
        (b"UNICODE\0\0", False),
        (b"ASCII\0\0\0a cat\nNegative prompt: dog", True),
    ],
)
def test_a_comment_that_is_no_infotext_is_not_taken_for_one(comment, read):
    assert (read_generation(user_comment(comment)) is not None) == read


def test_a_malformed_exif_block_says_nothing():
    whole = user_comment(b"UNICODE\0" + INFO.encode("utf-16-be")).exif
    for end in range(0, len(whole) - 1, 7):
        assert read_generation(Source(exif=whole[:end] or None)) is None


@pytest.mark.parametrize("raw", [FULL, FULL + "\n\n", "a cat", f"\n a\r\n{SETTINGS},"])
def test_an_unchanged_record_gives_its_text_back(raw):
    assert format_generation(parse_generation(raw)) == raw


def test_extra_settings_are_appended_and_read_back():
    extra = [("autofix model", "face, hand: x"), ("autofix steps", "4")]
    written = format_generation(parse_generation(FULL), extra=extra)
    assert written.startswith(FULL)
    assert parse_generation(written).settings[-2:] == tuple(extra)
    alone = format_generation(parse_generation("a cat"), extra=[("K k", "v")])
    assert alone == "a cat\nK k: v"
    assert format_generation(GenerationText(), extra=[("K k", "v")]) == "K k: v"
    assert format_generation(GenerationText()) == ""


def test_a_changed_record_is_written_anew():
    found = parse_generation(f"a\nNegative prompt: b\n{SETTINGS}, Model: m")
    changed = GenerationText("new", "", 9, "n", found.settings, found.raw)
    written = format_generation(changed)
    assert written == "new\nSteps: 20, Sampler: Euler a, Seed: 9, Model: n"
    assert parse_generation(written).seed == 9


def test_a_record_made_by_hand_says_its_seed_and_model():
    made = GenerationText("a", "b", 7, "m", (("Steps", "3"),))
    found = parse_generation(format_generation(made))
    assert (found.prompt, found.negative_prompt, found.seed, found.model) == ("a", "b", 7, "m")
    assert found.settings == (("Steps", "3"), ("Seed", "7"), ("Model", "m"))


LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=30)
PROMPTS = st.lists(LINES, min_size=1, max_size=3).map("\n".join)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9 /-]{0,20}[A-Za-z0-9]", fullmatch=True)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(PROMPTS, PROMPTS, st.dictionaries(KEYS, VALUES, min_size=3, max_size=6))
def test_any_record_is_read_as_it_was_written(prompt, negative, chosen):
    pairs = tuple((key, value) for key, value in chosen.items() if key not in ("Seed", "Model"))
    pairs += (("Seed", "42"), ("Model", "m"))
    if prompt.startswith("{"):
        prompt = "x" + prompt
    found = parse_generation(format_generation(GenerationText(prompt, negative, 42, "m", pairs)))
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    assert found.settings == pairs
    assert (found.seed, found.model) == (42, "m")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.sampled_from('ab :,"\\\n{}0é-'), max_size=60) | st.text(max_size=60))
def test_any_text_is_given_back_whole(raw):
    found = parse_generation(raw)
    if found is None:
        assert not raw.strip() or isinstance(json.loads(raw), dict)
    else:
        assert format_generation(found) == raw


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_no_user_comment_makes_reading_raise(comment):
    for code in (b"", b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0"):
        found = read_generation(user_comment(code + comment))
        assert found is None or found.raw.strip()
