"""Models to test with: MediaPipe's from weights/builtin, and YOLO ones trained on drawn shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

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
    folder = tmp_path_factory.mktemp("shape-models")
    script = Path(__file__).with_name("train_shapes.py")
    running = {
        task: subprocess.Popen(
            [sys.executable, str(script), task, str(folder)],
            env=quiet_environment(folder),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for task in ("segment", "detect", "classify")
    }
    for task, process in running.items():
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, f"training the {task} model failed:\n{said[-3000:]}"
    return folder


@pytest.fixture(scope="session")
def yolo_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that yolo_kinds.py fills: NAME.pt of each of its KINDS, and told.pt."""
    folder = tmp_path_factory.mktemp("yolo-kinds")
    script = Path(__file__).with_name("yolo_kinds.py")
    command = [sys.executable, str(script), str(folder)]
    subprocess.run(command, env=quiet_environment(folder), cwd=folder, check=True, timeout=600)
    return folder


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
