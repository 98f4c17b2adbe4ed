"""Where a model computes, and in what precision."""

from __future__ import annotations

from typing import Any

from autofix.errors import ModelError
from autofix.recipe import Inpaint


def device_and_dtype(settings: Inpaint) -> tuple[str, Any]:
    """What "auto" means on this machine: cuda, else mps, else cpu; half precision but on the CPU.

    Raises ModelError for a device torch does not know.
    """
    import torch

    device = settings.device
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ModelError(
            f"there is no device {device!r}", "--device takes auto, cpu, cuda, cuda:N or mps"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"torch finds no CUDA for device {device!r}", "use --device cpu or auto")
    half = "float32" if kind == "cpu" else "float16"
    return device, getattr(torch, half if settings.dtype == "auto" else settings.dtype)
