"""What every test shares: fixed seeds, no network, no user settings, and no silent skips."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail if any test was skipped")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: a long proof; `scripts/check --long` runs it")
    if config.option.no_skips:
        config.pluginmanager.register(_NoSkips())


class _NoSkips:
    """Fails a run in which a test was skipped, in whichever process that was."""

    def __init__(self):
        self.skipped = []

    def pytest_runtest_logreport(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session, exitstatus):
        if self.skipped and exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for name in self.skipped:
            terminalreporter.line(f"SKIPPED, and none may be: {name}", red=True)


@pytest.fixture(autouse=True)
def _same_every_time():
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOFIX_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("AUTOFIX_CONFIG", str(tmp_path_factory.getbasetemp() / "none.toml"))
    for name in ("AUTOFIX_OFFLINE", "AUTOFIX_HUB", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Nothing leaves this machine: a test that tries fails at once instead of hanging."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
