"""How much of a model is on its device at a time, and errors of too little memory."""

from __future__ import annotations

import gc
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal

Vram = Literal["auto", "low", "min"]

LADDER: tuple[Vram, ...] = ("auto", "low", "min")
"""From fast to frugal; docs/memory.md explains each."""

TILE_PX = 512
"""Least side of a VAE's tile: smaller tiles cost more in overlap and seams than they save."""

_RUNGS_ON_GPU = {
    "low": "from now on only the part of it that is at work is on the device (--vram low)",
    "min": "from now on it is on the device layer by layer, which is slow (--vram min)",
}
_NO_ROOM = re.compile(
    r"out of memory|can't allocate memory|not enough memory|failed to allocate|ALLOC_FAILED",
    re.IGNORECASE,
)
_log = logging.getLogger("autofix")


def place_on_device(pipe: Any, vram: Vram, device: str) -> Vram:
    """Put a diffusers pipeline on its device: as `vram` says, or more frugally if it has no room.

    Returns the rung of the ladder that had room. On the CPU there is nothing to move away: low and
    min only make the VAE take its pictures one by one and large ones in tiles.
    """
    try:
        _place_parts(pipe, vram, device)
        return vram
    except (RuntimeError, MemoryError) as error:
        less = lower_rung(vram)
        if less is None or not out_of_memory(error):
            raise
    free_memory()
    _log.warning("the model does not fit: %s", describe_rung(less, device))
    return place_on_device(pipe, less, device)


def lower_rung(vram: Vram) -> Vram | None:
    """The next rung down; None on the last."""
    below = LADDER[LADDER.index(vram) + 1 :]
    return below[0] if below else None


def describe_rung(vram: Vram, device: str) -> str:
    """What low or min means on this device, for people."""
    if is_cpu(device):
        return f"from now on the VAE takes pictures one by one, large ones in tiles (--vram {vram})"
    return _RUNGS_ON_GPU[vram]


def out_of_memory(error: BaseException) -> bool:
    """Whether this error, or one that led to it, means that a device or the machine is full."""
    return any(
        isinstance(cause, MemoryError)
        or "OutOfMemory" in type(cause).__name__
        or bool(_NO_ROOM.search(str(cause)))
        for cause in error_chain(error)
    )


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then its causes, one after the other."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def free_memory() -> None:
    """Free what nothing refers to any more, the device's caches included."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _place_parts(pipe: Any, vram: Vram, device: str) -> None:
    if vram != "auto":
        _slice_vae(pipe.vae, vram)
    if vram == "auto" or is_cpu(device):
        pipe.to(device)
    elif vram == "low":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def is_cpu(device: str) -> bool:
    """Whether a device, by torch's name of it, is the CPU."""
    return device.split(":")[0] == "cpu"


def _slice_vae(vae: Any, vram: Vram) -> None:
    """Make a VAE take pictures one by one and large ones in tiles.

    Tiling leaves a picture no larger than a tile as it is: tiles have at least TILE_PX, and for
    low the VAE's own size (1024 px for SDXL). AutoencoderTiny would blend tiles in smaller
    pictures too, and needs little memory: it is not tiled.
    """
    from diffusers import AutoencoderTiny

    if hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
    if isinstance(vae, AutoencoderTiny) or not hasattr(vae, "enable_tiling"):
        return
    if hasattr(vae, "tile_latent_min_size"):
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        side = TILE_PX if vram == "min" else max(TILE_PX, vae.config.sample_size)
        vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // scale
        vae.enable_tiling()
    elif hasattr(vae, "tile_sample_stride_height"):
        stride = TILE_PX * 3 // 4
        vae.enable_tiling(TILE_PX, TILE_PX, stride, stride)
    else:
        vae.enable_tiling()
