"""Our own record inside a picture: what was fixed, and with which recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from autofix.imagefiles import exif
from autofix.imagefiles.decode import PILLOW_ERRORS
from autofix.imagefiles.png import PARAMETERS_KEY, RECORD_KEY
from autofix.metadata.adetailer_infotext import PREFIX, VERSION_KEY, Pairs, infotext_keys, tabs_of
from autofix.metadata.adetailer_recipe import args_of
from autofix.metadata.infotext import (
    SETTING,
    GenerationText,
    format_generation,
    parse_generation,
    read_infotext,
)
from autofix.records import version
from autofix.settings.recipe import Recipe
from autofix.values import Outcome, RegionResult, Source

_MARK = "autofix version"
"""The first of our keys in an infotext: a later fix replaces it and our keys after it."""

_JPEG_LIMIT_BYTES = 65_533


def record_fix(source: Source, outcome: Outcome, recipe: Recipe) -> Source:
    """The source with a record of the fix; unchanged where nothing was inpainted.

    The infotext stays whole; to its last line come `autofix version` and ADetailer's keys, a tab
    for each pass, after the tabs that are already there. The record itself, JSON under "autofix",
    is a PNG text; in other formats it is the last key of the infotext, or without infotext a line
    of the EXIF description. An earlier record and its keys are replaced. What does not fit into a
    JPEG, or an EXIF block that is damaged, leaves the record out, with a line in `notes`.
    """
    if not outcome.changed:
        return source
    generation = read_infotext(source)
    if generation is not None:
        generation = parse_generation(_without_ours(generation.raw)) or GenerationText()
    keys = _infotext_pairs(generation, outcome, recipe)
    record = _record_of(outcome, recipe)
    if source.format == "PNG":
        return _in_png(source, generation, keys, record)
    for written in (record, {**record, "regions": [], "regions_left_out": len(record["regions"])}):
        try:
            block = _in_exif(source, generation, keys, written)
        except PILLOW_ERRORS:
            return _with_note(source, "its EXIF block is damaged, so that no record was added")
        if source.format != "JPEG" or len(block) <= _JPEG_LIMIT_BYTES:
            return replace(source, exif=block)
    return _with_note(source, "the record of what was fixed does not fit into its EXIF block")


def read_record(source: Source) -> dict[str, Any] | None:
    """The record that `record_fix` left in a picture, or None. Never raises."""
    text = dict(source.text).get(RECORD_KEY)
    if text is None and (generation := read_infotext(source)) is not None:
        text = dict(generation.settings).get(RECORD_KEY)
    try:
        if text is None and source.exif:
            text = exif.read_description(source.exif).get(RECORD_KEY)
        record = json.loads(text or "")
    except PILLOW_ERRORS:
        return None
    return record if isinstance(record, dict) else None


def _in_png(
    source: Source, generation: GenerationText | None, keys: Pairs, record: dict[str, Any]
) -> Source:
    texts = {RECORD_KEY: json.dumps(record)}
    if generation is not None and PARAMETERS_KEY in dict(source.text):
        texts[PARAMETERS_KEY] = format_generation(generation, extra=keys)
    kept = [(key, texts.pop(key, value)) for key, value in reversed(source.text)]
    return replace(source, text=(*reversed(kept), *texts.items()))


def _in_exif(
    source: Source, generation: GenerationText | None, keys: Pairs, record: dict[str, Any]
) -> bytes:
    text = json.dumps(record)
    if generation is None:
        return exif.with_text(source.exif, comment=None, described={RECORD_KEY: text})
    comment = format_generation(generation, extra=[*keys, (RECORD_KEY, text)])
    return exif.with_text(source.exif, comment=comment, described={})


def _infotext_pairs(generation: GenerationText | None, outcome: Outcome, recipe: Recipe) -> Pairs:
    settings = generation.settings if generation else ()
    first = max(tabs_of(settings), default=0) + 1
    keys = [(_MARK, version())]
    for index, one_pass in enumerate(recipe.each_pass):
        keys += infotext_keys(args_of(one_pass, _results_of_pass(outcome, index)), first + index)
    if VERSION_KEY not in dict(settings):
        keys.append((VERSION_KEY, f"autofix {version()}"))
    return keys


def _results_of_pass(outcome: Outcome, index: int) -> list[RegionResult]:
    return [result for result in outcome.results if result.region.pass_index == index]


def _record_of(outcome: Outcome, recipe: Recipe) -> dict[str, Any]:
    return {
        "version": version(),
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True),
        "regions": [_region_entry(result) for result in outcome.results],
    }


def _region_entry(result: RegionResult) -> dict[str, Any]:
    region = result.region
    return {
        "pass": region.pass_index + 1,
        "index": region.index + 1,
        "label": region.detection.label,
        "score": round(region.detection.score, 4),
        "box": [round(edge, 2) for edge in region.detection.box_xyxy],
        "seed": region.seed,
        "prompt": region.prompt,
        "negative_prompt": region.negative_prompt,
        "strength": round(region.strength, 4),
        "result": result.status,
        "reason": result.reason,
    }


def _without_ours(raw: str) -> str:
    """An infotext as it was before an earlier fix: without our mark and our keys after it."""
    head, newline, line = raw.rpartition("\n")
    found = list(SETTING.finditer(line))
    marks = [place for place, match in enumerate(found) if match[1] == _MARK]
    if not marks:
        return raw
    before = line[: found[marks[0]].start()].rstrip().removesuffix(",")
    others = [
        match[0].strip().removesuffix(",")
        for match in found[marks[0] :]
        if not match[1].startswith((PREFIX, RECORD_KEY))
    ]
    line = ", ".join(filter(None, (before, *others)))
    return f"{head}{newline}{line}" if line else head


def _with_note(source: Source, note: str) -> Source:
    return replace(source, notes=(*source.notes, note))
