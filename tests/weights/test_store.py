"""The store against a hub on this machine: what it accepts, refuses, and leaves on the disk."""

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.weights.local_hub import BODY, DIGEST, RESOLVE, Reply
from weights.errors import (
    CacheError,
    DownloadError,
    MismatchError,
    MissingError,
    OfflineError,
    UnknownNameError,
)
from weights.manifest import Entry
from weights.store import Store

ROOT = Path(__file__).resolve().parents[2]
WRONG = BODY[:-1] + b"!"


def cached_names(store):
    """Every file in the cache but the locks of downloads, temporary ones included."""
    files = (path for path in store.cache_dir.rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.suffix != ".lock")


def place(store, body):
    store.cache_dir.mkdir(parents=True)
    (store.cache_dir / "toy.pt").write_bytes(body)


def test_file_is_fetched_once_and_then_needs_no_hub(hub, make_store):
    hub.set_replies(Reply(body=BODY))
    store = make_store()
    assert store.verify("toy").state == "missing"
    assert store.path("toy").read_bytes() == BODY
    assert store.path("toy.pt") == store.cache_dir / "toy.pt"
    assert hub.requests == [("HEAD", RESOLVE), ("GET", RESOLVE)]
    assert cached_names(store) == ["toy.pt"]
    assert store.verify("toy").state == "present"


def test_failed_download_leaves_nothing(hub, make_store):
    hub.set_replies(Reply(404))
    store = make_store()
    with pytest.raises(DownloadError, match="answered with 404"):
        store.pull("toy")
    assert cached_names(store) == []


def test_wrong_hash_names_both_and_keeps_nothing(hub, make_store):
    hub.set_replies(Reply(body=WRONG))
    store = make_store()
    with pytest.raises(MismatchError) as caught:
        store.pull("toy")
    assert hub.url + RESOLVE in caught.value.problem
    assert DIGEST in caught.value.problem
    assert hashlib.sha256(WRONG).hexdigest() in caught.value.problem
    assert "deleted" in caught.value.advice
    assert hub.count("GET") == 1  # the same bytes would come again
    assert cached_names(store) == []


def test_what_the_hub_declares_does_not_count(hub, make_store):
    hub.set_replies(Reply(body=WRONG, headers={"X-Linked-Etag": f'"{DIGEST}"'}))
    with pytest.raises(MismatchError, match=f"expected {DIGEST}"):
        make_store().pull("toy")


@pytest.mark.parametrize("body", [b"<html>please log in</html>", BODY + b"more"])
def test_wrong_length_is_refused(hub, make_store, body):
    hub.set_replies(Reply(body=body))
    store = make_store()
    with pytest.raises(MismatchError, match=f"{len(body)} bytes, expected {len(BODY)}"):
        store.pull("toy")
    assert cached_names(store) == []


def test_offline_names_the_address_and_the_place(hub, make_store):
    store = make_store(offline=True)
    with pytest.raises(OfflineError) as caught:
        store.path("toy")
    assert hub.url + RESOLVE in caught.value.advice
    assert str(store.cache_dir / "toy.pt") in caught.value.advice
    assert hub.requests == []


def test_file_put_there_by_hand_is_verified_and_taken(hub, make_store):
    store = make_store(offline=True)
    place(store, BODY)
    assert store.path("toy").read_bytes() == BODY
    assert store.pull("toy") == store.path("toy")
    assert hub.requests == []


def test_wrong_file_put_there_by_hand_is_refused_and_left_alone(hub, make_store):
    store = make_store()
    place(store, WRONG)
    with pytest.raises(MismatchError, match=f"expected {DIGEST}.*weights pull toy"):
        store.path("toy")
    assert (store.cache_dir / "toy.pt").read_bytes() == WRONG
    assert hub.requests == []


