"""Crop -> control image, by the module of a ControlNet."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofix.errors import EngineError, ModelError
from autofix.settings.control_modules import module_of
from autofix.settings.model_folders import model_folders
from autofix.settings.model_sections import Control
from autofix.values import Crop

Image = NDArray[np.float32]
"""RGB, height x width x 3, 0 to 1; -1 where an inpaint ControlNet is to ignore the crop."""

_POSE = ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")
_LINES = ("sk_model.pth", "sk_model2.pth")
_HED, _PIDI = ("ControlNetHED.pth",), ("table5_pidinet.pth",)
_HAND_AND_FACE = {"include_hand": True, "include_face": True}
_DETECTORS: dict[str, tuple[str, tuple[str, ...], dict[str, bool]]] = {
    "lineart_realistic": ("LineartDetector", _LINES, {}),
    "lineart_coarse": ("LineartDetector", _LINES, {"coarse": True}),
    "lineart_anime": ("LineartAnimeDetector", ("netG.pth",), {}),
    "openpose": ("OpenposeDetector", _POSE, {}),
    "openpose_face": ("OpenposeDetector", _POSE, {"include_face": True}),
    "openpose_full": ("OpenposeDetector", _POSE, _HAND_AND_FACE),
    "depth_midas": ("MidasDetector", ("dpt_hybrid-midas-501f0c75.pt",), {}),
    "softedge_hed": ("HEDdetector", _HED, {}),
    "softedge_pidinet": ("PidiNetDetector", _PIDI, {}),
    "scribble_hed": ("HEDdetector", _HED, {"scribble": True}),
    "scribble_pidinet": ("PidiNetDetector", _PIDI, {"scribble": True}),
    "t2ia_sketch_pidi": ("PidiNetDetector", _PIDI, {"apply_filter": True}),
}
"""Module -> controlnet-aux's class, the files it reads, and how it is called."""


def check_module(control: Control) -> None:
    """Raises RecipeError as `module_of` does, ModelError where its package or files are missing."""
    module = module_of(control)
    if module in _DETECTORS:
        _find_detector(module)


def control_image(crop: Crop, control: Control) -> Image:
    """The control image that the ControlNet's module makes of the crop, at working size.

    Raises what `check_module` does, and EngineError where a detector fails.
    """
    module = module_of(control)
    if module in _DETECTORS:
        return _run_detector(crop, module)
    if module == "canny":
        return _draw_edges(crop, control)
    if module == "tile_resample" and control.down_sampling > 1:
        return _resample_crop(crop, control.down_sampling)
    image = crop.pixels.astype(np.float32) / np.float32(255)
    if module.startswith("inpaint"):
        image[crop.mask > 127] = -1
    return image


def _resample_crop(crop: Crop, times: float) -> Image:
    """The crop scaled down by area and up again by cubic interpolation, as the extension does."""
    import cv2

    high, wide = crop.mask.shape
    small_wh = (max(1, int(wide / times)), max(1, int(high / times)))
    small = cv2.resize(crop.pixels, small_wh, interpolation=cv2.INTER_AREA)
    return _resize_to_crop(small, crop, cv2.INTER_CUBIC)


def _draw_edges(crop: Crop, control: Control) -> Image:
    """White on black."""
    import cv2

    edges = cv2.Canny(crop.pixels, control.low, control.high)
    return np.repeat(edges[..., None], 3, axis=2).astype(np.float32) / np.float32(255)


def _run_detector(crop: Crop, module: str) -> Image:
    """What a detector of controlnet-aux draws, at its own size near the working size."""
    import cv2

    detector, how = _load_detector(module), _DETECTORS[module][2]
    side = min(crop.mask.shape)
    try:
        drawn = detector(
            crop.pixels, detect_resolution=side, image_resolution=side, output_type="np", **how
        )
    except (RuntimeError, ValueError) as error:
        raise EngineError(
            f"the control module {module!r} failed: {error}", "set another module, or none"
        ) from error
    return _resize_to_crop(np.asarray(drawn), crop, cv2.INTER_LINEAR)


def _resize_to_crop(image: NDArray[np.uint8], crop: Crop, how: int) -> Image:
    import cv2

    scaled = np.asarray(cv2.resize(image, crop.mask.shape[::-1], interpolation=how), np.float32)
    return scaled / np.float32(255)


@functools.lru_cache(maxsize=2)
def _load_detector(module: str) -> Any:
    """Loaded, on the CPU."""
    kind, folder = _find_detector(module)
    return kind.from_pretrained(str(folder))


def _find_detector(module: str) -> tuple[Any, Path]:
    """A detector's class, and the folder with its files: without one controlnet-aux downloads."""
    name, files, _ = _DETECTORS[module]
    try:
        kind = getattr(importlib.import_module("controlnet_aux"), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"the control module {module!r} needs the package controlnet-aux ({error})",
            "pip install 'autofix[control]', or set another module",
        ) from error
    found = model_folders().look_up("controlnet", files[0])
    missing = [name for name in files if found is None or not (found.parent / name).is_file()]
    if found is None or missing:
        raise ModelError(
            f"the control module {module!r} needs {' and '.join(missing)}, which it did not find",
            "put what it needs, from the hub's lllyasviel/Annotators, into one folder inside the "
            "ControlNet folder of [models]",
        )
    return kind, found.parent
