"""The examples run, and what the documents say can be typed."""

from __future__ import annotations

import ast
import importlib
import re
import runpy

import pytest
from PIL import Image

from autofix.frontends.http.client_settings import SINGLE, WHOLE_SECTIONS
from tests.conftest import ROOT

SERVING = ROOT / "docs" / "serving.md"
DOCUMENTS = (SERVING, *sorted((ROOT / "examples").glob("*.md")))
CALL = re.compile(r"autofix (run|watch|serve|hook)\b([^\n`|]*)")


def test_the_diffusers_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "diffusers_hook.py"))["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "generated/0.png: [('face', 'fixed')]",
        "generated/1.png: nothing found",
    ]
    with Image.open("generated/0.png") as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_options_and_code_in_documents_hold(path):
    text = path.read_text(encoding="utf-8")
    calls = CALL.findall(text)
    assert calls
    for name, rest in calls:
        command = importlib.import_module(f"autofix.cli.{name}").command
        known = {option for parameter in command.params for option in parameter.opts}
        options = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest))
        assert options <= known, f"autofix {name}{rest}"
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        ast.parse(code)


def test_the_document_names_all_that_a_client_may_set():
    text = SERVING.read_text(encoding="utf-8").replace("\n", " ")
    said = re.search(r"\*\*What a client may set\*\*: (.*?) Nothing", text)[1]
    for section in (*WHOLE_SECTIONS, *SINGLE):
        assert f"`[{section}]`" in said
    for key in (key for keys in SINGLE.values() for key in keys):
        assert key in said or key.startswith("soft_"), key