def test_pull_replaces_a_corrupt_copy_and_verify_notices_it_first(hub, make_store):
    hub.set_replies(Reply(body=BODY))
    store = make_store()
    place(store, BODY[:-1])
    assert store.verify("toy").state == "corrupt"
    assert store.verify("toy").detail == f"{len(BODY) - 1} bytes, expected {len(BODY)}"
    assert store.pull("toy").read_bytes() == BODY


def test_two_at_once_download_the_file_once(hub, make_store):
    hub.set_replies(Reply(body=BODY))
    with ThreadPoolExecutor(2) as pool:
        pulls = [pool.submit(make_store().pull, "toy") for _ in range(2)]
        assert [pull.result().read_bytes() == BODY for pull in pulls] == [True, True]
    assert hub.count("GET") == 1
    assert cached_names(make_store()) == ["toy.pt"]


CHILD = """
import sys
from pathlib import Path
from tests.weights.local_hub import toy
from weights.store import Store
Store(Path(sys.argv[1]), hub=sys.argv[2], manifest={"toy": toy()}).pull("toy")
"""


def test_killed_halfway_nothing_is_under_the_name(hub, make_store):
    half_sent, killed = threading.Event(), threading.Event()

    def wait_for_kill():
        half_sent.set()
        killed.wait(30)

    hub.set_replies(Reply(body=BODY, halfway=wait_for_kill), Reply(body=BODY))
    store = make_store()
    command = [sys.executable, "-c", CHILD, str(store.cache_dir), hub.url]
    with subprocess.Popen(command, cwd=ROOT) as child:
        assert half_sent.wait(30)
        child.kill()
    killed.set()
    assert child.returncode != 0
    assert any(name.endswith(".incomplete") for name in cached_names(store))
    assert store.verify("toy").state == "missing"
    assert store.path("toy").read_bytes() == BODY
    assert cached_names(store) == ["toy.pt"]


def test_cache_that_is_no_folder_is_named(tmp_path, make_store):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(CacheError, match=r"cache cannot be used .*AUTOFIX_CACHE"):
        make_store().pull("toy")


def test_unknown_name_suggests_the_nearest(make_store):
    with pytest.raises(UnknownNameError, match=r"'toys'.*did you mean 'toy'"):
        make_store().path("toys")


def folder_entry():
    return Entry("art", "diffusers", ("face",), "art", "MIT", "here", sums="SHA256SUMS")


def built_in(tmp_path, entry):
    return Store(tmp_path / "cache", manifest={entry.name: entry}, builtin_dir=tmp_path)


def test_built_in_folder_is_held_to_its_list(tmp_path):
    store = built_in(tmp_path, folder_entry())
    with pytest.raises(MissingError, match="install autofix again"):
        store.path("art")
    (tmp_path / "art" / "unet").mkdir(parents=True)
    (tmp_path / "art" / "unet" / "model.bin").write_bytes(BODY)
    assert store.verify("art").detail == "there is no SHA256SUMS"
    (tmp_path / "art" / "SHA256SUMS").write_text(f"{DIGEST}  unet/model.bin\n")
    assert store.path("art") == tmp_path / "art"
    assert store.verify("art").state == "built-in"
    (tmp_path / "art" / "unet" / "model.bin").write_bytes(WRONG)
    with pytest.raises(MismatchError, match=r"unet/model\.bin has sha256"):
        store.path("art")
    (tmp_path / "art" / "unet" / "model.bin").unlink()
    assert store.verify("art").detail == "unet/model.bin is missing"


def test_built_in_file_that_is_only_a_pointer_is_refused(tmp_path):
    entry = Entry("toy", "yolo", ("face",), "toy.pt", "MIT", "here", size=len(BODY), sha256=DIGEST)
    (tmp_path / "toy.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MismatchError, match="43 bytes, expected"):
        built_in(tmp_path, entry).pull("toy")


def test_verify_all_covers_the_manifest(make_store):
    (status,) = make_store().verify_all()
    assert (status.name, status.kind, status.state) == ("toy", "yolo", "missing")
    assert (status.size, status.is_usable) == (len(BODY), False)
