"""Scaling up with a tiny ESRGAN, made here: its weights repeat every pixel, or are random."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from autofix.engines.restoration.upscaler import Upscaler
from autofix.errors import EngineError, ModelError
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe import Recipe
from tests.build import smooth
from tests.engines.upscaler_files import esrgan

SEEN = smooth(20, 12).pixels


@pytest.mark.parametrize("scale", [2, 4])
def test_the_model_s_own_factor_then_lanczos_to_the_size(tmp_path, scale):
    upscaler = Upscaler(esrgan(tmp_path / "m.safetensors", scale=scale))
    repeated = SEEN.repeat(scale, axis=0).repeat(scale, axis=1)
    assert np.array_equal(upscaler(SEEN, (20 * scale, 12 * scale)), repeated)
    for size_wh in ((50, 30), (100, 60)):
        expected = Image.fromarray(repeated).resize(size_wh, Image.Resampling.LANCZOS)
        given = upscaler(SEEN, size_wh)
        assert given.dtype == np.uint8
        assert np.array_equal(given, np.asarray(expected))


def test_random_weights_change_the_pixels_and_are_the_same_each_time(tmp_path):
    path = esrgan(tmp_path / "m.safetensors", repeat=False)
    upscaler = Upscaler(path)
    first = upscaler(SEEN, (40, 24))
    upscaler.close()
    assert np.array_equal(upscaler(SEEN, (40, 24)), first)
    lanczos = np.asarray(Image.fromarray(SEEN).resize((40, 24), Image.Resampling.LANCZOS))
    assert np.abs(first.astype(int) - lanczos).mean() > 5


def test_a_pickle_is_refused_unless_its_maker_is_trusted(tmp_path):
    path = esrgan(tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"'m\.pth' is a pickle.*--trust-pickle"):
        Upscaler(path)
    assert Upscaler(path, trust_pickle=True)(SEEN, (80, 48)).shape == (48, 80, 3)


def test_code_in_a_trusted_pickle_is_not_run_all_the_same(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"model.0.weight": Harm()}, tmp_path / "m.pth")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Upscaler(tmp_path / "m.pth", trust_pickle=True)(SEEN, (40, 24))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.safetensors", "there is no upscaler file .*lanczos or a file"),
        ("m.onnx", r"'m\.onnx' is no model file"),
    ],
)
def test_a_file_that_is_none_is_refused_at_once(tmp_path, name, message):
    (tmp_path / "m.onnx").write_bytes(b"1")
    with pytest.raises(ModelError, match=message):
        Upscaler(tmp_path / name)


def test_files_that_are_no_upscaler_are_refused_when_loaded(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a model")
    other = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2)}, other)
    for path in (broken, other):
        with pytest.raises(ModelError, match=f"'{path.name}' cannot be loaded"):
            Upscaler(path)(SEEN, (40, 24))
    grey = esrgan(tmp_path / "grey.safetensors", channels=1)
    with pytest.raises(ModelError, match="is for SR, 1 channels in and 1 out"):
        Upscaler(grey)(SEEN, (40, 24))


def test_a_failing_model_is_an_engine_error(tmp_path, monkeypatch):
    upscaler = Upscaler(esrgan(tmp_path / "m.safetensors"))
    upscaler(SEEN, (40, 24))

    def full(image):
        raise RuntimeError("out of memory\nand much more")

    monkeypatch.setattr(type(upscaler.model), "__call__", lambda self, image: full(image))
    with pytest.raises(EngineError, match=r"failed: out of memory: use --upscaler lanczos"):
        upscaler(SEEN, (40, 24))


def test_a_missing_spandrel_is_named_with_what_to_install(tmp_path, monkeypatch):
    upscaler = Upscaler(esrgan(tmp_path / "m.safetensors"))
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ModelError, match=r"pip install 'autofix\[upscale\]'"):
        upscaler(SEEN, (40, 24))


def test_an_upscaler_off_the_cpu_runs_in_half_precision(tmp_path):
    """cpu:0 is the one device that is not called cpu and is always there."""
    upscaler = Upscaler(esrgan(tmp_path / "m.safetensors"), device="cpu:0")
    given = upscaler(SEEN, (80, 48)).astype(int)
    assert upscaler.model.dtype == torch.float16
    assert np.abs(given - SEEN.repeat(4, axis=0).repeat(4, axis=1)).max() <= 1


def test_the_toolbox_opens_an_upscaler_once_and_closes_it(tmp_path):
    path = esrgan(tmp_path / "m.pth")
    recipe = Recipe().override({"crop.upscaler": str(path), "device.name": "cpu"})
    with (
        Toolbox(recipe) as toolbox,
        pytest.raises(ModelError, match="is a pickle"),
        toolbox.upscaler(),
    ):
        pass
    with Toolbox(recipe.override({"model.trust_pickle": True})) as toolbox:
        with toolbox.upscaler() as upscaler:
            upscaler(SEEN, (40, 24))
        with toolbox.upscaler() as again:
            assert again is upscaler
    assert upscaler.model is None
