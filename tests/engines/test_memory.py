"""Where a model is, how precisely it computes, and what makes it fast: without a GPU."""

from types import SimpleNamespace

import accelerate
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, AutoencoderTiny

from autofix.engines import memory
from autofix.engines.devices import changes_dtype, compile_denoiser, device_and_dtype, speed_up
from autofix.engines.diffusion.engine import DiffusionEngine, PipelineEngine
from autofix.engines.memory import lower_rung, out_of_memory, place_on_device
from autofix.engines.resilient import Adjustable, Resilient
from autofix.settings.recipe import Recipe
from tests.engines.face_crops import crops, feathered
from tests.recipes import recipe_of


@pytest.fixture
def offloading(monkeypatch):
    """The CPU as if it were a device that parts of a model are moved to and from."""
    offload = accelerate.cpu_offload
    monkeypatch.setattr(memory, "_is_cpu", lambda device: False)
    monkeypatch.setattr(
        accelerate,
        "cpu_offload",
        lambda model, device, **more: offload(model, torch.device("cpu"), **more),
    )


def repaint(folder, batch, **settings):
    settings = recipe_of(steps=3, **settings)
    engine = DiffusionEngine(folder, settings)
    try:
        return engine.inpaint(batch, settings), engine.load().pipe
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["sd", "sdxl", "promptless"])
def test_parts_or_layers_moved_to_the_device_paint_the_same(folders, offloading, kind):
    batch = feathered()
    plain, _ = repaint(folders[kind], batch, soft=True)
    for vram in ("low", "min"):
        moved, pipe = repaint(folders[kind], batch, soft=True, vram=vram)
        assert hasattr(pipe.unet, "_hf_hook")
        assert (pipe.unet.device.type == "meta") == (vram == "min")
        for a, b in zip(plain, moved, strict=True):
            assert np.abs(a.pixels - b.pixels).max() * 255 <= 1


@pytest.mark.parametrize("vram", ["low", "min"])
def test_on_the_cpu_nothing_is_moved_and_the_vae_takes_slices_and_tiles(folders, vram):
    batch = crops(2)
    plain, whole = repaint(folders["sd"], batch)
    spared, pipe = repaint(folders["sd"], batch, vram=vram)
    assert not hasattr(pipe.unet, "_hf_hook")
    assert (pipe.vae.use_slicing, pipe.vae.use_tiling) == (True, True)
    assert (whole.vae.use_slicing, whole.vae.use_tiling) == (False, False)
    for a, b in zip(plain, spared, strict=True):
        assert np.abs(a.pixels - b.pixels).max() * 255 <= 1


class Pipe:
    """A pipeline that only says where it was put, and has room for a part of itself at most."""

    def __init__(self, *, fits="auto", vae=None, error=None):
        self.vae = vae or SimpleNamespace()
        self.placed = []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.full = memory.LADDER[: memory.LADDER.index(fits)]

    def _put(self, vram, device):
        self.placed.append((vram, device))
        if vram in self.full:
            raise self.error

    def to(self, device):
        self._put("auto", device)

    def enable_model_cpu_offload(self, device):
        self._put("low", device)

    def enable_sequential_cpu_offload(self, device):
        self._put("min", device)


@pytest.mark.parametrize("vram", memory.LADDER)
def test_a_pipeline_is_placed_as_vram_says(vram, caplog):
    pipe = Pipe()
    assert place_on_device(pipe, vram, "cuda:1") == vram
    assert pipe.placed == [(vram, "cuda:1")]
    assert caplog.messages == []


@pytest.mark.parametrize(("fits", "rungs"), [("low", 2), ("min", 3)])
def test_weights_that_do_not_fit_go_down_the_ladder(fits, rungs, caplog):
    pipe = Pipe(fits=fits)
    assert place_on_device(pipe, "auto", "cuda") == fits
    assert [vram for vram, _ in pipe.placed] == list(memory.LADDER[:rungs])
    assert len(caplog.messages) == rungs - 1
    assert caplog.messages[-1].endswith(f"(--vram {fits})")


def test_another_failure_to_place_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="driver"):
        place_on_device(Pipe(fits="min", error=RuntimeError("no driver")), "auto", "cuda")


def test_the_ladder_ends():
    assert [lower_rung(vram) for vram in memory.LADDER] == ["low", "min", None]


def test_what_led_to_an_error_counts():
    error, lucky = ValueError("the model failed"), ValueError("out of luck")
    error.__cause__ = MemoryError()
    assert out_of_memory(error)
    assert not out_of_memory(lucky)


def kl(**more):
    return AutoencoderKL(
        block_out_channels=[4, 4, 4, 4],
        norm_num_groups=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        **more,
    )


