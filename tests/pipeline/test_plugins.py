"""An engine and a detector of another package, found by their entry points."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import autofix
from autofix.cli import group
from autofix.errors import UsageError

MODULE = '''
from contextlib import contextmanager

import numpy as np

from autofix.engines.base import ModelInfo, SizeRule
from autofix.values import Patch
from detectors.detection import Detection


class Stopped(BaseException):
    """The host's interrupt."""


class Engine:
    info = ModelInfo(name="inverter", identity="inverter 1", size=SizeRule(64), tuned=((0, 1.0),))
    cancellations = (Stopped,)
    owns_memory = True
    inside = 0

    def __init__(self, recipe):
        self.device = recipe.device.name

    @contextmanager
    def context(self):
        self.inside += 1
        yield
        self.inside -= 1

    def check(self, recipe):
        pass

    def inpaint(self, crops, recipe):
        assert self.inside == 1
        if recipe.prompt.positive == "stop":
            raise Stopped
        return [
            Patch(crop, 1 - crop.pixels.astype(np.float32) / np.float32(255),
                  seed=crop.region.seed, strength=crop.region.strength)
            for crop in crops
        ]

    def close(self):
        pass


class Detector:
    name, labels = "middle", ("face",)

    def __init__(self, settings):
        self.confidence = settings.confidence

    def detect(self, pictures, *, names=()):
        return [(Detection((20.0, 20.0, 60.0, 60.0), "face", 1.0, "middle"),) for _ in pictures]

    def close(self):
        pass


nothing = 3
'''

POINTS = """
[autofix.engines]
inverter = outside_plugin:Engine
broken = outside_plugin:Missing
nothing = outside_plugin:nothing

[autofix.detectors]
middle = outside_plugin:Detector
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package from outside, as pip would have installed it."""
    site = tmp_path / "site"
    info = site / "outside_plugin-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "outside_plugin.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("outside_plugin", None)


OPTIONS = (
    "--model",
    "inverter",
    "--detector",
    "middle",
    "--no-check",
    "--set",
    "blend.match_colour=false",
)


def grey_picture(folder: Path) -> Path:
    path = folder / "grey.png"
    Image.fromarray(np.full((80, 80, 3), 40, np.uint8)).save(path)
    return path


def test_a_plugin_s_engine_and_detector_fix_a_picture(installed, tmp_path):
    picture = grey_picture(tmp_path)
    command = ["run", str(picture), "-o", str(tmp_path / "out"), *OPTIONS]
    assert not group.main(command, standalone_mode=False)
    made = np.asarray(Image.open(tmp_path / "out" / "grey.png"))
    assert (made[40, 40] > 200).all()
    assert (made[0, 0] == 40).all()


def test_a_plugin_s_cancellation_ends_the_run(installed, tmp_path):
    from outside_plugin import Stopped

    fixer = autofix.Fixer(model="inverter", detect__detectors=["middle"], prompt__positive="stop")
    with fixer, pytest.raises(Stopped):
        fixer.fix(Image.open(grey_picture(tmp_path)))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "engine 'broken' of the package outside-plugin cannot be loaded"),
        ("nothing", "entry point 'nothing' .* is no class or function"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(installed, name, problem):
    with pytest.raises(UsageError, match=problem), autofix.Fixer(model=name) as fixer:
        fixer.fix(Image.new("RGB", (64, 64)))
