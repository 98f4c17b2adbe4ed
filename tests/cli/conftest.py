from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from autofix.cli import main


@pytest.fixture
def autofix(capsys, monkeypatch):
    """Call the command line in this process: autofix("run", ...) -> code, out, err."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["autofix", *map(str, arguments)])
        # It would end this process, where threads of other tests may still run.
        monkeypatch.setattr("autofix.cli.exit_without_threads", lambda code: None)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=said.out, err=said.err)

    return call
