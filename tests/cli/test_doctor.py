"""What a user is told whose machine lacks something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from autofix.cli import doctor
from autofix.cli.doctor import LIBRARIES, missing_library
from autofix.engines.diffusion import load as loading
from autofix.engines.null import NullEngine
from autofix.errors import DetectorSetupError, ModelError
from autofix.pipeline.toolbox import Toolbox
from tests.conftest import ROOT
from tests.engines import tiny_files, tiny_flow

LOADER = "{}: cannot open shared object file: No such file or directory"
NEEDS = "mediapipe-face needs mediapipe, which cannot be imported ({}): pip install mediapipe"
REFUSED = "/repo/weights/face.tflite is not a model that mediapipe-face can use: {}"
FORMS = {
    "import cv2": lambda text: ImportError(text, name="cv2"),
    "ctypes.CDLL": OSError,
    "a detector's import": lambda text: DetectorSetupError("blazeface", NEEDS.format(text)),
    "a detector's model": lambda text: DetectorSetupError("blazeface", REFUSED.format(text)),
}
"""How a bare Debian 12 says that a library is missing: each was seen there."""


@pytest.fixture
def absent(monkeypatch):
    """The libraries that the machine seems to lack; none to begin with."""
    names: set[str] = set()
    monkeypatch.setattr(doctor, "is_absent", names.__contains__)
    return names


@pytest.fixture
def bare(tmp_path):
    """Runs a command of autofix where cv2 finds no libxcb, as on a bare Debian."""
    broken = LOADER.format("libxcb.so.1")
    (tmp_path / "cv2.py").write_text(f"raise ImportError({broken!r}, name='cv2')")

    def call(*arguments):
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-m", "autofix", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )

    return call


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_named_with_its_package(library, form, absent):
    advice = missing_library(FORMS[form](LOADER.format(library)))
    assert advice == (
        f"system libraries are missing: {library}; "
        f"install them as root: apt-get install -y {LIBRARIES[library]}"
    )


def test_advice_names_all_missing_libraries(absent):
    absent.update(LIBRARIES)
    advice = missing_library(ImportError(LOADER.format("libGL.so.1")))
    named, _, packages = advice.partition("apt-get install -y ")
    assert "\n" not in advice
    assert set(re.findall(r"lib[\w.+-]+\.so\.\d", named)) == set(LIBRARIES)
    assert sorted(packages.split()) == sorted(set(LIBRARIES.values()))


def test_a_library_that_nobody_knows_is_named_beside_those_known(absent):
    absent.add("libEGL.so.1")
    advice = missing_library(OSError(LOADER.format("libstrange-2.so.7")))
    assert "libstrange-2.so.7, libEGL.so.1;" in advice
    assert advice.endswith(
        "the package that holds libstrange-2.so.7 and apt-get install -y libegl1"
    )


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'cv2'"),
        ImportError("libGL.so.1: undefined symbol: glXCreateContext"),
        OSError("/site/mediapipe/libmediapipe.so: cannot open shared object file"),
        FileNotFoundError(2, "No such file or directory", "libGL.so.1"),
        ModelError("there is no model file", "pull it"),
    ],
)
def test_other_errors_are_no_missing_library(error, absent):
    absent.update(LIBRARIES)
    assert missing_library(error) is None


def test_absent_library_is_one_the_loader_does_not_find():
    assert doctor.is_absent("libnobody-has-this.so.1")
    assert not doctor.is_absent("libc.so.6")


def test_the_doctor_names_the_library_and_exits_2(bare):
    done = bare("doctor")
    assert done.returncode == 2
    assert done.stderr.startswith("problem: system libraries are missing: libxcb.so.1")
    assert "apt-get install -y libxcb1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout.endswith("a run would not work\n")


def test_a_run_names_the_library_and_exits_2(bare, tmp_path):
    done = bare("run", ROOT / "samples", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("autofix: system libraries are missing: libxcb.so.1")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_library_that_a_detector_misses_is_named(autofix, absent, monkeypatch):
    error = FORMS["a detector's model"](LOADER.format("libEGL.so.1"))

    def refuse(self, given):
        raise error

    monkeypatch.setattr(Toolbox, "_open_detector", refuse)
    asked = autofix("doctor")
    assert asked.code == 2
    assert "problem: system libraries are missing: libEGL.so.1; " in asked.err
    looked = autofix("detect", ROOT / "samples" / "pad.png")
    assert looked.code == 2
    assert looked.err.startswith("autofix: system libraries are missing: libEGL.so.1; ")


def test_a_module_that_is_missing_is_named(autofix, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    asked = autofix("doctor")
    assert asked.code == 2
    assert "problem: mediapipe cannot be imported" in asked.err


@pytest.mark.parametrize("package", ["detectors", "weights"])
def test_package_of_another_distribution_is_named(autofix, tmp_path, monkeypatch, package):
    files = tmp_path / "foreign-1.0.dist-info"
    files.mkdir()
    (files / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (files / "top_level.txt").write_text(package)
    monkeypatch.syspath_prepend(tmp_path)
    done = autofix("doctor")
    assert done.code == 2
    line = f"problem: {package} of another distribution is in the way: pip uninstall foreign"
    assert line in done.err


def test_problems_are_all_named(autofix, monkeypatch):
    def missing(self, *_, **__):
        raise ModelError("no such thing", "get it")

    monkeypatch.setattr(Toolbox, "_open_engine", missing)
    monkeypatch.setattr(Toolbox, "_open_detector", missing)
    asked = autofix("doctor")
    assert asked.code == 2
    assert asked.err.splitlines() == ["problem: no such thing: get it"] * 2
    assert asked.out.endswith("a run would not work\n")


def test_the_doctor_says_what_is_here_and_that_a_run_would_work(autofix, monkeypatch):
    monkeypatch.setattr(Toolbox, "_open_engine", lambda self, **_: NullEngine())
    asked = autofix("doctor")
    assert asked.code == 0, asked.err
    for said in ("torch ", "device ", "weights: blazeface built-in", "detectors: mediapipe-face"):
        assert said in asked.out
    assert asked.out.endswith("a run would work\n")


@pytest.mark.parametrize("where", [".ci/run", "README.md"])
def test_the_packages_are_named_for_a_bare_machine(where):
    text = (ROOT / where).read_text(encoding="utf-8").replace("\\\n", " ")
    line = re.search(r"apt-get install -y (?:-[\w-]+ +)*([\w. +-]+)", text)[1]
    assert set(line.split()) >= {"python3-venv", *LIBRARIES.values()}


@pytest.fixture
def bootstrap(tmp_path):
    """Runs scripts/bootstrap in an empty checkout with a pretended Python."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "bootstrap", tmp_path / "scripts")

    def call(python, script=None):
        if script is not None:
            python = tmp_path / python
            python.write_text(f"#!/bin/sh\n{script}\n")
            python.chmod(0o755)
        done = subprocess.run(
            [tmp_path / "scripts" / "bootstrap"],
            env=os.environ | {"PYTHON": str(python)},
            capture_output=True,
            text=True,
        )
        assert not (tmp_path / ".venv").exists()
        return done

    return call


