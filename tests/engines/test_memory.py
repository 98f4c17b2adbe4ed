"""How much of a model is on its device, without a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, AutoencoderTiny

from autofix.engines import memory
from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.memory import lower_rung, out_of_memory, place_on_device
from autofix.engines.resilient import Adjustable
from autofix.settings.recipe import Recipe
from tests.engines.face_crops import crops, feathered
from tests.engines.prompted import inpaint_once


@pytest.mark.parametrize("kind", ["sd", "sdxl", "promptless"])
def test_parts_or_layers_moved_to_the_device_paint_the_same(folders, offloading, kind):
    batch = feathered()
    plain, _ = inpaint_once(folders[kind], batch, soft=True)
    for vram in ("low", "min"):
        moved, pipe = inpaint_once(folders[kind], batch, soft=True, vram=vram)
        assert hasattr(pipe.unet, "_hf_hook")
        assert (pipe.unet.device.type == "meta") == (vram == "min")
        for a, b in zip(plain, moved, strict=True):
            assert np.abs(a.pixels - b.pixels).max() * 255 <= 1


@pytest.mark.parametrize("vram", ["low", "min"])
def test_a_pipeline_on_the_cpu_is_not_moved_but_its_vae_takes_slices_and_tiles(folders, vram):
    batch = crops(2)
    plain, whole = inpaint_once(folders["sd"], batch)
    spared, pipe = inpaint_once(folders["sd"], batch, vram=vram)
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


def test_the_causes_of_an_error_count():
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
def test_latents_no_larger_than_a_tile_are_not_changed_by_tiling(own, vram, side):
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
