"""The prompt, negative prompt and seed of every region.

    a portrait [SEP] an old man [SEP] [SKIP]      parts for the regions of a picture, in order
    [SEP:largest] the queen [SEP:area<1%] [SKIP]  parts for the regions that a rule selects
    [PROMPT], smiling                             [PROMPT] is the picture's own prompt
    {red|green} eyes, __hair__                    choices, drawn from the region's seed

The parts are in `grammar`, the choices in `wildcards`. Attention weights, BREAK and <lora:...>
belong to the engine and stay in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Literal

from autofix.metadata import GenerationText
from autofix.prompts.grammar import assign_parts, split_parts
from autofix.prompts.wildcards import check_choices, draw_choices
from autofix.values import Region

if TYPE_CHECKING:
    from autofix.settings.model_sections import Prompt

OWN = "[PROMPT]"
"""Stands for the picture's own prompt."""

_SKIP = re.compile(r"\s*\[SKIP\]\s*")

_FINE = "detailed, sharp focus, high quality"
_POOR = "blurry, deformed, low quality"

DEFAULTS = {
    "face": (f"face, clear eyes, natural skin, {_FINE}", f"{_POOR}, asymmetric eyes"),
    "hand": (f"hand, five fingers, {_FINE}", f"{_POOR}, extra fingers, missing fingers"),
    "person": (f"person, {_FINE}", _POOR),
}
"""Label -> prompt and negative prompt for a picture without generation text."""


def assign_prompts(
    regions: Sequence[Region],
    settings: Prompt,
    *,
    main: GenerationText | None,
    picture_wh: tuple[int, int],
    seed: int,
) -> tuple[Region, ...]:
    """The regions, each with its seed, and those to be inpainted with their prompts.

    A region's seed is `seed` + its index, or `seed` where `settings.same_seed`. A region to be
    inpainted (without `skip`) gets its part of the prompt and, chosen separately, of the negative
    prompt; a [SKIP] part marks it as skipped. Positions count the regions to be inpainted, as
    ADetailer's do; a part that skips uses up its position. `main` is the picture's generation text:
    its prompt stands for an empty part and for [PROMPT], unchanged. Raises RecipeError for an
    invalid rule, choice or wildcard, whether or not this picture needs it.
    """
    check_prompts(settings)
    seeded = [
        replace(region, seed=seed if settings.same_seed else seed + region.index)
        for region in regions
    ]
    unskipped = [region for region in seeded if not region.skip]
    wanted = assign_parts(split_parts(settings.positive), unskipped, picture_wh)
    unwanted = assign_parts(split_parts(settings.negative), unskipped, picture_wh)
    done = {
        region.index: _with_prompts(region, settings, main, *texts)
        for region, *texts in zip(unskipped, wanted, unwanted, strict=True)
    }
    return tuple(done.get(region.index, region) for region in seeded)


def picture_seed(seed: int | Literal["auto"], main: GenerationText | None) -> int:
    """The recipe's seed; where that is auto the one that the picture names, else 0."""
    if seed == "auto":
        seed = (main.seed if main else None) or 0
    return min(max(seed, 0), 2**63 - 1)


def check_prompts(settings: Prompt) -> None:
    """Raises RecipeError for prompts with invalid rules, braces or wildcard files."""
    _check_texts(settings.positive, settings.negative, settings.wildcards)


@lru_cache(maxsize=64)
def _check_texts(prompt: str, negative: str, folder: str) -> None:
    for part in (*split_parts(prompt), *split_parts(negative)):
        check_choices(part.text, folder)


def _with_prompts(
    region: Region,
    settings: Prompt,
    main: GenerationText | None,
    part: str,
    negative_part: str,
) -> Region:
    own, own_negative = _own_prompts(main, region.detection.label)
    # Each prompt has its own generator: a change to one does not change what the other draws.
    seed, folder = region.seed, settings.wildcards
    prompt = _fill_in(part, own, Random(f"{seed} prompt"), folder)
    negative = _fill_in(negative_part, own_negative, Random(f"{seed} negative"), folder)
    region = replace(region, prompt=prompt, negative_prompt=negative)
    return region.with_skip("[SKIP] in its prompt") if _SKIP.fullmatch(prompt) else region


def _fill_in(part: str, own: str, generator: Random, folder: str) -> str:
    """The part with its choices made, and the picture's own prompt where it is asked for.

    Only a part without a single character stands for the picture's own, as in ADetailer.
    """
    return draw_choices(part, generator, folder).replace(OWN, own) if part else own


def _own_prompts(main: GenerationText | None, label: str) -> tuple[str, str]:
    """The picture's own prompts; without a prompt of its own, the label's defaults."""
    if main is not None and main.prompt.strip():
        return main.prompt, main.negative_prompt
    return DEFAULTS.get(label.lower(), (f"{label}, {_FINE}", _POOR))
