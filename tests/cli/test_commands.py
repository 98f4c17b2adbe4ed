"""The commands beside run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time

import pytest
from PIL import Image

from autofix.cli import COMMANDS
from tests.conftest import ROOT

SAMPLES = ROOT / "samples"


def test_help_names_every_command_and_every_command_helps(autofix):
    listed = autofix("--help")
    assert listed.code == 0
    for name, said in COMMANDS.items():
        assert name in listed.out
        assert said.split(":")[0].split(".")[0] in listed.out
        assert autofix(name, "--help").code == 0


def test_help_and_import_are_quick():
    """The promise is 0.3 s; a loaded machine is forgiven by taking the best of five."""

    def best(*call):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, *call], check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        return min(times)

    bare = best("-c", "pass")
    assert best("-m", "autofix", "--help") - bare < 0.3
    assert best("-c", "import autofix") - bare < 0.3


def test_detect_prints_and_draws_what_it_finds(autofix, tmp_path):
    done = autofix("detect", SAMPLES / "launch.png", SAMPLES / "pad.png", "-o", tmp_path)
    assert done.code == 0
    assert "1. face 0.9" in done.out
    with Image.open(tmp_path / "launch.png.png") as drawn:
        assert drawn.size == (960, 640)
        assert (80, 220, 100) in {colour for _, colour in drawn.getcolors(960 * 640)}


def test_detect_as_json_has_no_result_yet(autofix):
    done = autofix("detect", SAMPLES / "exhibition.png", "--json")
    (record,) = [json.loads(line) for line in done.out.splitlines()]
    assert record["status"] == "found"
    assert [region["index"] for region in record["regions"]] == [1, 2, 3, 4, 5]
    assert {region["result"] for region in record["regions"]} == {None}
    lefts = [region["box"][0] for region in record["regions"]]
    assert lefts == sorted(lefts)


def test_detect_names_a_bad_file_and_goes_on(autofix, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    done = autofix("detect", bad, SAMPLES / "pad.png")
    assert done.code == 1
    assert "bad.png" in done.err
    assert "pad.png: 0 found" in done.out


def test_weights_are_listed_verified_and_found(autofix):
    listed = autofix("weights", "list")
    assert listed.code == 0
    state = {line.split()[0]: line.split()[-1] for line in listed.out.splitlines()}
    assert {name: state[name] for name in ("blazeface", "face", "face_yolov8n")} == {
        "blazeface": "built-in",
        "face": "built-in",
        "face_yolov8n": "missing",
    }
    assert autofix("weights", "verify").code == 0
    assert autofix("weights", "verify", "face_yolov8n").code == 1
    where = autofix("weights", "path", "blazeface").out.strip()
    assert where.endswith(".tflite")


def test_weights_that_cannot_be_had_say_where_to_put_them(autofix, monkeypatch):
    monkeypatch.setenv("AUTOFIX_OFFLINE", "1")
    done = autofix("weights", "pull", "hand_yolov8n")
    assert done.code == 1
    assert "Bingsu/adetailer/resolve" in done.err
    assert "put it at" in done.err
    assert autofix("weights", "path", "blazefase").code == 1


def test_recipes_are_listed_shown_and_checked(autofix, tmp_path):
    assert "face" in autofix("recipe", "list").out
    shown = autofix("recipe", "show", "face").out
    mine = tmp_path / "mine.toml"
    mine.write_text(shown, encoding="utf-8")
    assert "holds; its fingerprint is" in autofix("recipe", "check", mine).out
    mine.write_text(shown.replace("padding =", "pading ="), encoding="utf-8")
    refused = autofix("recipe", "check", mine)
    assert refused.code == 2
    assert "did you mean 'padding'?" in refused.err


@pytest.mark.parametrize(("name", "faces"), [("zidane.jpg", 2), ("bus.jpg", 2)])
def test_detect_finds_the_faces_of_real_pictures(autofix, name, faces):
    package = importlib.util.find_spec("ultralytics").submodule_search_locations[0]
    record = json.loads(autofix("detect", f"{package}/assets/{name}", "--json").out)
    assert len(record["regions"]) == faces
