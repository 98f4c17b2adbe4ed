"""Scales crops up with an ESRGAN-type model, by spandrel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autofix.engines.checkpoints.weight_file import check_kind
from autofix.engines.restoration.spandrel_files import open_model_file
from autofix.errors import EngineError, ModelError
from autofix.values import Pixels


class Upscaler:
    """Scales pixels up with a model file. The file is checked at once, loaded when first used.

    Any single-picture super resolution model that spandrel knows: ESRGAN, Real-ESRGAN, SwinIR,
    DAT, HAT, ... A .pth is a pickle: refused unless its maker is trusted, although spandrel reads
    it through an allow-list. Raises ModelError.
    """

    def __init__(self, path: Path, *, device: str = "cpu", trust_pickle: bool = False) -> None:
        if not path.is_file():
            raise ModelError(
                f"there is no upscaler file {str(path)!r}", "--upscaler takes lanczos or a file"
            )
        check_kind(path, trust_pickle=trust_pickle)
        self.path = path
        self.device = device
        self.model: Any = None
        """The loaded model, by spandrel; None before the first call, and once closed."""

    def __call__(self, pixels: Pixels, size_wh: tuple[int, int]) -> Pixels:
        """The pixels scaled by the model's own factor, then by Lanczos to width and height.

        Raises ModelError where the model cannot be loaded, EngineError where it fails.
        """
        import torch

        if self.model is None:
            self.model = _load_model(self.path, self.device)
        batch = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
        try:
            with torch.inference_mode():
                values = self.model(batch.to(self.model.device, self.model.dtype))
                large = (values[0].permute(1, 2, 0).float() * 255).round().clamp(0, 255)
                large = large.to("cpu", torch.uint8).numpy()
        except RuntimeError as error:
            raise EngineError(
                f"upscaler {self.path.name!r} failed: {str(error).splitlines()[0]}",
                "use --upscaler lanczos, or --device cpu",
            ) from error
        return np.asarray(Image.fromarray(large).resize(size_wh, Image.Resampling.LANCZOS))

    def close(self) -> None:
        """Drop the weights; a later call would load them again."""
        self.model = None


def _load_model(path: Path, device: str) -> Any:
    """The model on its device: in half precision on a GPU, where it can."""
    model = open_model_file(
        path,
        "upscaler",
        choose="choose a super resolution model that spandrel knows",
        instead="use --upscaler lanczos",
    )
    if model.purpose != "SR" or (model.input_channels, model.output_channels) != (3, 3):
        raise ModelError(
            f"upscaler {path.name!r} is no super resolution model for RGB pictures "
            f"(it is for {model.purpose}, {model.input_channels} channels in and "
            f"{model.output_channels} out)",
            "choose one that is",
        )
    if device != "cpu" and model.supports_half:
        model = model.half()
    return model.to(device)
