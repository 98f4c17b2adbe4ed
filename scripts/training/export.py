"""The trained network as a diffusers folder, the facts beside it, and their hashes."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel

from training.networks import COARSE_SIGMA_PX, NATIVE_PX, make_scheduler, make_vae
from weights.checksum import file_sha256, format_sums

STEPS, STRENGTH = 10, 0.3
TUNED = ((32, 0.3), (53, 0.3), (85, 0.2), (127, 0.2))
"""Side of a face's box, px, and denoising strength: see docs/builtin-model.md, Figures."""

FACTS = f"""\
# Facts about this model that the engine reads: autofix/engines/diffusion/engine.py.
name = "builtin-face"
version = 3
labels = ["face"]
native_size = {NATIVE_PX}
padding = "8%"
conditioning = "crop"
coarse_from_crop = {COARSE_SIGMA_PX:g}
prompt = false
steps = {STEPS}
strength = {[list(pair) for pair in TUNED]}
"""


def build_pipeline(unet: UNet2DConditionModel) -> StableDiffusionInpaintPipeline:
    """The stock inpainting pipeline around the denoiser, which stays as it is."""
    return StableDiffusionInpaintPipeline(
        vae=make_vae(),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def export(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the folder in float16, replacing it as a whole, with the hashes of all its files."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    small = copy.deepcopy(unet).to(device="cpu", memory_format=torch.contiguous_format)
    build_pipeline(small).to(torch.float16).save_pretrained(part, safe_serialization=True)
    for config in part.rglob("*.json"):
        _without_paths(config)
    (part / "autofix.toml").write_text(FACTS, encoding="utf-8")
    files = sorted(path for path in part.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)
    sums = {path.relative_to(part).as_posix(): file_sha256(path) for path in files}
    (part / "SHA256SUMS").write_text(format_sums(sums), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def _without_paths(config: Path) -> None:
    """Drop what names the machine the folder was written on."""
    content = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        config.write_text(text, encoding="utf-8")
