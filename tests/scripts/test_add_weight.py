"""scripts/add_weight.py: what it writes, and what it refuses."""

import hashlib
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from weights.manifest import MANIFEST, load_manifest
from weights.store import Store

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ADD = runpy.run_path(str(SCRIPTS / "add_weight.py"))


def add(manifest, file, name="new.v1"):
    origin = ["--repo", "owner/repo", "--revision", "b" * 40, "--source", "https://example.org"]
    about = ["--kind", "yolo", "--label", "face", "--label", 'say "hi"', "--licence", "MIT"]
    arguments = ["entry", str(file), "--name", name, "--manifest", str(manifest), *origin, *about]
    return CliRunner().invoke(ADD["main"], arguments)


@pytest.fixture
def manifest(tmp_path):
    copy = tmp_path / "manifest.toml"
    copy.write_bytes(MANIFEST.read_bytes())
    return copy


def test_new_entry_is_read_back_and_the_others_stay(manifest, tmp_path):
    (tmp_path / "new.pt").write_bytes(b"weights")
    result = add(manifest, tmp_path / "new.pt")
    assert result.exit_code == 0, result.output
    entries = load_manifest(manifest)
    new = entries.pop("new.v1")
    assert entries == load_manifest()
    assert (new.size, new.sha256) == (7, hashlib.sha256(b"weights").hexdigest())
    assert new.labels == ("face", 'say "hi"')
    assert new.note == ""


def test_entry_that_would_not_hold_changes_nothing(manifest, tmp_path):
    (tmp_path / "face_yolov8n.pt").write_bytes(b"weights")
    before = manifest.read_bytes()
    result = add(manifest, tmp_path / "face_yolov8n.pt")
    assert result.exit_code == 1
    assert "twice" in result.output
    assert manifest.read_bytes() == before


def test_sums_make_a_folder_verifiable(tmp_path):
    runner, folder = CliRunner(), tmp_path / "face"
    folder.mkdir()
    assert "empty" in runner.invoke(ADD["main"], ["sums", str(folder)]).output
    (folder / "config.json").write_text("{}")
    assert runner.invoke(ADD["main"], ["sums", str(folder)]).exit_code == 0
    assert Store(tmp_path / "cache", builtin_dir=tmp_path).verify("face").state == "built-in"
