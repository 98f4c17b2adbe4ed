"""The house stays small, and its functions say of what they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from measure_house import LIMITS, measure

FIGURES = measure()


@pytest.mark.parametrize("name", LIMITS)
def test_the_house_keeps_its_limits(name):
    assert FIGURES[name] <= LIMITS[name]


def test_every_limit_can_be_passed(tmp_path):
    package = tmp_path / "autofix" / "large"
    package.mkdir(parents=True)
    for number in range(19):
        (package / f"module_{number}.py").write_text("def f():\n    pass\n" + "\n" * 2000)
        (package.parent / f"module_{number}.py").write_text("")
    assert all(figure > LIMITS[name] for name, figure in measure(tmp_path).items())
