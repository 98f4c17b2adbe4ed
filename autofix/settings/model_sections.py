"""The settings of the model: which one, its prompt, sampling, soft inpainting, and its device."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from autofix.settings.section import Auto, Part, Section

_CONTROL = re.compile(r"(?P<model>.+?)(:(?P<module>[a-zA-Z][\w+]*))?(:(?P<weight>[\d.]+))?")


class Control(Section):
    """One ControlNet: it steers the inpainting by a control image made from the crop.

    Also a text: MODEL, MODEL:MODULE, MODEL:WEIGHT or MODEL:MODULE:WEIGHT.
    """

    model: str = Field(
        description="A ControlNet: a diffusers folder, a .safetensors file, or a name found in the "
        "ControlNet folder of [models]."
    )
    module: str = Field(
        "auto",
        description="What makes the control image: tile_resample, canny, inpaint_only; with the "
        "control extra also lineart, openpose, depth, scribble. none: the crop itself. auto: what "
        "the ControlNet's name says, as ADetailer guesses, else none.",
    )
    weight: float = Field(1.0, ge=0, le=2, description="How much it steers.")
    start: Part = Field(0.0, description="From this share of the steps on.")
    end: Part = Field(1.0, description="Up to this share of the steps.")
    down_sampling: float = Field(
        1.0, ge=1, le=8, description="tile_resample: make the crop so many times smaller first."
    )
    low: float = Field(100.0, ge=1, le=255, description="canny: the low threshold.")
    high: float = Field(200.0, ge=1, le=255, description="canny: the high threshold.")

    @model_validator(mode="before")
    @classmethod
    def _parse_short_form(cls, given: Any) -> Any:
        parts = _CONTROL.fullmatch(given) if isinstance(given, str) else None
        return {k: v for k, v in parts.groupdict().items() if v} if parts else given

    @model_validator(mode="after")
    def _check_range(self) -> Control:
        if self.end < self.start:
            raise ValueError(f"end ({self.end}) must not be less than start ({self.start})")
        return self


class Model(Section):
    """What inpaints."""

    name: str = Field(
        "builtin",
        description="builtin, null (changes nothing), a diffusers folder, a checkpoint or "
        "face-restoration file, a name from [models], or a hub id (owner/name).",
    )
    revision: str = Field("", description="Hub id: the branch, tag or commit. Empty: the newest.")
    trust_pickle: bool = Field(
        False,
        description="Load checkpoints (.ckpt .pt .pth .bin) that can run code. A recipe file "
        "cannot set it: give --trust-pickle.",
    )
    vae: str = Field(
        "",
        description="A VAE in place of the model's own: a diffusers folder, a .safetensors file, "
        "or a name found in the VAE folder of [models].",
    )
    clip_skip: int = Field(
        1, ge=1, le=12, description="CLIP skip, as A1111 counts: 1 is CLIP's last layer."
    )


class Prompt(Section):
    """What the model draws."""

    positive: str = Field(
        "",
        description="What to draw; [SEP] parts the prompts of face 1, 2, ..., [PROMPT] is the "
        "picture's own prompt, [SKIP] leaves a face alone. Empty: the picture's own, else one that "
        "suits the label. The built-in face model does not read it.",
    )
    negative: str = Field(
        "", description="What not to draw, with the same grammar. Empty: the picture's own."
    )
    wildcards: str = Field(
        "", description="Folder of NAME.txt files, one choice a line, for __NAME__ in a prompt."
    )
    same_seed: bool = Field(
        False,
        description="Inpaint all things of a picture with one seed, so that {a|b} and __NAME__ in "
        "a prompt are drawn alike for all of them.",
    )


class Sampling(Section):
    """How the noise is taken away."""

    steps: Auto | Annotated[int, Field(ge=1, le=1000)] = Field(
        "auto",
        description="Sampling steps at strength 1; strength takes its share of them. "
        "auto: the model's own, else 28.",
    )
    step_count: Literal["auto", "a1111", "diffusers", "exact"] = Field(
        "auto",
        description="How many of the steps are done. a1111: the whole part of strength times "
        "steps, and one more; diffusers: the whole part alone; exact: all steps, whatever the "
        "strength. auto: the model's own, else a1111.",
    )
    sampler: str = Field(
        "auto",
        description="A sampler by A1111's name. auto: the model's own, else DPM++ 2M Karras.",
    )
    cfg: Auto | Annotated[float, Field(ge=0, le=100)] = Field(
        "auto",
        description="CFG scale. 1 or less: no negative prompt. auto: the model's own, else 7.",
    )
    noise_multiplier: float = Field(
        1.0, ge=0, le=1.5, description="Multiplies the noise that inpainting starts from."
    )
    min_guidance_sigma: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Negative Guidance minimum sigma: below this noise level the negative prompt "
        "is skipped at every second step, which is faster. 0: off.",
    )
    guidance_start: Part = Field(0.0, description="CFG only from this share of the steps on.")
    guidance_end: Part = Field(1.0, description="CFG only up to this share of the steps.")


class Inpaint(Section):
    """How much of a thing is drawn anew, and from what."""

    strength: Auto | Part | Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
        "auto",
        description="Denoising strength: 0 keeps everything, 1 starts from noise. A list is one "
        "for each cycle, the last repeated. auto: what suits the model and the face's size.",
    )
    dynamic_power: float = Field(
        0.0,
        ge=-10,
        le=10,
        description="ADetailer's dynamic denoising: strength times (1 - box area / picture area) "
        "to this power, kept within 0 and 1. 0: off.",
    )
    cycles: int = Field(
        1, ge=1, le=10, description="Inpaint so many times, each starting from the last."
    )
    candidates: int = Field(
        1,
        ge=1,
        le=64,
        description="Inpaint each thing so many times with different seeds; the check's score "
        "picks the best.",
    )
    masked_content: Literal["original", "fill", "latent-noise", "latent-nothing"] = Field(
        "original",
        description="What the masked pixels start from: themselves, the colours around the mask, "
        "noise, or nothing. Only original works with the built-in face model.",
    )
    control: tuple[Control, ...] = Field((), description="ControlNets, several at once.")


class Soft(Section):
    """Soft inpainting: a mask that is soft in latent space too (differential diffusion)."""

    enabled: bool = Field(
        False,
        description="Soft inpainting: a mask that is soft in latent space too (differential "
        "diffusion).",
    )
    bias: float = Field(
        1.0, ge=0, le=8, description="Soft inpainting's schedule bias: above 1, the original "
        "holds more in the first, noisy steps; below 1, more in the last.",
    )  # fmt: skip
    preservation: float = Field(
        0.5, ge=0, le=8, description="Soft inpainting's preservation strength: how much of the "
        "original a half covered pixel keeps at each step.",
    )  # fmt: skip
    contrast: float = Field(
        4.0, ge=1, le=32, description="Soft inpainting's transition contrast boost: how sharply "
        "original and new content part where they differ.",
    )  # fmt: skip
    mask_influence: float = Field(
        0.0, ge=0, le=1, description="Soft inpainting: how much the drawn mask bounds the final "
        "paste. 0: only what changed inside it decides.",
    )  # fmt: skip
    threshold: float = Field(
        0.5, ge=0, le=8, description="Soft inpainting's difference threshold: a smaller change "
        "of the latents shows at half opacity or less.",
    )  # fmt: skip
    difference_contrast: float = Field(
        2.0, ge=0, le=8, description="Soft inpainting's difference contrast: how sharply that "
        "threshold cuts.",
    )  # fmt: skip


class Restoration(Section):
    """Face-restoration networks (GFPGAN, RestoreFormer, CodeFormer) as the model."""

    visibility: Part = Field(
        1.0, description="Face-restoration networks: how much of their picture shows."
    )
    codeformer_weight: Part = Field(
        0.5, description="CodeFormer: 0 restores most, 1 keeps closest to the face."
    )


class Device(Section):
    """Where the model computes, and how it is made to fit."""

    name: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="auto: float16 on cuda and mps (bfloat16 for SD3, Flux and their like, where "
        "the card has it), float32 on the CPU.",
    )
    vram: Literal["auto", "low", "min"] = Field(
        "auto",
        description="auto: all of the model stays on the device. low: only the part at work, and "
        "the VAE in slices and tiles. min: layer by layer, slow.",
    )
    compile: bool = Field(
        False, description="torch.compile: a slow start, then faster on a GPU; for long runs."
    )
    batch_size: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="How many faces, of any pictures, are inpainted at once."
    )
