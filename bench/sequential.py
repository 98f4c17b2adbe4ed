"""What autofix is measured against: the plain loop that one writes with diffusers and Pillow.

Look at a picture, cut a face out, repaint it with one call of the pipeline, paste it through a
feathered mask; then the next face. Detector, boxes, padding, working size, sampler, steps,
denoising strength, seeds and precision are autofix's. Prompts are encoded once. Nothing is checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Settings:
    """How faces are repainted. `dilate` and `blur` are shares of a box's longer side.

    `padding` tells the pixels for such a side, `strength` a detection's. `whole_crop` and
    `coarse_sigma` are what the built-in model needs beside the pipeline's own arguments: it is
    shown the whole crop, and light and colour coarser than that many pixels stay the crop's.
    """

    size: int
    steps: int
    strength: Callable[[Any, tuple[int, int]], float]
    padding: Callable[[float], float]
    seed: int = 0
    dilate: float = 0.04
    blur: float = 0.04
    whole_crop: bool = False
    coarse_sigma: float = 0.0


def load(folder: Path, device: str, dtype: Any, scheduler: Callable[[Any], Any] | None) -> Any:
    """A folder's inpainting pipeline; `scheduler` makes another from its own scheduler's config."""
    from diffusers import AutoPipelineForInpainting

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    absent = {name: None for name, kind in index.items() if kind == [None, None]}
    pipe = AutoPipelineForInpainting.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, **absent
    )
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        pipe.scheduler = scheduler(pipe.scheduler.config)
    return pipe.to(device)


def encode(pipe: Any, prompt: str, negative: str, cfg: float) -> dict[str, Any]:
    """The pipeline's arguments in place of prompts; zeros for a model that reads none."""
    if pipe.tokenizer is None:
        width = pipe.unet.config.cross_attention_dim
        zeros = torch.zeros((1, 1, width), dtype=pipe.unet.dtype, device=pipe.device)
        return {"prompt_embeds": zeros, "guidance_scale": 1.0}
    encoded = pipe.encode_prompt(
        prompt=prompt,
        negative_prompt=negative,
        device=pipe.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=cfg > 1,
    )
    names = (
        *("prompt_embeds", "negative_prompt_embeds"),
        *("pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
    )
    given = {name: each for name, each in zip(names, encoded, strict=False) if each is not None}
    return {**given, "guidance_scale": cfg}


@torch.inference_mode()
def fix_all(
    paths: Sequence[Path],
    out: Path,
    pipe: Any,
    detector: Any,
    prompts: dict[str, Any],
    settings: Settings,
) -> int:
    """Fix the pictures one face at a time, save them under `out`, and count the faces."""
    out.mkdir(parents=True, exist_ok=True)
    faces = 0
    for path in paths:
        with Image.open(path) as opened:
            picture, text = opened.convert("RGB"), dict(getattr(opened, "text", {}))
        found = detector.detect([np.asarray(picture)], names=[path.name])[0]
        for number, face in enumerate(sorted(found, key=lambda each: each.box_xyxy[0])):
            strength = settings.strength(face, picture.size)
            seed = settings.seed + number
            fix_face(picture, face.box_xyxy, strength, seed, pipe, prompts, settings)
            faces += 1
        info = PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        picture.save(out / path.name, pnginfo=info)
    return faces


def fix_face(
    picture: Image.Image,
    face: tuple[float, float, float, float],
    strength: float,
    seed: int,
    pipe: Any,
    prompts: dict[str, Any],
    settings: Settings,
) -> None:
    """Repaint one face of the picture, in place."""
    longer = max(face[2] - face[0], face[3] - face[1])
    grown, feather = settings.dilate * longer / 2, settings.blur * longer
    thing = (face[0] - grown, face[1] - grown, face[2] + grown, face[3] + grown)
    box = square(thing, settings.padding(longer) + 2.5 * feather, picture.size)
    crop = picture.crop(box)
    mask = Image.new("L", crop.size)
    inside = [edge - box[axis % 2] for axis, edge in enumerate(thing)]
    ImageDraw.Draw(mask).ellipse((inside[0], inside[1], inside[2] - 1, inside[3] - 1), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(feather))
    size_wh = (settings.size, settings.size)
    small = crop.resize(size_wh, Image.Resampling.LANCZOS)
    # All that the feathered mask shows is repainted: the pipeline cuts its mask at one half.
    seen = mask.resize(size_wh, Image.Resampling.BILINEAR).point(lambda value: 255 * (value > 0))
    painted = repaint(small, seen, strength, seed, pipe, prompts, settings)
    picture.paste(painted.resize(crop.size, Image.Resampling.LANCZOS), box[:2], mask)


def repaint(
    crop: Image.Image,
    mask: Image.Image,
    strength: float,
    seed: int,
    pipe: Any,
    prompts: dict[str, Any],
    settings: Settings,
) -> Image.Image:
    """One call of the pipeline."""
    more: dict[str, Any] = {"mask_image": mask}
    if settings.whole_crop:
        shown = pipe.image_processor.preprocess(crop).to(pipe.device, pipe.vae.dtype)
        latents = pipe.vae.encode(shown).latents * pipe.vae.config.scaling_factor
        more = {
            "mask_image": Image.new("L", crop.size, 255),
            "masked_image_latents": latents,
        }
    answer = pipe(
        **prompts,
        **more,
        image=crop,
        width=crop.width,
        height=crop.height,
        strength=strength,
        num_inference_steps=max(settings.steps, math.ceil(1 / strength)),
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    )
    values = answer.images[0]
    if settings.coarse_sigma:
        import cv2

        drift = np.asarray(crop, np.float32) / 255 - values
        values = values + cv2.GaussianBlur(drift, (0, 0), settings.coarse_sigma)
    return Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))


def square(thing: Sequence[float], padding: float, picture_wh: tuple[int, int]) -> Box:
    """The square around a box and its padding in pixels, moved inside the picture where it fits."""
    x0, y0, x1, y1 = thing
    side = min(round(max(x1 - x0, y1 - y0) + 2 * padding), *picture_wh)
    left, top = (
        min(max(round((low + high - side) / 2), 0), limit - side)
        for low, high, limit in ((x0, x1, picture_wh[0]), (y0, y1, picture_wh[1]))
    )
    return left, top, left + side, top + side
