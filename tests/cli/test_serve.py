import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.conftest import ROOT

LAUNCH = ROOT / "samples" / "launch.png"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOFIX_RUNTIME", str(tmp_path / "r"))
    monkeypatch.delenv("AUTOFIX_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*options):
    """A service of its own process, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autofix", "serve", "--model", "null", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    while not (found := re.search(r"(http://\S+)/docs", said)):
        line = process.stderr.readline()
        assert line, f"it ended: {said}"
        said += line
    return process, found[1], said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_http_and_the_hook_until_it_is_stopped(place, autofix, number):
    shutil.copy(LAUNCH, place / "a.png")
    process, home, said = start()
    try:
        assert f"autofix hook may fix files in {place}" in said
        with LAUNCH.open("rb") as file:
            response = httpx.post(f"{home}/fix", files={"picture": file}, timeout=60)
        assert response.status_code == 200
        assert '"status": "fixed"' in response.headers["x-autofix-outcome"]
        hooked = autofix("hook", place / "a.png")
        assert (hooked.code, hooked.out) == (0, f"{place / 'a.png'}\n")
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert os.listdir(place / "r") == []


def test_serve_with_a_token_can_be_reached_from_elsewhere(place, monkeypatch):
    (place / "token").write_text("a-token-of-many-signs\n", encoding="ascii")
    process, _, said = start("--host", "0.0.0.0", "--token-file", "token", "--no-hook")
    try:
        port = re.search(r"0\.0\.0\.0:(\d+)", said)[1]
        url = f"http://127.0.0.1:{port}/metrics"
        assert httpx.get(url).status_code == 401
        right = {"Authorization": "Bearer a-token-of-many-signs"}
        assert httpx.get(url, headers=right).status_code == 200
        assert not (place / "r").exists()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "others can reach 0.0.0.0, so callers need a token"),
        (["--host", "::"], "need a token"),
        (["--host", "my.server"], "need a token"),
        (["--host", "192.0.2.1", "--token-file", "good"], "192.0.2.1:0 cannot be listened at"),
        (["--token-file", "short"], "the token has 5 signs"),
        (["--token-file", "empty"], "the token has 0 signs"),
        (["--token-file", "absent"], "absent"),
        (["--detector", "none such"], "none such"),
        (["--root", "absent"], "absent"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(place, autofix, options, said):
    for name, text in (("good", "x" * 20), ("short", "12345"), ("empty", "")):
        (place / name).write_text(text, encoding="ascii")
    done = autofix("serve", "--port", "0", "--model", "null", *options)
    assert done.code == 2
    assert said in done.err


def test_a_port_in_use_is_said_before_any_model_loads(place, autofix):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = autofix("serve", "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "choose another --port" in done.err


def test_roots_must_be_named_at_the_root_of_the_disk(place, autofix, monkeypatch):
    monkeypatch.chdir("/")
    done = autofix("serve", "--port", "0", "--model", "null")
    assert done.code == 2
    assert "--root" in done.err


def test_a_missing_package_is_named_with_its_remedy(place, autofix, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [n for n in sys.modules if n.startswith("autofix.frontends.")]:
        monkeypatch.delitem(sys.modules, name)
    done = autofix("serve", "--port", "0", "--model", "null")
    assert done.code == 2
    assert "fastapi" in done.err
    assert "pip install autofix[serve]" in done.err


def test_the_token_may_be_in_the_environment(place, monkeypatch):
    from autofix.cli.serve import read_token

    monkeypatch.setenv("AUTOFIX_TOKEN", " a-token-of-many-signs\n")
    assert read_token(None) == "a-token-of-many-signs"
