"""Whole runs on the sample pictures, most with an engine that paints nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from autofix.frontends.files.output_lock import locked_output
from tests.conftest import ROOT

SAMPLES = ROOT / "samples"


@pytest.fixture
def folder(tmp_path):
    """Two samples, one of them below; a file that is no picture; a file that is no image at all."""
    place = tmp_path / "in"
    (place / "deeper one").mkdir(parents=True)
    shutil.copy(SAMPLES / "launch.png", place / "launch.png")
    shutil.copy(SAMPLES / "pad.png", place / "deeper one" / "pad it's.png")
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (place / "notes.txt").write_text("not a picture", encoding="utf-8")
    return place


def tree(folder):
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and ".autofix" not in p.parts
    )


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_is_mirrored_and_one_bad_file_does_not_stop_it(autofix, folder, tmp_path):
    out = tmp_path / "out"
    done = autofix("run", folder, "-o", out, "--model", "null", "--jsonl", "-")
    assert done.code == 1
    assert "broken.png" in done.err
    assert "is damaged, or not a picture" in done.err
    assert tree(out) == ["deeper one/pad it's.png", "launch.png"]
    records = {os.path.basename(each["input"]): each for each in objects(done.out)}
    assert {name: each["status"] for name, each in records.items()} == {
        "broken.png": "failed",
        "launch.png": "fixed",
        "pad it's.png": "unchanged",
    }
    (region,) = records["launch.png"]["regions"]
    assert {key: region[key] for key in ("index", "label", "result", "strength", "seed")} == {
        "index": 1,
        "label": "face",
        "result": "fixed",
        "strength": 0.4,
        "seed": 1234,  # the picture's own
    }
    assert region["size"] == [512, 512]
    assert set(records["launch.png"]) >= {
        "input",
        "output",
        "seconds",
        "recipe",
        "model",
        "version",
    }


def test_picture_with_nothing_to_fix_is_copied_byte_for_byte(autofix, folder, tmp_path):
    autofix("run", folder, "-o", tmp_path / "out", "--model", "null", "-q")
    source, copied = folder / "deeper one/pad it's.png", tmp_path / "out/deeper one/pad it's.png"
    assert copied.read_bytes() == source.read_bytes()


def test_metadata_stays(autofix, tmp_path):
    autofix("run", SAMPLES, "-o", tmp_path, "--model", "null", "-q")
    with Image.open(SAMPLES / "launch.png") as before, Image.open(tmp_path / "launch.png") as after:
        assert after.text["parameters"].startswith(before.text["parameters"])
        assert "Steps: " in after.text["parameters"]
    with Image.open(SAMPLES / "table.jpg") as before, Image.open(tmp_path / "table.jpg") as after:
        assert after.info["icc_profile"] == before.info["icc_profile"]
        kept = {tag: value for tag, value in after.getexif().items() if tag != 0x010E}
        assert kept.items() <= dict(before.getexif()).items()
        assert after.getexif()[0x010E].startswith(before.getexif()[0x010E])
        assert after.quantization == before.quantization


def test_a_second_run_does_nothing_and_a_third_only_what_is_missing_or_new(
    autofix, folder, tmp_path
):
    out = tmp_path / "out"
    command = ("run", folder, "-o", out, "--model", "null", "--jsonl", "-")

    def statuses(*more):
        records = objects(autofix(*command, *more).out)
        return {os.path.basename(each["input"]): each["status"] for each in records}

    first = statuses()
    assert statuses() == {"broken.png": "failed", "launch.png": "done", "pad it's.png": "done"}
    (out / "launch.png").unlink()
    assert statuses() == {"broken.png": "failed", "launch.png": "fixed", "pad it's.png": "done"}
    shutil.copy(SAMPLES / "exhibition.png", folder / "broken.png")
    assert statuses()["broken.png"] == "fixed"
    assert statuses("--seed", "5")["launch.png"] == "fixed"
    assert statuses("--force")["pad it's.png"] == first["pad it's.png"] == "unchanged"


def test_in_place_keeps_the_original_aside_and_fixes_once(autofix, folder, tmp_path):
    backup, original = tmp_path / "backup", (folder / "launch.png").read_bytes()
    command = ("run", folder, "--in-place", "--backup", backup, "--model", "null", "--jsonl", "-")
    records = objects(autofix(*command).out)
    assert {each["status"] for each in records} == {"failed", "fixed", "unchanged"}
    assert (backup / "launch.png").read_bytes() == original
    assert tree(backup) == ["launch.png"]
    again = objects(autofix(*command).out)
    assert {each["status"] for each in again} == {"failed", "done"}
    once = (folder / "launch.png").read_bytes()
    autofix(*command, "--force")
    assert (backup / "launch.png").read_bytes() == original
    assert (backup / "launch.2.png").read_bytes() == once


def test_boxes_can_come_from_a_file(autofix, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"pad.png": [[100, 100, 140, 150]]}), encoding="utf-8")
    done = autofix(
        *("run", SAMPLES / "pad.png", "-o", tmp_path / "out", "--model", "null"),
        *("--detector", f"scripted:{boxes}", "--jsonl", tmp_path / "log.jsonl", "--padding", "32"),
    )
    assert done.code == 0
    (record,) = objects((tmp_path / "log.jsonl").read_text(encoding="ascii"))
    assert [region["box"] for region in record["regions"]] == [[100, 100, 140, 150]]
    assert record["regions"][0]["result"] == "fixed"


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(autofix, folder, tmp_path):
    done = autofix("run", folder, "-o", tmp_path / "out", "--dry-run")
    assert done.code == 1
    assert "1. face 0.9" in done.out
    assert "inpaint at strength" in done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", SAMPLES), "give either -o OUT or --in-place"),
        (("run", SAMPLES, "-o", "x", "--backup", "y"), "--backup is for --in-place"),
        (("run", "no/such/folder", "-o", "x"), "no/such/folder"),
        (("run", SAMPLES, "-o", "x", "--strength", "1.5"), "inpaint.strength to 1.5"),
        (("run", SAMPLES, "-o", "x", "--recipe", "fase"), "did you mean 'face'"),
        (("run", SAMPLES, "-o", "x", "--model", "no/such/model"), "there is no model"),
        (("run", SAMPLES, "-o", "x", "--detector", "face_yolov8"), "did you mean 'face_yolov8"),
        (("run", SAMPLES, "-o", "x", "--detector", "a/b.pt"), "a/b.pt"),
        (("run", SAMPLES, "-o", "x", "--sampler", "DPM++ 3M Karras"), "DPM++ 2M Karras"),
        (("run", SAMPLES, "-o", "x", "--device", "tpu"), "no device 'tpu'"),
        (("run", SAMPLES, "-o", "x", "--jsonl", "no/such/log"), "--jsonl 'no/such/log'"),
        (("run",), "Missing argument"),
        (("fly",), "No such command"),
        (("recipe", "show", "fase"), "no recipe 'fase'"),
    ],
)
def test_wrong_usage_exits_2_says_why_and_touches_nothing(
    autofix, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    done = autofix(*arguments)
    assert done.code == 2
    assert message in done.err
    assert tree(tmp_path) == []


def test_an_interrupted_run_says_so_and_leaves_no_half_file(autofix, folder, tmp_path, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("autofix.pipeline.pipeline.Pipeline.submit", interrupted)
    done = autofix("run", folder, "-o", tmp_path / "out", "--model", "null")
    assert done.code == 130
    assert "the same command goes on" in done.err
    assert not (tmp_path / "out").exists() or tree(tmp_path / "out") == []


def test_a_run_that_finds_no_face_loads_no_diffusion_library(tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['autofix', 'run', {str(SAMPLES / 'pad.png')!r}, '-q', '-o', "
        f"{str(tmp_path)!r}]\n"
        "from autofix.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "assert not {'diffusers', 'torch', 'transformers', 'ultralytics'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pad.png").read_bytes() == (SAMPLES / "pad.png").read_bytes()


def test_a_changed_recipe_does_all_again_and_says_so(autofix, tmp_path):
    def run(*more):
        return autofix("run", SAMPLES / "launch.png", "-o", tmp_path, "--model", "null", *more)

    assert "done again" not in run().out
    assert "1 done" in run().out
    assert "1 done again: the recipe, model or autofix has changed" in run("--padding", "40").out
    assert "done again" not in run("--padding", "40").out


def test_a_changed_file_of_the_recipe_does_all_again(autofix, tmp_path, monkeypatch):
    boxes, kept = tmp_path / "boxes.json", tmp_path / "models"
    boxes.write_text('{"launch.png": [[10, 10, 60, 60]]}')
    (kept / "Lora").mkdir(parents=True)
    (kept / "Lora" / "skin.safetensors").write_bytes(b"one")
    config = tmp_path / "config.toml"
    config.write_text(f"[models]\nfolders = [{str(kept)!r}]\n")
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))

    def again():
        options = ("--model", "null", "--no-check", "--prompt", "<lora:skin:1>")
        detector = ("--detector", f"scripted:{boxes}")
        done = autofix("run", SAMPLES / "launch.png", "-o", tmp_path / "out", *detector, *options)
        assert done.code == 0, done.err
        return "1 done again" in done.out

    assert not again()
    assert not again()
    boxes.write_text('{"launch.png": [[20, 20, 60, 60]]}')
    assert again()
    (kept / "Lora" / "skin.safetensors").write_bytes(b"two")
    assert again()
    assert not again()


def test_two_runs_do_not_write_into_one_folder(autofix, folder, tmp_path):
    with locked_output(tmp_path / "out"):
        done = autofix("run", folder, "-o", tmp_path / "out", "--model", "null")
    assert done.code == 2
    assert "another autofix" in done.err
    assert tree(tmp_path / "out") == []


@pytest.mark.parametrize("in_place", [False, True])
def test_half_written_files_of_a_killed_run_are_removed(autofix, folder, tmp_path, in_place):
    out = folder if in_place else tmp_path / "out"
    stray = out / "deeper one" / ".autofix-0123456789abcdef.part"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"half")
    autofix("run", folder, *(["--in-place"] if in_place else ["-o", out]), "--model", "null")
    assert not stray.exists()
