"""What was fixed is written into the picture, and nothing that was there is lost."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager

import autofix
from autofix.imagefiles import files
from autofix.imagefiles.png import PARAMETERS_KEY, RECORD_KEY
from autofix.metadata import (
    parse_generation,
    read_generation,
    read_infotext,
    read_record,
    record_fix,
)
from autofix.metadata.adetailer_infotext import tabs_of
from autofix.settings.recipe import Recipe, parse_recipe
from autofix.values import Outcome, RegionResult, Source
from tests.build import picture, region
from tests.conftest import ROOT

LAUNCH, TABLE = ROOT / "samples/launch.png", ROOT / "samples/table.jpg"
INFOTEXT = (
    "a cat, (smiling:1.2)\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
    "Seed: 5, Size: 512x768, Model: dream, Denoising strength: 0.55, Hires upscale: 2, "
    'Lora hashes: "x: ab, y: cd", Version: v1.10'
)
TWO_PASSES = parse_recipe(
    {"passes": [{"prompt": {"positive": "a"}}, {"detect": {"detectors": ["hands"]}}]}, origin="test"
)


def result(box=(10, 20, 110, 140), status="fixed", **more):
    return RegionResult(region(box, **more), status, "" if status == "fixed" else "why")


def outcome(*results):
    return Outcome(picture(), results or (result(seed=7, prompt="a face", strength=0.4),))


def png(infotext=INFOTEXT, **more):
    return Source(text=(("Title", "x"), (PARAMETERS_KEY, infotext), ("Last", "y")), **more)


def jpeg(infotext=INFOTEXT, kind="JPEG"):
    tags = Image.Exif()
    tags[0x010E] = "a description"
    tags[0x8769] = {0x9286: b"UNICODE\0" + infotext.encode("utf-16-be"), 0x9003: "2020:01:01"}
    return Source(format=kind, exif=tags.tobytes())


def fixed(source, recipe=None, *results):
    return record_fix(source, outcome(*results), recipe or Recipe())


def texts(source):
    return dict(source.text)


@pytest.mark.parametrize("status", ["kept", "skipped", "failed"])
def test_where_nothing_was_repainted_nothing_is_said(status):
    source = png()
    assert fixed(source, None, result(status=status)) is source
    assert record_fix(source, Outcome(picture()), Recipe()) is source


def test_the_infotext_stays_whole_and_gets_adetailers_keys():
    done = fixed(png())
    assert [key for key, _ in done.text] == ["Title", PARAMETERS_KEY, "Last", RECORD_KEY]
    written = texts(done)[PARAMETERS_KEY]
    assert written.startswith(f"{INFOTEXT}, autofix version: {autofix_version()}, ADetailer model:")
    assert written.endswith(f"ADetailer version: autofix {autofix_version()}")
    before, after = parse_generation(INFOTEXT), parse_generation(written)
    assert (after.prompt, after.negative_prompt) == (before.prompt, before.negative_prompt)
    assert (after.seed, after.model) == (5, "dream")
    assert after.settings[: len(before.settings)] == before.settings
    assert tabs_of(after.settings)[1]["ad_denoising_strength"] == "0.4"


def autofix_version():
    from autofix.records import version

    return version()


def test_the_record_says_what_became_of_every_region():
    recipe = Recipe().override({"prompt.positive": "b", "mask.dilate": "8%"})
    done = fixed(
        png(), recipe,
        result((1, 2, 31, 52), seed=3, prompt="p", negative_prompt="n", strength=0.123456),
        result(status="kept", index=1),
    )  # fmt: skip
    record = read_record(done)
    assert parse_recipe(record["recipe"], origin="it") == recipe
    assert record["recipe"] == {"mask": {"dilate": "8%"}, "prompt": {"positive": "b"}}
    first, second = record["regions"]
    assert first == {
        "pass": 1, "index": 1, "label": "face", "score": 0.9, "box": [1.0, 2.0, 31.0, 52.0],
        "seed": 3, "prompt": "p", "negative_prompt": "n", "strength": 0.1235, "result": "fixed",
        "reason": "",
    }  # fmt: skip
    assert (second["index"], second["result"], second["reason"]) == (2, "kept", "why")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_other_formats_keep_it_in_the_user_comment(kind):
    before = jpeg(kind=kind)
    done = fixed(before)
    said = read_infotext(done)
    assert said.raw.startswith(INFOTEXT)
    assert said.settings[-1][0] == RECORD_KEY
    assert read_record(done)["regions"][0]["prompt"] == "a face"
    kept = Image.Exif()
    kept.load(done.exif)
    assert kept[0x010E] == "a description"
    assert kept.get_ifd(0x8769)[0x9003] == "2020:01:01"


@pytest.mark.parametrize(
    "source",
    [
        Source(),
        Source(text=(("Title", "x"),)),
        Source(text=((PARAMETERS_KEY, '{"prompt": "Fooocus"}'),)),
        Source(text=(("prompt", '{"1": {}}'), ("workflow", "{}"))),
    ],
)
def test_a_png_without_infotext_gets_no_prompt(source):
    done = fixed(source)
    assert done.text[:-1] == source.text
    assert done.text[-1][0] == RECORD_KEY
    assert read_generation(done) == read_generation(source)


@pytest.mark.parametrize("comment", [None, "a holiday"])
def test_another_file_without_infotext_gets_a_line_of_description(comment):
    source = Source(format="JPEG") if comment is None else jpeg(comment)
    done = fixed(source)
    assert read_record(done)["version"] == autofix_version()
    assert read_infotext(done) is None
    again = fixed(done)
    assert again.exif == done.exif


@pytest.mark.parametrize("make", [png, jpeg])
@pytest.mark.parametrize("infotext", [INFOTEXT, "a cat", "a cat\nNegative prompt: dog\nSteps: 3"])
def test_fixing_again_replaces_what_was_said(make, infotext):
    if make is jpeg and "Negative" not in infotext:
        infotext += "\nNegative prompt: x"  # or it would be somebody's comment
    once = fixed(make(infotext))
    twice = fixed(once)
    assert twice.text == once.text
    assert twice.exif == once.exif
    other = fixed(once, Recipe().override({"inpaint.strength": 0.2}))
    assert read_infotext(other).raw.count("ADetailer denoising strength") == 1
    assert "ADetailer denoising strength: 0.2" in read_infotext(other).raw
    assert read_record(other)["recipe"] == {"inpaint": {"strength": 0.2}}
    assert read_infotext(once).prompt == "a cat, (smiling:1.2)" or infotext != INFOTEXT


def test_what_another_program_added_after_us_stays():
    once = fixed(png())
    added = texts(once)[PARAMETERS_KEY] + ", Upscaler: ESRGAN, Note: x"
    twice = fixed(replace(once, text=((PARAMETERS_KEY, added),)))
    written = texts(twice)[PARAMETERS_KEY]
    assert written.startswith(f"{INFOTEXT}, Upscaler: ESRGAN, Note: x, autofix version: ")
    assert written.count("ADetailer model") == 1


def test_adetailers_own_keys_stay_and_ours_are_further_tabs():
    theirs = INFOTEXT + ", ADetailer model: face_yolov8n.pt, ADetailer model 2nd: hand.pt, "
    theirs += "ADetailer version: 24.4.1"
    once = fixed(png(theirs))
    settings_ = dict(read_infotext(once).settings)
    assert settings_["ADetailer model"] == "face_yolov8n.pt"
    assert settings_["ADetailer model 2nd"] == "hand.pt"
    assert settings_["ADetailer model 3rd"] == "mediapipe_face_short"
    assert settings_["ADetailer version"] == "24.4.1"
    assert fixed(once).text == once.text


def test_every_pass_is_a_tab():
    first, second = result(), result(index=0)
    second = replace(second, region=replace(second.region, pass_index=1))
    done = fixed(png(), TWO_PASSES, first, second)
    settings_ = dict(read_infotext(done).settings)
    assert settings_["ADetailer prompt"] == "a"
    assert settings_["ADetailer model"] == "mediapipe_face_short"
    assert settings_["ADetailer model 2nd"] == "hands"
    assert "ADetailer prompt 2nd" not in settings_
    record = read_record(done)
    assert [each["pass"] for each in record["regions"]] == [1, 2]
    assert parse_recipe(record["recipe"], origin="it") == TWO_PASSES


def test_a_record_too_long_for_a_jpeg_leaves_the_regions_out():
    many = [result(index=n, prompt="a long prompt " * 20) for n in range(200)]
    done = fixed(jpeg(), None, *many)
    record = read_record(done)
    assert (record["regions"], record["regions_left_out"]) == ([], 200)
    assert len(read_record(fixed(jpeg(kind="WEBP"), None, *many))["regions"]) == 200
    assert done.notes == ()
    full = fixed(jpeg("x" * 32_500 + "\nNegative prompt: y"), None, *many)
    assert read_record(full) is None
    assert "does not fit" in full.notes[0]


def test_a_damaged_exif_block_stays_as_it_is():
    damaged = Source(format="JPEG", exif=b"Exif\0\0nonsense")
    done = fixed(damaged)
    assert done.exif == damaged.exif
    assert "damaged" in done.notes[0]
    assert read_record(damaged) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "{" * 100_000])
def test_what_is_no_record_is_none(text):
    assert read_record(Source(text=((RECORD_KEY, text),))) is None
    assert read_record(Source()) is None


PIECES = ["a cat", "Steps: 3", ", ", "\n", "Negative prompt: x", 'A b: "c, d"', ": ", "Seed: 7"]
PIECES += ["ADetailer model: m", "ADetailer model 2nd: n", '"', "\\", " ", "é"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_any_infotext_keeps_its_prompt_and_its_keys(infotext):
    before = read_infotext(png(infotext))
    once = fixed(png(infotext))
    if before is None:
        return
    after = read_infotext(once)
    assert (after.prompt, after.negative_prompt) == (before.prompt, before.negative_prompt)
    assert (after.seed, after.settings[: len(before.settings)]) == (before.seed, before.settings)
    assert fixed(once).text == once.text


# Through files


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Both samples that say something, fixed by an engine that paints nothing, twice."""
    out = tmp_path_factory.mktemp("out")
    with autofix.Fixer(model="null", check__enabled=False) as fixer:
        for path in (LAUNCH, TABLE):
            once = fixer.fix(files.read(path, name=path.name))
            files.write(once.picture, out / path.name)
            again = fixer.fix(files.read(out / path.name, name=path.name))
            files.write(again.picture, out / f"again-{path.name}")
    return out


