"""The generation text of every program, read as one GenerationText."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from autofix.imagefiles import exif
from autofix.imagefiles.decode import PILLOW_ERRORS
from autofix.imagefiles.png import PARAMETERS_KEY
from autofix.metadata.comfyui import read_graph
from autofix.metadata.infotext import (
    GenerationText,
    comment_text,
    parse_generation,
    read_infotext,
)
from autofix.values import MaskValues, Source

Texts = dict[str, str]

_COMMENT_TAG = 0x9286
_TEXT_LIMIT_BYTES = 16 * 2**20
_HIDDEN = {b"stealth_pnginfo": False, b"stealth_pngcomp": True}
_OBJECTS = (PARAMETERS_KEY, "invokeai_metadata", "Comment")
_PROMPTS = ("positive_prompt", "prompt", "Prompt")
_NEGATIVES = ("negative_prompt", "negativeprompt", "uc", "Negative Prompt")
_SEEDS = ("seed", "Seed")
_MODELS = ("base_model", "model", "use_stable_diffusion_model")


def read_generation(source: Source) -> GenerationText | None:
    """The generation text in a picture's file, or None where it has none. Never raises.

    Read are infotext (A1111, Forge, SD.Next), ComfyUI, InvokeAI, NovelAI (also from the lowest
    bits of alpha), Fooocus, SwarmUI and Easy Diffusion, in PNG text and in EXIF. Only infotext has
    `settings` and `raw`. A graph or JSON that is broken or names no prompt counts as none.
    """
    found = read_infotext(source)
    if found is None:
        found = _read_dialects(_generation_of(source))
    return found or _read_dialects(_hidden_text(source.alpha))


def _read_dialects(texts: Texts) -> GenerationText | None:
    if not texts:
        return None
    for read in (_of_infotext, read_graph, _of_library, _of_object):
        try:
            found = read(texts)
        except PILLOW_ERRORS:  # the kinds that Pillow raises on damaged files
            continue
        if found and found.prompt.strip():
            return found
    return None


def _generation_of(source: Source) -> Texts:
    """The texts of a file by their keys, wherever it has them."""
    texts = dict(source.text)
    if not source.exif:
        return texts
    if comment := comment_text(source).strip():
        texts.setdefault(PARAMETERS_KEY, comment)
    try:
        tags = exif.for_pillow(source.exif)
    except PILLOW_ERRORS:
        return texts
    for tag, value in tags.items():
        if isinstance(value, bytes):
            text = value.decode("utf-8", "replace").rstrip("\0")
            key, colon, rest = text.partition(":")
            if tag == _COMMENT_TAG:  # Fooocus stores it in the wrong directory
                texts.setdefault(PARAMETERS_KEY, text)
            elif colon and key.lower() in ("prompt", "workflow"):  # ComfyUI in WebP
                texts.setdefault(key.lower(), rest)
    return texts


def _of_infotext(texts: Texts) -> GenerationText | None:
    """An infotext with settings: without, the text may be another program's."""
    found = parse_generation(texts.get(PARAMETERS_KEY, ""))
    return found if found and found.settings else None


def _of_library(texts: Texts) -> GenerationText | None:
    """The generation text that sd-parsers reads, by its parsers for single programs."""
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import FooocusParser, InvokeAIParser, NovelAIParser

    for kind in (FooocusParser, InvokeAIParser, NovelAIParser):
        try:
            info = kind().parse(dict(texts))
        except ParserError:
            continue
        sampler = info.samplers[0]
        return GenerationText(
            prompt=info.full_prompt,
            negative_prompt=info.full_negative_prompt,
            seed=_whole_number(sampler.parameters.get("seed")),
            model=str(sampler.model or ""),
        )
    return None


def _of_object(texts: Texts) -> GenerationText | None:
    """A JSON object, or the texts themselves, with a prompt under one of its usual names."""
    for stated in _json_objects(texts):
        prompt = _first_of(stated, _PROMPTS)
        if isinstance(prompt, str) and not prompt.lstrip().startswith("{"):
            model = _first_of(stated, _MODELS)
            return GenerationText(
                prompt=prompt,
                negative_prompt=str(_first_of(stated, _NEGATIVES) or ""),
                seed=_whole_number(_first_of(stated, _SEEDS)),
                model=model if isinstance(model, str) else "",
            )
    return None


def _json_objects(texts: Texts) -> Iterator[Mapping[str, Any]]:
    for key in _OBJECTS:
        if texts.get(key, "").lstrip().startswith("{"):
            stated = json.loads(texts[key])
            yield stated.get("sui_image_params", stated)
    yield texts


def _first_of(stated: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((stated[key] for key in keys if key in stated), None)


def _whole_number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _hidden_text(alpha: MaskValues | None) -> Texts:
    """The texts in alpha's lowest bits, read down the columns, as NovelAI hides them."""
    if alpha is None:
        return {}
    bits = (alpha & 1).T.reshape(-1)
    head = np.packbits(bits[: 19 * 8]).tobytes()
    if head[:15] not in _HIDDEN:
        return {}
    count = int.from_bytes(head[15:], "big")
    data = np.packbits(bits[19 * 8 : 19 * 8 + count]).tobytes()
    try:
        if _HIDDEN[head[:15]]:
            data = zlib.decompressobj(31).decompress(data, _TEXT_LIMIT_BYTES)
        text = data.decode()
        stated = json.loads(text) if text.startswith("{") else {PARAMETERS_KEY: text}
    except (ValueError, zlib.error, RecursionError):
        return {}
    return {key: value for key, value in stated.items() if isinstance(value, str)}