@pytest.mark.parametrize("version", ["3.9", "3.14", "2.7"])
def test_bootstrap_says_that_this_python_will_not_do(version, bootstrap):
    done = bootstrap("python3", f"echo {version}")
    assert done.returncode == 2
    assert re.fullmatch(
        rf"autofix needs Python 3\.10 to 3\.13, and \S+python3 is {re.escape(version)}: .+\n",
        done.stderr,
    )


def test_bootstrap_says_which_package_makes_environments(bootstrap):
    fake = (
        'case "$2" in *ensurepip*) echo "No module named ensurepip" >&2; exit 1;; esac; echo 3.11'
    )
    done = bootstrap("python3", fake)
    assert done.returncode == 2
    assert done.stderr.endswith("apt-get install -y python3.11-venv\n")
    assert done.stderr.count("\n") == 1


def test_bootstrap_says_that_there_is_no_python(bootstrap):
    done = bootstrap("python3.10-that-nobody-has")
    assert done.returncode == 2
    assert done.stderr.startswith("there is no python3.10-that-nobody-has; ")


TOLD = {
    "sd2-v": (
        lambda place: tiny_files.checkpoint(
            place.with_suffix(".safetensors"), "sd2", prediction="v_prediction"
        ),
        [
            "family: Stable Diffusion 2.x\n",
            "native size: 768 px",
            "latents: 1/8 of the picture's side, predicts v_prediction",
            "prompts: OpenCLIP ViT-H/14",
            "strength 0.4, 28 steps, CFG scale 7, DPM++ 2M Karras",
        ],
    ),
    "sdxl-inpainting": (
        lambda place: tiny_files.checkpoint(place.with_suffix(".safetensors"), "sdxl", channels=9),
        [
            "family: Stable Diffusion XL inpainting",
            "native size: 1024 px",
            "prompts: CLIP ViT-L/14 + OpenCLIP ViT-bigG/14",
        ],
    ),
    "flux": (
        tiny_flow.flux,
        [
            "family: Flux\n",
            "predicts flow",
            "CLIP ViT-L/14 + T5-XXL",
            "28 steps, CFG scale 3.5, its own sampler",
        ],
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_the_doctor_tells_what_a_model_is_without_loading_it(autofix, tmp_path, monkeypatch, kind):
    make, told = TOLD[kind]
    model = make(tmp_path / kind)

    def load(*_):
        raise AssertionError("the doctor loaded weights")

    monkeypatch.setattr(loading, "load_checkpoint", load)
    monkeypatch.setattr(loading, "load_folder", load)
    asked = autofix("doctor", "--model", model)
    assert asked.code == 0, asked.err
    assert f"model: {kind} " in asked.out
    for said in told:
        assert said in asked.out


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("cut.safetensors", b"\x00" * 7, "'cut.safetensors' is no whole safetensors file"),
        ("old.ckpt", b"", "'old.ckpt' is a pickle, which can hold code"),
        ("notes.txt", b"", "'notes.txt' is no model file"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_a_model(autofix, tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    asked = autofix("doctor", "--model", tmp_path / name)
    assert asked.code == 2
    assert asked.err.startswith(f"problem: {said}")
    assert asked.out.endswith("a run would not work\n")


def test_the_doctor_takes_a_lora_for_what_it_is(autofix, tmp_path):
    path = tmp_path / "alice.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(4, 4)}, path)
    asked = autofix("doctor", "--model", path)
    assert asked.code == 2
    assert "problem: 'alice.safetensors' is a LoRA: keep your checkpoint" in asked.err
