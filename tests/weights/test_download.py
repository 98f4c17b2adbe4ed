"""What downloads leave behind, and what they refuse to follow."""

import os
import time
from email.message import Message

import pytest

from tests.weights.local_hub import DIGEST
from weights.answer import Declared, Redirects
from weights.errors import DownloadError
from weights.partial import partial, sweep, write_whole


def headers(**values):
    message = Message()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("tag", "declared"),
    [
        (f'"{DIGEST}"', DIGEST),
        (DIGEST, DIGEST),
        (f'W/"{DIGEST}"', DIGEST),
        ("", None),
        ('"' + "c" * 40 + '"', None),
        (f'"{DIGEST.upper()}"', None),
    ],
)
def test_only_a_sha256_is_taken_from_the_tag(tag, declared):
    redirects = Redirects("https://hub/file")
    redirects.note("https://hub/file", headers(X_Linked_Etag=tag))
    assert redirects.declared.sha256 == declared


def test_another_host_is_not_believed():
    redirects = Redirects("https://hub/file")
    redirects.note("https://elsewhere/file", headers(X_Linked_Etag=DIGEST, X_Linked_Size="7"))
    assert redirects.declared == Declared()


def test_never_from_https_to_http():
    import urllib.request

    redirects = Redirects("https://hub/file")
    request = urllib.request.Request("https://hub/file")
    with pytest.raises(DownloadError, match=r"http://hub/file.*not https"):
        redirects.redirect_request(request, None, 302, "", headers(), "http://hub/file")
    followed = redirects.redirect_request(request, None, 302, "", headers(), "https://cdn/file")
    assert followed.full_url == "https://cdn/file"


def test_a_partial_file_is_gone_after_an_error(tmp_path):
    def write_and_fail():
        with partial(tmp_path) as (path, file):
            file.write(b"half")
            assert path.parent == tmp_path
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_write_whole_replaces(tmp_path):
    for text in ("one", "two"):
        write_whole(tmp_path / "record", text)
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
    assert (tmp_path / "record").read_text() == "two"


def test_sweep_takes_only_old_partial_files(tmp_path):
    old, new, other = tmp_path / ".a.part", tmp_path / ".b.part", tmp_path / "model.pt"
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (two_days_ago, two_days_ago))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.part", "model.pt"]