@pytest.mark.parametrize(
    ("own", "vram", "side"),
    [(32, "low", 512), (512, "low", 512), (1024, "low", 1024), (1024, "min", 512)],
)
def test_what_is_no_larger_than_a_vae_s_tile_is_not_changed_by_tiling(own, vram, side):
    torch.manual_seed(0)
    vae = kl(sample_size=own)
    place_on_device(Pipe(vae=vae), vram, "cpu")
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (side, side // 8)
    small = torch.randn(2, 4, 16, side // 8)
    large = torch.randn(1, 4, 8, side // 8 + 8)
    with torch.inference_mode():
        tiled = [vae.decode(latents).sample for latents in (small, large)]
        vae.disable_tiling()
        whole = [vae.decode(latents).sample for latents in (small, large)]
    assert torch.allclose(tiled[0], whole[0], atol=1e-5)
    assert not torch.allclose(tiled[1], whole[1], atol=1e-5)


def test_a_tiny_vae_is_not_tiled_for_it_would_blend_small_pictures():
    vae = AutoencoderTiny()
    place_on_device(Pipe(vae=vae), "low", "cpu")
    assert (vae.use_slicing, vae.use_tiling) == (True, False)


def test_a_video_vae_gets_tiles_of_the_same_side():
    vae = AutoencoderKLQwenImage(base_dim=8, z_dim=4, num_res_blocks=1, dim_mult=[1, 1, 1, 1])
    place_on_device(Pipe(vae=vae), "low", "cpu")
    assert (vae.use_tiling, vae.tile_sample_min_height, vae.tile_sample_stride_width) == (
        True,
        512,
        384,
    )


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


def test_on_the_cpu_float32_is_the_fastest():
    for transformer in (False, True):
        settings = Recipe(device={"name": "cpu"})
        assert device_and_dtype(settings.device, transformer=transformer) == ("cpu", torch.float32)


def test_convolutions_are_channels_last_and_tf32_is_for_cuda_alone(monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for device, last, tf32 in (("mps", False, False), ("cpu", True, False), ("cuda:0", True, True)):
        pipe = SimpleNamespace(unet=torch.nn.Conv2d(4, 8, 3), vae=torch.nn.Conv3d(4, 8, 3))
        speed_up(pipe, device)
        assert pipe.unet.weight.is_contiguous(memory_format=torch.channels_last) == last
        assert pipe.vae.weight.is_contiguous()  # a video VAE's layers stay as they are
        assert (said, torch.backends.cudnn.allow_tf32) == (["high"] * tf32, tf32)


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


def test_an_engine_steps_down_to_the_last_rung(folders, offloading):
    settings = Recipe(sampling={"steps": 2})
    engine = DiffusionEngine(folders["sd"], settings)
    assert isinstance(engine, Adjustable)
    before = engine.inpaint(crops(1), settings)
    assert engine.step_down().endswith("(--vram low)")
    assert engine.step_down().endswith("(--vram min)")
    after = engine.inpaint(crops(1), settings)
    assert engine.load().pipe.unet.device.type == "meta"
    assert engine.step_down() == ""
    assert np.abs(before[0].pixels - after[0].pixels).max() * 255 <= 1


def test_an_attached_pipeline_is_left_as_its_owner_made_it(folders):
    pipe = DiffusionEngine(folders["sd"], Recipe(device={"dtype": "float16"})).load().pipe
    engine = PipelineEngine(pipe, Recipe(device={"vram": "min"}))
    assert not engine.with_precision("float32")
    assert engine.step_down() == ""
    assert engine.load().pipe.unet is pipe.unet
    assert (pipe.unet.dtype, pipe.vae.use_tiling) == (torch.float16, False)


@pytest.fixture
def compiling(monkeypatch):
    """torch.compile that remembers the batches it is given; `fail` with an error if told to."""
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


def test_compiled_a_short_batch_is_filled_up_so_that_shapes_stay_fixed(folders, compiling):
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


def test_without_a_compiler_it_goes_on_and_says_so_once(folders, compiling, caplog):
    from torch._inductor.exc import InvalidCxxCompiler

    settings = Recipe(sampling={"steps": 2, "cfg": 1}, device={"compile": True})
    plain, _ = repaint(folders["sd"], crops(2), cfg=1)
    compiling.fail = InvalidCxxCompiler()
    compiled, _ = repaint(folders["sd"], crops(2), cfg=1, compile=True)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(plain, compiled, strict=True))
    assert len(compiling.batches) == 1
    (said,) = caplog.messages
    assert said.startswith("torch.compile does not work here; going on without it: ")
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


def test_offloaded_nothing_is_compiled(folders, offloading, compiling, caplog):
    repaint(folders["sd"], crops(1), vram="low", compile=True)
    assert compiling.batches == []
    assert "needs all of the model on the device" in caplog.text
