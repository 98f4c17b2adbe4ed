"""The device on which a model computes, its precision, and what makes it fast there."""

from __future__ import annotations

import functools
import logging
from typing import Any, Literal

from autofix.engines.memory import Vram, error_chain, out_of_memory, place_on_device
from autofix.errors import ModelError
from autofix.settings.model_sections import Device
from detectors.isolation import light_imports

Precision = Literal["own", "vae", "float32"]

PRECISIONS: tuple[Precision, ...] = ("own", "vae", "float32")
"""The dtype of settings and device; the VAE in float32; everything in float32."""

_log = logging.getLogger("autofix")


def device_and_dtype(settings: Device, *, transformer: bool = False) -> tuple[str, Any]:
    """The device and dtype of the settings; "auto" means cuda, else mps, else cpu.

    An "auto" dtype is float16 on cuda and mps; bfloat16 for `transformer` families (SD3, Flux,
    Qwen-Image, ...), which overflow in float16, where the card itself computes it; float32 on the
    CPU, where halves measured slower. Raises ModelError for a device that torch does not know.
    """
    _import_torch()
    import torch

    device = settings.name
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
    auto = "float32" if kind == "cpu" else "float16"
    if kind == "cuda" and transformer and torch.cuda.is_bf16_supported(including_emulation=False):
        auto = "bfloat16"
    return device, getattr(torch, auto if settings.dtype == "auto" else settings.dtype)


@functools.cache
def _import_torch() -> None:
    """Import torch for the first time, so that it starts no process."""
    with light_imports():
        import torch  # noqa: F401


def place_pipeline(pipe: Any, settings: Device, *, vram: Vram, precision: Precision) -> Vram:
    """Put a pipeline just loaded on its device, in its precision, and make it fast there.

    Returns the rung of memory.LADDER it got: lower than `vram` where the device is too small.
    """
    device, _ = device_and_dtype(settings)
    show_broken_latents(pipe)
    if precision == "vae":
        vae_in_float32(pipe)
    speed_up(pipe, device)
    rung = place_on_device(pipe, vram, device)
    if settings.compile and rung == "auto":
        compile_denoiser(pipe)
    elif settings.compile:
        _log.warning("not compiled: --compile needs all of the model on the device")
    return rung


def changes_dtype(pipe: Any, precision: Precision) -> bool:
    """Whether this precision would change any dtype of a pipeline as it was loaded."""
    import torch

    if precision == "vae":
        # SDXL's pipelines do that by themselves to a float16 VAE whose config asks for it.
        asks = hasattr(pipe, "upcast_vae") and pipe.vae.config.get("force_upcast", False)
        return pipe.vae.dtype not in ((torch.float32, torch.float16) if asks else (torch.float32,))
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    return bool(denoiser.dtype != torch.float32)


def speed_up(pipe: Any, device: str) -> None:
    """Channels-last convolutions on CUDA and the CPU; TF32 for what is float32 on CUDA.

    On a CPU this takes a tenth off the built-in model's time. Attention is torch's
    scaled_dot_product_attention everywhere: diffusers' default.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True  # convolutions
    if kind not in ("cuda", "cpu"):
        return
    for part in (getattr(pipe, "unet", None), pipe.vae):
        if part is not None and all(weight.ndim < 5 for weight in part.parameters()):
            part.to(memory_format=torch.channels_last)  # torch has none for video's 3d layers


def compile_denoiser(pipe: Any) -> None:
    """Compile the UNet or transformer by torch.compile, once for each batch shape.

    Where there is no compiler, it logs that once and stays as it is.
    """
    import torch

    module = getattr(pipe, "unet", None) or pipe.transformer
    eager: Any = module.forward
    compiled: Any = torch.compile(eager, dynamic=False)

    @functools.wraps(eager)  # pipelines look at the signature of `forward`
    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except (RuntimeError, ImportError) as error:
            if out_of_memory(error) or not _is_compiler_error(error):
                raise
            reason = str(error).strip().splitlines()[0]
            _log.warning("torch.compile does not work here; going on without it: %s", reason)
        module.forward = eager
        return eager(*args, **kwargs)

    module.forward = forward


def _is_compiler_error(error: BaseException) -> bool:
    modules = ("torch._dynamo", "torch._inductor", "triton")
    return any(type(cause).__module__.startswith(modules) for cause in error_chain(error))


def vae_in_float32(pipe: Any) -> None:
    """Make the VAE compute in float32, while latents keep the dtype they have now.

    Some pipelines cast their VAE back to half after encoding, so each call casts it again.
    """
    import torch

    vae, half = pipe.vae, pipe.vae.dtype
    vae.to(torch.float32)

    def to_float32(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if vae.dtype != torch.float32:
            vae.to(torch.float32)
        return (given[0].float(), *given[1:])

    def to_half(module: Any, given: Any, latents: Any) -> Any:
        return latents.to(half)

    vae.encoder.register_forward_pre_hook(to_float32)
    (getattr(vae, "quant_conv", None) or vae.encoder).register_forward_hook(to_half)
    (getattr(vae, "post_quant_conv", None) or vae.decoder).register_forward_pre_hook(to_float32)


def show_broken_latents(pipe: Any) -> None:
    """Make the VAE decode a latent that is not finite to NaN, whatever its layers do.

    A tanh or a clamp would turn an infinite latent into finite pixels.
    """
    import torch

    def show_not_finite(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        latents = given[0]
        return (torch.where(latents.isfinite(), latents, torch.nan), *given[1:])

    pipe.vae.decoder.register_forward_pre_hook(show_not_finite)