def test_sd_parsers_reads_what_it_read_before(run):
    before, after = (ParserManager().parse(path) for path in (LAUNCH, run / "launch.png"))
    assert after.full_prompt == before.full_prompt
    assert after.full_negative_prompt == before.full_negative_prompt
    assert after.samplers == before.samplers
    assert before.samplers[0].parameters["seed"] == "1234"
    assert before.metadata.items() <= after.metadata.items()
    assert after.metadata["ADetailer model"] == "mediapipe_face_short"


@pytest.mark.parametrize("name", ["launch.png", "table.jpg"])
def test_a_file_fixed_twice_says_it_once(run, name):
    once, again = (files.read(run / each, name=name).source for each in (name, f"again-{name}"))
    first, second = read_record(once), read_record(again)
    assert (second["recipe"], len(second["regions"])) == (first["recipe"], len(first["regions"]))
    assert [key for key, _ in again.text] == [key for key, _ in once.text]
    if name == "launch.png":
        assert read_infotext(again).raw == read_infotext(once).raw
    else:
        assert again.exif.count(b"autofix: {") == 1


def test_the_pictures_seed_and_prompt_were_used(run):
    (region_,) = read_record(files.read(run / "launch.png", name="x").source)["regions"]
    assert region_["seed"] == 1234
    assert region_["prompt"].startswith("portrait photo of a woman astronaut")


def test_a_png_named_as_something_else_keeps_its_record(tmp_path):
    done = replace(picture(), source=fixed(png()))
    for suffix in ("jpg", "webp"):
        files.write(done, tmp_path / f"p.{suffix}")
        source = files.read(tmp_path / f"p.{suffix}", name="p").source
        assert read_record(source) == read_record(done.source)
        assert read_infotext(source).raw == texts(done.source)[PARAMETERS_KEY]


def test_json_of_a_record_is_plain_ascii():
    done = fixed(png(), None, result(prompt="猫 é \ud800"))
    assert texts(done)[RECORD_KEY].isascii()
    assert json.loads(texts(done)[RECORD_KEY])["regions"][0]["prompt"] == "猫 é \ud800"
