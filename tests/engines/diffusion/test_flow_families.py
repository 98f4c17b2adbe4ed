"""SD3, Flux, Flux Fill, Qwen-Image and Z-Image: each is asked in its own words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe
from tests.engines.face_crops import crops
from tests.recipes import recipe_of

KINDS = ["sd3", "flux", "schnell", "fill", "qwen", "z-image", "z-image-turbo"]


def asking(engine, monkeypatch):
    """What the engine's pipeline is called with, one dict a call."""
    seen = []
    pipe = engine.load().pipe
    call = type(pipe).__call__

    def spy(self, *args, **given):
        seen.append(given)
        return call(self, *args, **given)

    monkeypatch.setattr(type(pipe), "__call__", _signed(spy, call))
    return seen


def _signed(spy, call):
    """The spy with the signature of what it stands for."""
    spy.__wrapped__ = call
    return spy


@pytest.mark.parametrize(
    ("kind", "cfg", "passed", "negative"),
    [
        ("sd3", "auto", {"guidance_scale": 7.0}, True),
        ("sd3", 1, {"guidance_scale": 1.0}, False),
        ("flux", "auto", {"guidance_scale": 3.5}, False),
        ("flux", 5, {"guidance_scale": 5.0}, False),
        ("schnell", "auto", {"true_cfg_scale": 1.0}, False),
        ("schnell", 2, {"true_cfg_scale": 2.0}, True),
        ("fill", "auto", {"guidance_scale": 30.0}, False),
        ("qwen", "auto", {"true_cfg_scale": 4.0}, True),
        ("qwen", 1, {"true_cfg_scale": 1.0}, False),
        ("z-image", "auto", {"guidance_scale": 5.0}, True),
        ("z-image-turbo", "auto", {"guidance_scale": 0.0}, False),
    ],
)
def test_the_cfg_scale_and_the_negative_prompt_go_where_they_belong(
    folders, monkeypatch, kind, cfg, passed, negative
):
    settings = Recipe(sampling={"steps": 1, "cfg": cfg})
    engine = DiffusionEngine(folders[kind], settings)
    seen = asking(engine, monkeypatch)
    engine.inpaint(crops(1), settings)
    (given,) = seen
    scales = {key: given[key] for key in ("guidance_scale", "true_cfg_scale") if key in given}
    assert scales == passed
    assert ("negative_prompt" in given) == negative
    assert given["prompt"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_depends_on_its_prompt_and_not_on_its_batch(folders, kind):
    settings = Recipe(sampling={"steps": 2})
    engine = DiffusionEngine(folders[kind], settings)
    short, long = crops(2)
    long = replace(long, region=replace(long.region, prompt="a much longer prompt than that"))
    together = engine.inpaint([short, long], settings)
    alone = [engine.inpaint([one], settings)[0] for one in (short, long)]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.pixels - other.pixels).max() * 255 <= 1
    reworded = replace(long, region=replace(long.region, prompt="something else"))
    assert np.abs(engine.inpaint([reworded], settings)[0].pixels - alone[1].pixels).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_moves_further(folders, kind):
    settings = Recipe(sampling={"steps": 10})
    engine = DiffusionEngine(folders[kind], settings)
    origin, near, far = (
        engine.inpaint(crops(1, strength=strength), settings)[0].pixels
        for strength in (0.1, 0.3, 0.9)
    )
    assert np.abs(near - origin).mean() < np.abs(far - origin).mean()


@pytest.mark.parametrize("changes", [{"soft": True}, {"masked_content": "latent-noise"}])
def test_settings_that_need_a_unet_are_refused(folders, changes):
    with pytest.raises(ModelError, match=r"it is for SD 1\.x, 2\.x and SDXL"):
        DiffusionEngine(folders["flux"], recipe_of(**changes))
