"""A hub on this machine, and stores that know nothing but it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.weights.local_hub import Hub, handler_for, toy
from weights.manifest import Entry
from weights.store import Store


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    local = Hub(url="")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(local))
    local.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield local
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_store(tmp_path: Path, hub: Hub) -> Callable[..., Store]:
    def make(entry: Entry | None = None, **changes: object) -> Store:
        manifest = {"toy": entry or toy()}
        return Store(tmp_path / "cache", manifest=manifest, **{"hub": hub.url, **changes})

    return make


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before huggingface_hub asks again."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
