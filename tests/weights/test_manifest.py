"""The manifest we ship, and what a manifest may not say."""

import subprocess
import sys
from pathlib import Path

import pytest

from weights.errors import ManifestError, UnknownNameError
from weights.manifest import find_entry, load_manifest, parse_manifest
from weights.store import DEFAULT_HUB, Store

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = load_manifest()
BUILTIN = [entry for entry in SHIPPED.values() if entry.is_builtin]
FETCHED = [entry for entry in SHIPPED.values() if not entry.is_builtin]

GOOD = {
    "kind": "yolo",
    "labels": ["face"],
    "file": "a.pt",
    "repo": "owner/repo",
    "revision": "main",
    "size": 1,
    "sha256": "0" * 64,
    "licence": "MIT",
    "source": "https://example.org",
}


def test_names_that_recipes_and_toolbox_rely_on_are_there():
    yolo = {"face_yolov8n", "face_yolov8s", "hand_yolov8n", "person_yolov8n-seg"}
    assert set(SHIPPED) >= {"blazeface", "blazeface-full", "hands", "face-mesh", "face"} | yolo


@pytest.mark.parametrize("entry", BUILTIN, ids=lambda entry: entry.name)
def test_built_in_files_are_intact(entry, tmp_path):
    status = Store(tmp_path).verify(entry.name)
    assert status.state == "built-in", status.detail


@pytest.mark.parametrize("entry", FETCHED, ids=lambda entry: entry.name)
def test_fetched_files_are_pinned_and_checked(entry):
    assert entry.url_at(DEFAULT_HUB).startswith("https://")
    assert entry.url_at("https://mirror") != entry.url_at(DEFAULT_HUB)
    assert entry.revision != "main"
    assert len(entry.revision) == 40
    assert len(entry.sha256) == 64
    assert entry.size > 0


def test_hashes_are_not_copied_from_one_entry_to_another():
    digests = [entry.sha256 for entry in SHIPPED.values() if entry.sha256]
    assert len(set(digests)) == len(digests)


def test_built_in_files_that_are_not_ours_come_with_licence_and_notice():
    folder = ROOT / "weights" / "builtin" / "mediapipe"
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    shipped = [entry for entry in BUILTIN if entry.file.startswith("mediapipe/")]
    assert len(shipped) == 4
    assert [entry.name for entry in shipped if entry.sha256 not in notice] == []


def test_entries_are_found_by_name_and_by_file_name():
    assert find_entry(SHIPPED, "face_yolov8n") is find_entry(SHIPPED, "face_yolov8n.pt")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [("face_yolo8n", "did you mean 'face_yolov8n'"), ("blaze-face", "'blazeface'"), ("zzz", "are")],
)
def test_unknown_name_is_answered_with_the_nearest(asked, hint):
    with pytest.raises(UnknownNameError, match=hint):
        find_entry(SHIPPED, asked)


def test_tables_become_entries():
    assert parse_manifest({}) == {}
    assert (
        parse_manifest({"a": GOOD})["a"].url_at("https://hub")
        == "https://hub/owner/repo/resolve/main/a.pt"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "kind 'magic'.*yolo"),
        ({"labels": []}, "labels"),
        ({"licence": ""}, "licence"),
        ({"file": "../a.pt"}, "must stay inside"),
        ({"file": "/a.pt"}, "must stay inside"),
        ({"file": "deep/a.pt"}, "must stay inside"),
        ({"revision": None}, "unclear origin"),
        ({"url": "https://example.org/a.pt"}, "url"),
        ({"sha256": "abc"}, "64 lower-case"),
        ({"sha256": None}, "no hash"),
        ({"size": None}, "no hash"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_entries_are_refused(change, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest({"a": {**GOOD, **change}})


def test_name_may_not_be_anothers_file_name():
    with pytest.raises(ManifestError, match=r"a\.pt in the manifest twice"):
        parse_manifest({"a": GOOD, "a.pt": {**GOOD, "file": "b.pt"}})


def test_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "manifest.toml").write_text("[a\n")
    with pytest.raises(ManifestError, match=r"manifest\.toml is not TOML"):
        load_manifest(tmp_path / "manifest.toml")


def test_modules_of_weights_load_no_heavy_library():
    heavy = "torch cv2 numpy diffusers mediapipe ultralytics platformdirs autofix detectors"
    code = (
        "import sys, weights.environment, weights.store\n"
        f"print(*[name for name in {heavy!r}.split() if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
