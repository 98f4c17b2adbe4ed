"""Models to test with: MediaPipe's from weights/builtin, and YOLO ones trained on drawn shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from detectors.face_mesh import FaceMesh
from detectors.mp_face import MediapipeFaces
from detectors.mp_hand import MediapipeHands

ROOT = Path(__file__).parents[2]

# The same examples every time, however busy the machine, and nothing written into the checkout.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def mediapipe_models() -> Path:
    return ROOT / "weights" / "builtin" / "mediapipe"


@pytest.fixture(scope="session")
def face_model(mediapipe_models: Path) -> Path:
    return mediapipe_models / "face_detection_short_range.tflite"


@pytest.fixture(scope="session")
def hand_model(mediapipe_models: Path) -> Path:
    return mediapipe_models / "hand_landmarker.task"


@pytest.fixture(scope="session")
def mesh_model(mediapipe_models: Path) -> Path:
    return mediapipe_models / "face_landmark.tflite"


@pytest.fixture(scope="session")
def mesh(mesh_model: Path):
    with FaceMesh(mesh_model) as model:
        yield model


@pytest.fixture(scope="session")
def faces(face_model: Path):
    with MediapipeFaces(face_model) as detector:
        yield detector


@pytest.fixture(scope="session")
def hands(hand_model: Path):
    with MediapipeHands(hand_model) as detector:
        yield detector


@pytest.fixture(scope="session")
def shape_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that train_shapes.py fills, with models for three tasks."""
    return made_once(tmp_path_factory, "train_shapes.py")


@pytest.fixture(scope="session")
def yolo_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that yolo_kinds.py fills: NAME.pt of each of its KINDS, and with-classes.pt."""
    return made_once(tmp_path_factory, "yolo_kinds.py")


def made_once(factory: pytest.TempPathFactory, script: str) -> Path:
    """The folder that a script fills once for all test processes of a run (pytest-xdist)."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / Path(script).stem
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            folder.mkdir(exist_ok=True)
            run_script(script, folder)
            (folder / "complete").touch()
    return folder


def run_script(name: str, folder: Path) -> None:
    """Run a script beside this file, which fills the folder, in a process of its own."""
    script = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=quiet_environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{name} failed:\n{done.stdout[-3000:]}"


def quiet_environment(folder: Path) -> dict[str, str]:
    """For a process that uses ultralytics as it comes: nothing is sent, files go to the folder."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_WAIT_POLICY": "passive",
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "MPLCONFIGDIR": str(folder),
    }
