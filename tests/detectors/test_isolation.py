"""What the model libraries do to the process, seen from a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detectors.isolation import patch_attribute, process_untouched

ROOT = Path(__file__).parents[2]

_WATCH = """
import io, json, logging, os, socket, sys, warnings
import cv2, numpy as np, torch
from PIL import Image

tried = []
def refuse(*given, **more):
    tried.append(repr(given))
    raise OSError("no network here")
socket.getaddrinfo = socket.socket.connect = refuse

torch.set_num_threads(3)
cv2.setNumThreads(5)
np.set_printoptions(precision=3)

def state():
    return {
        "environment": dict(os.environ),
        "torch threads": torch.get_num_threads(),
        "cv2 threads": cv2.getNumThreads(),
        "printing": repr(np.get_printoptions()) + repr(torch.tensor([1 / 3])),
        "warnings": repr(warnings.filters),
        "functions": repr([torch.save, Image.open, cv2.imread, cv2.imwrite, cv2.imshow]),
        "root log": repr(logging.getLogger().handlers),
    }

before = state()
from pathlib import Path
from detectors.registry import DetectorSettings, open_detector
after_import = "ultralytics" in sys.modules or "mediapipe" in sys.modules
picture = np.zeros((64, 64, 3), np.uint8)
for kind, path in MODELS:
    with open_detector(kind, Path(path)) as detector:
        detector.detect([picture, picture])
from ultralytics.utils import ONLINE, SETTINGS_FILE
from ultralytics.utils.events import events
print("RESULT" + json.dumps({
    "before": before, "after": state(), "tried": tried, "early": after_import,
    "online": ONLINE, "events": events.enabled, "settings": str(SETTINGS_FILE),
}))
"""


def in_own_process(code, *, home, **environment):
    cleared = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "OMP", "ULTRA"))}
    cleared |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=cleared | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory, shape_models, face_model, hand_model):
    """The finished process, its home folder, and what it saw."""
    home = tmp_path_factory.mktemp("home")
    models = [
        ("yolo", str(shape_models / "detect.pt")),
        ("yolo", str(shape_models / "segment-pairs.onnx")),
        ("mediapipe-face", str(face_model)),
        ("mediapipe-hand", str(hand_model)),
    ]
    process = in_own_process(_WATCH.replace("MODELS", repr(models)), home=home)
    assert process.returncode == 0, process.stderr[-3000:]
    noise, _, result = process.stdout.partition("RESULT")
    return process, home, json.loads(result) | {"noise": noise}


@pytest.mark.parametrize(
    "what",
    [
        "environment",
        "torch threads",
        "cv2 threads",
        "printing",
        "warnings",
        "functions",
        "root log",
    ],
)
def test_process_is_as_it_was(ran, what):
    _, _, saw = ran
    assert saw["after"][what] == saw["before"][what]
    assert "OMP_NUM_THREADS" not in saw["after"]["environment"]


def test_libraries_ask_nothing_of_the_network(ran):
    _, _, saw = ran
    assert saw["tried"] == []
    assert saw["online"] is False
    assert saw["events"] is False


def test_libraries_write_nothing_into_the_home_folder_and_clean_up(ran):
    _, home, saw = ran
    written = [path for path in home.rglob("*") if path.is_file() and "matplotlib" not in str(path)]
    assert written == []
    assert "autofix-ultralytics-" in saw["settings"]
    assert not Path(saw["settings"]).exists()


def test_detectors_print_nothing(ran):
    process, _, saw = ran
    assert saw["noise"] == ""
    assert process.stderr == ""


def test_registry_alone_imports_no_library(ran):
    _, _, saw = ran
    assert saw["early"] is False


@pytest.mark.parametrize(
    "module", ["registry", "yolo.detector", "mp_face", "mp_hand", "scripted", "tiling"]
)
def test_modules_load_no_heavy_library(module, tmp_path):
    heavy = ("torch", "cv2", "ultralytics", "mediapipe", "onnxruntime", "autofix", "weights")
    code = f"import sys, detectors.{module}; print([m for m in {heavy} if m in sys.modules])"
    process = in_own_process(code, home=tmp_path)
    assert process.stdout.strip() == "[]", process.stderr


def test_detector_that_nobody_closed_does_not_complain_at_the_end(tmp_path, face_model):
    code = (
        "from pathlib import Path\nfrom detectors.mp_face import MediapipeFaces\n"
        f"kept = MediapipeFaces(Path({str(face_model)!r}))\nprint('open')"
    )
    process = in_own_process(code, home=tmp_path)
    assert process.stdout == "open\n"
    assert process.stderr == ""
    assert process.returncode == 0


def test_threads_that_the_user_set_are_what_the_library_sees(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with process_untouched({"ELSE": "1"}):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["ELSE"]) == ("2", "1")
    monkeypatch.delenv("OMP_NUM_THREADS")
    with process_untouched({}):
        assert os.environ["OMP_NUM_THREADS"] == str(torch.get_num_threads())
    assert not {"OMP_NUM_THREADS", "ELSE"} & set(os.environ)


def test_process_is_put_back_after_an_error_too(monkeypatch):
    monkeypatch.setenv("KEPT", "before")

    def fail():
        with process_untouched({"KEPT": "meanwhile", "NEW": "1"}):
            del os.environ["PATH"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.environ["KEPT"] == "before"
    assert "NEW" not in os.environ
    assert "PATH" in os.environ


def test_patch_ends_with_its_block():
    import json as module

    before = module.dumps
    with patch_attribute(module, "dumps", 3):
        assert module.dumps == 3
    assert module.dumps is before
