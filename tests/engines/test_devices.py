"""The device and precision of a model, and its speed there: without a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autofix.engines.devices import changes_dtype, compile_denoiser, device_and_dtype, speed_up
from autofix.engines.diffusion.engine import DiffusionEngine, PipelineEngine
from autofix.engines.resilient import Resilient
from autofix.errors import ModelError
from autofix.settings.model_sections import Device
from autofix.settings.recipe import Recipe
from tests.engines.face_crops import crops
from tests.engines.prompted import inpaint_once


@pytest.fixture
def cuda(monkeypatch):
    """A machine with a CUDA device that computes bfloat16, or not."""

    def present(*, bfloat16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: including_emulation or bfloat16,
        )

    return present


@pytest.mark.parametrize(
    ("bfloat16", "transformer", "expected"),
    [
        (True, False, torch.float16),
        (True, True, torch.bfloat16),
        (False, True, torch.float16),
        (False, False, torch.float16),
    ],
)
def test_the_precision_on_a_gpu_is_what_it_can_and_the_family_likes(
    cuda, bfloat16, transformer, expected
):
    cuda(bfloat16=bfloat16)
    assert device_and_dtype(Recipe().device, transformer=transformer) == ("cuda", expected)
    stated = Recipe(device={"dtype": "float32", "name": "cuda:1"})
    assert device_and_dtype(stated.device, transformer=transformer) == ("cuda:1", torch.float32)


def test_the_precision_on_the_cpu_is_float32():
    for transformer in (False, True):
        settings = Recipe(device={"name": "cpu"})
        assert device_and_dtype(settings.device, transformer=transformer) == ("cpu", torch.float32)


def test_convolutions_are_channels_last_and_tf32_is_for_cuda_alone(monkeypatch):
    precisions = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for device, last, tf32 in (("mps", False, False), ("cpu", True, False), ("cuda:0", True, True)):
        pipe = SimpleNamespace(unet=torch.nn.Conv2d(4, 8, 3), vae=torch.nn.Conv3d(4, 8, 3))
        speed_up(pipe, device)
        assert pipe.unet.weight.is_contiguous(memory_format=torch.channels_last) == last
        assert pipe.vae.weight.is_contiguous()  # a video VAE's layers stay as they are
        assert (precisions, torch.backends.cudnn.allow_tf32) == (["high"] * tf32, tf32)


def test_a_higher_precision_is_a_gain_only_where_something_is_in_half(folders):
    settings = Recipe(device={"dtype": "float16"})
    engines = {kind: DiffusionEngine(folders[kind], settings) for kind in ("sd", "sdxl")}
    sd, sdxl = (engine.load().pipe for engine in engines.values())
    assert [changes_dtype(sd, precision) for precision in ("vae", "float32")] == [True, True]
    # SDXL's pipeline puts a VAE that says so into float32 by itself.
    assert [changes_dtype(sdxl, precision) for precision in ("vae", "float32")] == [False, True]
    assert engines["sd"].with_precision("vae")
    assert engines["sd"].load().pipe.vae.dtype == torch.float32
    assert engines["sd"].load().pipe.unet.dtype == torch.float16
    assert engines["sd"].with_precision("float32")
    assert engines["sd"].load().pipe.unet.dtype == torch.float32
    assert not engines["sd"].with_precision("float32")
    assert engines["sd"].with_precision("own")
    assert engines["sd"].load().pipe.vae.dtype == torch.float16
    full = DiffusionEngine(folders["sd"], Recipe())
    full.load()
    assert not full.with_precision("vae")
    assert not full.with_precision("float32")


def test_an_attached_pipeline_is_left_as_its_owner_made_it(folders):
    pipe = DiffusionEngine(folders["sd"], Recipe(device={"dtype": "float16"})).load().pipe
    engine = PipelineEngine(pipe, Recipe(device={"vram": "min"}))
    assert not engine.with_precision("float32")
    assert engine.step_down() == ""
    assert engine.load().pipe.unet is pipe.unet
    assert (pipe.unet.dtype, pipe.vae.use_tiling) == (torch.float16, False)


@pytest.fixture
def compiling(monkeypatch):
    """torch.compile that remembers its batches; the compiled function raises `fail` if set."""
    seen = SimpleNamespace(batches=[], fail=None, dynamic=[])

    def compile(function, *, dynamic):
        seen.dynamic.append(dynamic)

        def compiled(sample, *args, **more):
            seen.batches.append(len(sample))
            if seen.fail is not None:
                raise seen.fail
            return function(sample, *args, **more)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    return seen


def test_a_short_batch_is_filled_up_for_a_compiled_model_so_that_shapes_stay_fixed(
    folders, compiling
):
    settings = Recipe(sampling={"steps": 2, "cfg": 1}, device={"compile": True})
    engine = DiffusionEngine(folders["sd"], settings)
    batch = crops(3)
    full = engine.inpaint(batch, settings)
    short = engine.inpaint(batch[:2], settings)
    assert set(compiling.batches) == {3}
    assert compiling.dynamic == [False]
    assert [patch.crop for patch in short] == batch[:2]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(full, short, strict=False))
    compiling.batches.clear()
    engine.inpaint(crops(1, size=(96, 64)), settings)
    assert set(compiling.batches) == {1}


def test_a_batch_that_failed_is_not_filled_up_to_its_size_again(folders, compiling):
    settings = Recipe(sampling={"steps": 2, "cfg": 1}, device={"compile": True})
    engine = DiffusionEngine(folders["sd"], settings)
    batch = crops(4)
    engine.inpaint(batch, settings)
    model, room = engine.load(), 2
    inpaint_batch = model.inpaint_batch

    def tight(crops, *args):
        if len(crops) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inpaint_batch(crops, *args)

    model.inpaint_batch = tight
    assert len(Resilient(engine).inpaint(batch, settings)) == 4
    assert compiling.batches[-1] == 2


def test_a_missing_compiler_is_logged_once_and_the_model_runs_without(folders, compiling, caplog):
    from torch._inductor.exc import InvalidCxxCompiler

    settings = Recipe(sampling={"steps": 2, "cfg": 1}, device={"compile": True})
    plain, _ = inpaint_once(folders["sd"], crops(2), cfg=1)
    compiling.fail = InvalidCxxCompiler()
    compiled, _ = inpaint_once(folders["sd"], crops(2), cfg=1, compile=True)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(plain, compiled, strict=True))
    assert len(compiling.batches) == 1
    (message,) = caplog.messages
    assert message.startswith("torch.compile does not work here; going on without it: ")
    assert settings.device.compile


def test_a_failure_of_the_model_is_not_taken_for_the_compiler_s(compiling):
    unet = torch.nn.Identity()
    compile_denoiser(SimpleNamespace(unet=unet))
    compiling.fail = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        unet(torch.zeros(1))
    compiling.fail = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        unet(torch.zeros(1))
    assert len(compiling.batches) == 2


def test_an_offloaded_model_is_not_compiled(folders, offloading, compiling, caplog):
    inpaint_once(folders["sd"], crops(1), vram="low", compile=True)
    assert compiling.batches == []
    assert "needs all of the model on the device" in caplog.text


def test_an_unknown_device_is_refused():
    with pytest.raises(ModelError, match="no device 'gpu'"):
        device_and_dtype(Device(name="gpu"))
