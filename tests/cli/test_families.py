"""Whole runs on a real picture with a model of every family, without a network."""

from __future__ import annotations

import json
import shutil
import socket

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.engines import tiny, tiny_files, tiny_flow

PICTURE = ROOT / "samples" / "launch.png"
BOX = (208, 420, 252, 470)


def file(family, *, channels=4, prediction="epsilon"):
    def make(place):
        path = place.with_suffix(".safetensors")
        return tiny_files.checkpoint(path, family, channels=channels, prediction=prediction)

    return make


MODELS = {
    "sd1-folder": tiny.sd,
    "sd1-inpainting-folder": lambda place: tiny.sd(place, channels=9),
    "sd2-v-folder": lambda place: tiny.sd(place, prediction="v_prediction"),
    "sdxl-folder": tiny.sdxl,
    "sdxl-inpainting-folder": lambda place: tiny.sdxl(place, channels=9),
    "sd1-file": file("sd1"),
    "sd1-inpainting-file": file("sd1", channels=9),
    "sd2-v-file": file("sd2", prediction="v_prediction"),
    "sdxl-file": file("sdxl"),
    "sdxl-inpainting-file": file("sdxl", channels=9),
    "sd3": tiny_flow.sd3,
    "flux": tiny_flow.flux,
    "flux-schnell": lambda place: tiny_flow.flux(place, guidance=False),
    "flux-fill": lambda place: tiny_flow.flux(place, fill=True),
    "qwen-image": tiny_flow.qwen_image,
    "z-image-turbo": tiny_flow.z_image,
}


@pytest.fixture
def run(autofix, tmp_path, monkeypatch):
    """Runs autofix on the picture, face given, with a model; every connection fails."""

    def refuse(*_, **__):
        raise AssertionError("a run tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    shutil.copy(PICTURE, tmp_path / PICTURE.name)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({PICTURE.name: [BOX]}))

    def call(model, *more):
        done = autofix(
            "run", tmp_path / PICTURE.name, "-o", tmp_path / "out", "--model", model,
            "--detector", f"scripted:{boxes}", "--size", 96, "--padding", 8, "--steps", 3,
            "--strength", 0.6, "--prompt", "a face", "--no-check", "--jsonl", "-", "-q", *more,
        )  # fmt: skip
        return done, tmp_path / "out" / PICTURE.name

    return call


@pytest.mark.parametrize("name", MODELS)
def test_a_face_is_repainted_by_every_family(run, tmp_path, name):
    done, out = run(MODELS[name](tmp_path / name))
    assert done.code == 0, done.err
    (region,) = json.loads(done.out)["regions"]
    assert (region["result"], region["reason"], region["size"]) == ("fixed", "", [96, 96])
    with Image.open(PICTURE) as before, Image.open(out) as after:
        moved = np.abs(np.asarray(before, int) - np.asarray(after, int)).max(axis=2)
    x0, y0, x1, y1 = BOX
    assert moved[y0 + 10 : y1 - 10, x0 + 10 : x1 - 10].mean() > 2
    grown = moved.copy()
    grown[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20] = 0
    assert not grown.any()


def test_a_model_is_found_by_its_name_in_the_user_s_folders(run, tmp_path, monkeypatch):
    place = tmp_path / "webui" / "models" / "Stable-diffusion"
    place.mkdir(parents=True)
    tiny_files.checkpoint(place / "Dream_8.safetensors", "sd1")
    config = tmp_path / "config.toml"
    config.write_text('[models]\nfolders = ["webui"]\n')
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
    done, out = run("dream_8")
    assert (done.code, done.err) == (0, "")
    assert out.is_file()


def test_bad_model_is_refused_before_anything_is_done(run, tmp_path):
    pickled = tmp_path / "old.ckpt"
    pickled.write_bytes(b"")
    for model, said in (
        (pickled, "old.ckpt' is a pickle, which can hold code"),
        ("owner/nothing", "is not in the local cache, and downloads are off"),
        ("draem", "there is no model 'draem'"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AUTOFIX_OFFLINE", "1")
            done, out = run(model)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1
        assert not out.exists()


def test_a_sampler_that_the_family_does_not_take_is_refused(run, tmp_path):
    done, out = run(tiny_flow.flux(tmp_path / "flux"), "--sampler", "DPM++ 2M Karras")
    assert done.code == 2
    assert "does not work with this model" in done.err
    assert not out.exists()
