"""The store against a hub on this machine: what it accepts, refuses, and leaves on the disk."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.weights.local_hub import BODY, DIGEST, RESOLVE, Reply, toy
from weights.errors import (
    CacheError,
    DownloadError,
    MismatchError,
    MissingError,
    OfflineError,
    UnknownNameError,
    UnverifiableError,
)
from weights.manifest import Entry
from weights.store import Store

ROOT = Path(__file__).resolve().parents[2]
WRONG = BODY[:-1] + b"!"


def names(store):
    """Everything the cache holds, temporary files included."""
    return (
        sorted(path.name for path in store.cache_dir.glob("*")) if store.cache_dir.exists() else []
    )


def place(store, body):
    store.cache_dir.mkdir(parents=True)
    (store.cache_dir / "toy.pt").write_bytes(body)


def test_fetches_once_and_then_needs_no_hub(hub, make_store):
    hub.say(Reply(body=BODY))
    store = make_store()
    assert store.verify("toy").state == "missing"
    assert store.path("toy").read_bytes() == BODY
    assert store.path("toy.pt") == store.cache_dir / "toy.pt"
    assert hub.asked == [RESOLVE]
    assert names(store) == ["toy.pt"]
    assert store.verify("toy").state == "present"


def test_progress_grows_up_to_the_whole_size(hub, make_store):
    hub.say(Reply(body=BODY))
    seen = []
    make_store().pull("toy", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == (len(BODY), len(BODY))


def test_takes_the_hash_the_hub_declares_and_keeps_it(hub, make_store):
    linked = {"X-Linked-Etag": f'"{DIGEST}"', "X-Linked-Size": str(len(BODY))}
    hub.say(Reply(302, headers={"Location": "/cdn/blob", **linked}))
    hub.say(Reply(body=BODY), path="/cdn/blob")
    store = make_store(toy(sha256=None, size=None))
    path = store.pull("toy")
    assert hub.asked == [RESOLVE, "/cdn/blob"]
    assert (store.cache_dir / "toy.pt.sha256").read_text() == f"{DIGEST}  toy.pt\n"
    assert store.verify("toy").state == "present"
    path.write_bytes(WRONG)
    assert store.verify("toy").state == "corrupt"


def test_refuses_bytes_that_are_not_what_the_hub_declared(hub, make_store):
    hub.say(Reply(302, headers={"Location": "/cdn/blob", "X-Linked-Etag": f'"{DIGEST}"'}))
    hub.say(Reply(body=WRONG), path="/cdn/blob")
    store = make_store(toy(sha256=None, size=None))
    with pytest.raises(MismatchError, match=f"expected {DIGEST}"):
        store.pull("toy")
    assert names(store) == []


def test_a_git_tag_is_no_hash_and_none_at_all_is_refused(hub, make_store):
    hub.say(Reply(body=BODY, headers={"X-Linked-Etag": '"' + "b" * 40 + '"'}))
    store = make_store(toy(sha256=None, size=None))
    with pytest.raises(UnverifiableError, match=f"it is {DIGEST}.*allow_unverified"):
        store.pull("toy")
    assert names(store) == []


def test_unverified_is_accepted_when_allowed_and_held_to_what_it_was(hub, make_store):
    hub.say(Reply(body=BODY))
    store = make_store(toy(sha256=None, size=None), allow_unverified=True)
    path = store.pull("toy")
    assert path.read_bytes() == BODY
    path.write_bytes(WRONG)
    with pytest.raises(MismatchError, match="corrupt"):
        store.path("toy")


def test_another_host_cannot_declare_the_hash(hub, make_store):
    other = hub.url.replace("127.0.0.1", "localhost")
    hub.say(Reply(302, headers={"Location": f"{other}/cdn/blob"}))
    hub.say(Reply(body=BODY, headers={"X-Linked-Etag": f'"{DIGEST}"'}), path="/cdn/blob")
    with pytest.raises(UnverifiableError):
        make_store(toy(sha256=None, size=None)).pull("toy")


def test_wrong_hash_names_both_and_keeps_nothing(hub, make_store):
    hub.say(Reply(body=WRONG))
    store = make_store()
    with pytest.raises(MismatchError) as caught:
        store.pull("toy")
    assert DIGEST in caught.value.problem
    assert "deleted" in caught.value.advice
    assert hub.asked == [RESOLVE]  # the same bytes would come again
    assert names(store) == []


@pytest.mark.parametrize("body", [b"<html>please log in</html>", BODY + b"more"])
def test_wrong_length_is_refused(hub, make_store, body):
    hub.say(Reply(body=body))
    store = make_store()
    with pytest.raises(MismatchError, match=f"{len(body)} bytes, expected {len(BODY)}"):
        store.pull("toy")
    assert names(store) == []


def test_a_body_cut_short_is_tried_again(hub, make_store):
    cut = Reply(body=BODY[:1000], missing=len(BODY) - 1000)
    hub.say(cut, Reply(body=BODY))
    assert make_store().pull("toy").read_bytes() == BODY
    assert len(hub.asked) == 2


def test_a_body_always_cut_short_is_an_error_in_the_end(hub, make_store):
    hub.say(Reply(body=BODY[:1000], missing=len(BODY) - 1000))
    store = make_store()
    with pytest.raises(DownloadError, match="3 attempts"):
        store.pull("toy")
    assert len(hub.asked) == 3
    assert names(store) == []


def test_an_overloaded_hub_is_asked_again(hub, make_store):
    hub.say(Reply(500), Reply(503), Reply(body=BODY))
    assert make_store().pull("toy").read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "attempts", "advice"),
    [
        (401, 1, "login"),
        (403, 1, "AUTOFIX_HUB"),
        (404, 1, "mirror lacks it"),
        (500, 3, "try again later"),
    ],
)
def test_each_refusal_says_what_to_do(hub, make_store, status, attempts, advice):
    hub.say(Reply(status))
    store = make_store()
    with pytest.raises(DownloadError, match=f"answered with {status}") as caught:
        store.pull("toy")
    assert advice in caught.value.advice
    assert len(hub.asked) == attempts
    assert names(store) == []


def test_no_server_at_all_is_a_download_error(make_store):
    with pytest.raises(DownloadError, match=r"3 attempts.*AUTOFIX_HUB"):
        make_store(hub="http://127.0.0.1:9").pull("toy")


def test_offline_names_the_address_and_the_place(hub, make_store):
    store = make_store(offline=True)
    with pytest.raises(OfflineError) as caught:
        store.path("toy")
    assert hub.url + RESOLVE in caught.value.advice
    assert str(store.cache_dir / "toy.pt") in caught.value.advice
    assert hub.asked == []


def test_a_file_put_there_by_hand_is_verified_and_taken(hub, make_store):
    store = make_store(offline=True)
    place(store, BODY)
    assert store.path("toy").read_bytes() == BODY
    assert store.pull("toy") == store.path("toy")
    assert hub.asked == []


def test_a_wrong_file_put_there_by_hand_is_refused_and_left_alone(hub, make_store):
    store = make_store()
    place(store, WRONG)
    with pytest.raises(MismatchError, match=f"expected {DIGEST}.*weights pull toy"):
        store.path("toy")
    assert (store.cache_dir / "toy.pt").read_bytes() == WRONG
    assert hub.asked == []


def test_by_hand_with_no_hash_anywhere_needs_leave(make_store):
    entry = toy(sha256=None, size=None)
    place(make_store(), BODY)
    assert make_store(entry).verify("toy").state == "unverified"
    with pytest.raises(UnverifiableError):
        make_store(entry, offline=True).pull("toy")
    assert make_store(entry, allow_unverified=True).path("toy").read_bytes() == BODY
    assert make_store(entry).verify("toy").state == "present"


def test_pull_replaces_a_corrupt_copy_and_verify_notices_it_first(hub, make_store):
    hub.say(Reply(body=BODY))
    store = make_store()
    place(store, BODY[:-1])
    assert store.verify("toy").state == "corrupt"
    assert store.verify("toy").detail == f"{len(BODY) - 1} bytes, expected {len(BODY)}"
    assert store.pull("toy").read_bytes() == BODY


def test_two_at_once_both_get_the_whole_file(hub, make_store):
    meet = threading.Barrier(2, timeout=30)
    hub.say(Reply(body=BODY, halfway=meet.wait))
    with ThreadPoolExecutor(2) as pool:
        pulls = [pool.submit(make_store().pull, "toy") for _ in range(2)]
        assert [pull.result().read_bytes() == BODY for pull in pulls] == [True, True]
    assert len(hub.asked) == 2
    assert names(make_store()) == ["toy.pt"]


CHILD = """
import sys
from pathlib import Path
from weights.manifest import Entry
from weights.store import Store
entry = Entry("toy", "yolo", ("face",), "toy.pt", "MIT", "x", repo="owner/repo", revision="a" * 40)
store = Store(Path(sys.argv[1]), hub=sys.argv[2], manifest={"toy": entry})
store.pull("toy", progress=lambda done, total: print(done, flush=True))
"""


def test_killed_halfway_nothing_is_under_the_name(hub, make_store):
    released = threading.Event()
    hub.say(Reply(body=BODY, halfway=lambda: released.wait(30)), Reply(body=BODY))
    store = make_store()
    command = [sys.executable, "-c", CHILD, str(store.cache_dir), hub.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 0
        child.kill()
    released.set()
    assert child.returncode != 0
    assert [name[0] + name[-5:] for name in names(store)] == ["..part"]
    assert store.verify("toy").state == "missing"
    assert store.path("toy").read_bytes() == BODY


def test_a_cache_that_is_no_folder_is_named(tmp_path, make_store):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(CacheError, match=r"cache cannot be used .*AUTOFIX_CACHE"):
        make_store().pull("toy")


def test_an_unknown_name_suggests_the_nearest(make_store):
    with pytest.raises(UnknownNameError, match=r"'toys'.*did you mean 'toy'"):
        make_store().path("toys")


def folder_entry():
    return Entry("art", "diffusers", ("face",), "art", "MIT", "here", sums="SHA256SUMS")


def built_in(tmp_path, entry):
    return Store(tmp_path / "cache", manifest={entry.name: entry}, builtin_dir=tmp_path)


def test_a_built_in_folder_is_held_to_its_list(tmp_path):
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


def test_a_built_in_file_that_is_only_a_pointer_is_refused(tmp_path):
    entry = Entry("toy", "yolo", ("face",), "toy.pt", "MIT", "here", size=len(BODY), sha256=DIGEST)
    (tmp_path / "toy.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MismatchError, match="43 bytes, expected"):
        built_in(tmp_path, entry).pull("toy")


def test_statuses_cover_the_manifest(make_store):
    (status,) = make_store().statuses()
    assert (status.name, status.kind, status.state) == ("toy", "yolo", "missing")
    assert (status.size, status.usable) == (len(BODY), False)
