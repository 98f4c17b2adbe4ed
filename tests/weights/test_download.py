"""Downloads from a hub on this machine: what is asked, and what an error says."""

import pytest

from tests.weights.local_hub import BODY, DIGEST, REVISION, Reply
from weights.download import download_file
from weights.errors import DownloadError

LARGE = BODY * 12
"""More than the 10 MiB that huggingface_hub writes at once."""


@pytest.fixture
def fetch(hub, tmp_path):
    def download(**options):
        options = {"hub": hub.url, **options}
        return download_file("owner/repo", REVISION, "toy.pt", tmp_path / "folder", **options)

    return download


def test_requests_carry_no_token_and_say_little_of_the_machine(hub, fetch, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.set_replies(Reply(body=BODY))
    fetch()
    assert [headers["Authorization"] for headers in hub.headers] == [None, None]
    assert not any("torch" in headers["User-Agent"] for headers in hub.headers)


def test_progress_grows_up_to_the_whole_size(hub, fetch, capfd):
    hub.set_replies(Reply(body=LARGE))
    seen = []
    fetch(progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == (len(LARGE), len(LARGE))
    assert capfd.readouterr() == ("", "")


def test_redirect_to_where_the_bytes_are_is_followed(hub, fetch):
    linked = {"X-Linked-Etag": f'"{DIGEST}"', "X-Linked-Size": str(len(BODY))}
    hub.set_replies(Reply(302, headers={"Location": f"{hub.url}/cdn/blob", **linked}))
    hub.set_replies(Reply(body=BODY), path="/cdn/blob")
    assert fetch().read_bytes() == BODY
    assert hub.requests[-1] == ("GET", "/cdn/blob")


@pytest.mark.usefixtures("no_waiting")
def test_body_cut_short_is_resumed(hub, fetch):
    hub.set_replies(Reply(body=LARGE, sent=11 << 20), Reply(body=LARGE))
    assert fetch().read_bytes() == LARGE
    assert [headers["Range"] for headers in hub.headers] == [None, None, f"bytes={10 << 20}-"]


@pytest.mark.usefixtures("no_waiting")
def test_body_that_never_comes_whole_is_an_error_in_the_end(hub, fetch):
    hub.set_replies(Reply(body=BODY, sent=1000), Reply(body=BODY, sent=0))
    with pytest.raises(DownloadError, match=r"could not be fetched .*HF_ENDPOINT"):
        fetch()


@pytest.mark.usefixtures("no_waiting")
def test_overloaded_hub_is_asked_again(hub, fetch):
    hub.set_replies(Reply(500), Reply(503), Reply(body=BODY))
    assert fetch().read_bytes() == BODY


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "login"),
        (403, "HF_ENDPOINT"),
        (404, "mirror lacks it"),
        (429, "too many requests"),
        (500, "try again later"),
    ],
)
def test_refusal_says_what_to_do(hub, fetch, status, advice):
    hub.set_replies(Reply(status))
    with pytest.raises(DownloadError, match=f"answered with {status}") as caught:
        fetch()
    assert advice in caught.value.advice
    assert (len(hub.requests) > 1) == (status in (429, 500))


def test_server_that_is_no_hub_is_told(hub, fetch, monkeypatch):
    monkeypatch.setattr("tests.weights.local_hub.HUB_HEADERS", {})
    hub.set_replies(Reply(body=BODY))
    with pytest.raises(DownloadError, match="X-Repo-Commit"):
        fetch()


@pytest.mark.usefixtures("no_waiting")
def test_no_server_at_all_is_a_download_error(fetch):
    with pytest.raises(DownloadError, match=r"Connection refused.*HF_ENDPOINT"):
        fetch(hub="http://127.0.0.1:9")
