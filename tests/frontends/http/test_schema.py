"""The HTTP service against its own OpenAPI schema, by schemathesis."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autofix.frontends.http.app import Limits, make_app
from tests.frontends.tools import fake_pipeline, served

CANNOT_HOLD = ("positive_data_acceptance", "negative_data_rejection")
"""No schema says that bytes are a picture and a text JSON; and a form cannot hold a wrong type:
what is no text arrives as text, or does not arrive."""


@pytest.mark.parametrize(
    ("examples", "token"),
    [(50, ""), (20, "a-token-of-16-signs"), pytest.param(3000, "", marks=pytest.mark.slow)],
)
def test_answers_to_any_request_are_those_of_the_schema(examples, token, tmp_path):
    app = make_app(fake_pipeline(), Limits(picture_bytes=100_000), token=token)
    with served(app) as home:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{home}/openapi.json"]
        command += ["--checks", "all", "--exclude-checks", ",".join(CANNOT_HOLD), "--seed", "1"]
        command += ["--max-examples", str(examples), "--continue-on-failure"]
        if token:
            command += ["--header", f"Authorization: Bearer {token}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
