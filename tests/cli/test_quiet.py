"""No command sends anything, starts a program, or writes outside OUT, cache and config.

Python's audit hooks do not see what native libraries do. Theirs (MediaPipe's and onnxruntime's
senders) go through a proxy where the environment names one: it is a listener of the test.
"""

from __future__ import annotations

import shutil
import socket
import threading
import urllib.request

import pytest

from tests.conftest import ROOT
from tests.waiting import until
from tests.watched import run_watched

PICTURE = ROOT / "samples" / "launch.png"


@pytest.fixture
def proxy():
    """The requests that came to a proxy, and the environment that names it."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(200))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield asked, {"https_proxy": address, "http_proxy": address, "no_proxy": ""}
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(PICTURE, folder)
    return folder


def check_quiet(done, folder, asked):
    """Beside its own folder it wrote nothing, started nothing and asked nobody."""
    assert not done.outside(folder / "out", folder / "temp", folder / "pictures"), done.err
    assert not [*(folder / "home").iterdir()]
    assert not [*(folder / "work").iterdir()]
    assert not asked


COMMANDS = {
    "run": ("run", "pictures", "-o", "out"),
    "detect": ("detect", "pictures", "-o", "out"),
    "hook": ("hook", "pictures/launch.png"),
    "doctor": ("doctor",),
    "recipe": ("recipe", "show", "face"),
    "weights": ("weights", "list"),
}


def arguments(command, folder):
    places = {name: str(folder / name) for name in ("pictures", "out")}
    return ["-m", "autofix", *(places.get(each, each) for each in command)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "hook" else name for name in COMMANDS],
)
def test_a_command_is_quiet(name, tmp_path, pictures, proxy):
    asked, environment = proxy
    command = [str(tmp_path / each) if "/" in each else each for each in COMMANDS[name]]
    done = run_watched(arguments(command, tmp_path), tmp_path, **environment)
    assert done.code == 0, done.err
    check_quiet(done, tmp_path, asked)


def test_a_run_is_quiet_offline_and_without_onnxruntime(tmp_path, pictures, proxy):
    asked, environment = proxy
    environment |= {"AUTOFIX_OFFLINE": "1", "WATCH_WITHOUT": "onnxruntime"}
    done = run_watched(arguments(COMMANDS["run"], tmp_path), tmp_path, **environment)
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "launch.png").is_file()
    check_quiet(done, tmp_path, asked)


@pytest.mark.slow
def test_watch_is_quiet(tmp_path, pictures, proxy):
    asked, environment = proxy
    result = tmp_path / "out" / "launch.png"
    done = run_watched(
        arguments(("watch", "pictures", "-o", "out"), tmp_path),
        tmp_path,
        meanwhile=lambda: until(result.exists, seconds=120),
        **environment,
    )
    assert done.code == 0, done.err
    check_quiet(done, tmp_path, asked)


@pytest.mark.slow
def test_serve_is_quiet(tmp_path, pictures, proxy):
    asked, environment = proxy
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = f"http://127.0.0.1:{port}"

    def fix():
        until(lambda: answers(f"{home}/health"), seconds=120)
        body = (
            b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
            + PICTURE.read_bytes()
            + b"\r\n--x--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{home}/fix", body, headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            assert response.status == 200

    done = run_watched(
        arguments(("serve", "--port", str(port)), tmp_path),
        tmp_path,
        meanwhile=fix,
        AUTOFIX_RUNTIME=str(tmp_path / "temp" / "runtime"),
        **environment,
    )
    assert done.code in (0, -15), done.err
    check_quiet(done, tmp_path, asked)


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_a_detector_that_stays_open_is_quiet_for_longer_than_mediapipe_waits(tmp_path, proxy):
    asked, environment = proxy
    code = f"""
import time
from pathlib import Path
import numpy as np
from detectors.mp_face import MediapipeFaces
model = Path({str(ROOT)!r}, "weights/builtin/mediapipe/face_detection_short_range.tflite")
detector = MediapipeFaces(model)
for _ in range(75):
    detector.detect([np.zeros((64, 64, 3), np.uint8)])
    time.sleep(1)
time.sleep(75)
detector.detect([np.zeros((64, 64, 3), np.uint8)])
"""
    done = run_watched(["-c", code], tmp_path, **environment)
    assert done.code == 0, done.err
    check_quiet(done, tmp_path, asked)
