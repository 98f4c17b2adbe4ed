"""AUTOMATIC1111's "infotext", parsed and formatted.

It is the prompt, a line that begins with "Negative prompt:", and a last line of settings. It is in
the PNG text "parameters", or in the EXIF user comment of other formats. It is parsed by that
program's own rules, including the surprising ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autofix.imagefiles import exif
from autofix.imagefiles.png import PARAMETERS_KEY
from autofix.values import Source

NEGATIVE_PREFIX = "Negative prompt:"
"""The beginning of the negative prompt's first line."""

_LEAST_SETTINGS = 3
SETTING = re.compile(r'(\w[\w \-/]{1,200}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""Key and value of a setting: that program's pattern, with a bound on a key against long texts."""

_INTEGER = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True)
class GenerationText:
    """How a picture was generated, as far as its file states it.

    `settings` are the keys and values of an infotext's last line, in order, unquoted; `seed` and
    `model` are its values of "Seed" and "Model". `raw` is the infotext it was read from.
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    model: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    raw: str = ""


def read_infotext(source: Source) -> GenerationText | None:
    """The generation text in a picture's infotext, or None where it has none.

    A JSON object is another program's and not read. A user comment with neither settings nor a
    negative prompt is no infotext. Never raises.
    """
    texts = dict(source.text)
    if PARAMETERS_KEY in texts:
        return parse_generation(texts[PARAMETERS_KEY])
    found = parse_generation(comment_text(source))
    return found if found and (found.settings or NEGATIVE_PREFIX in found.raw) else None


def comment_text(source: Source) -> str:
    """The EXIF user comment, decoded; "" where there is none. Never raises."""
    comment = exif.user_comment(source.exif) if source.exif else None
    return "" if comment is None else _comment_text(comment)


def parse_generation(raw: str) -> GenerationText | None:
    """The generation text in an infotext; None for a blank text or a JSON object. Never raises."""
    if not raw.strip() or _is_json_object(raw):
        return None
    *lines, last = raw.strip().split("\n")
    settings = tuple((key, _unquote_value(value)) for key, value in SETTING.findall(last))
    if len(settings) < _LEAST_SETTINGS:
        lines.append(last)
        settings = ()
    prompt, negative = _split_prompts(lines)
    values = dict(settings)
    seed = values.get("Seed", "").strip()
    return GenerationText(
        prompt=prompt,
        negative_prompt=negative,
        seed=int(seed) if _INTEGER.fullmatch(seed) else None,
        model=values.get("Model", "").strip(),
        settings=settings,
        raw=raw,
    )


def format_generation(text: GenerationText, *, extra: Sequence[tuple[str, str]] = ()) -> str:
    """The infotext of a generation text, with further settings appended to its last line.

    An unchanged one gives its `raw` text back, every character of it. A changed one is written anew
    from its prompts and settings, with `seed` and `model` among them. Fewer than three settings in
    all would be parsed as a part of the prompt.
    """
    added = ", ".join(f"{key}: {_quote_value(value)}" for key, value in extra)
    if not text.raw or parse_generation(text.raw) != text:
        text = replace(text, raw=_format_settings(text), settings=_full_settings(text))
    if not added:
        return text.raw
    body = text.raw.rstrip()
    return f"{body}, {added}" if text.settings else f"{body}\n{added}".lstrip()


def _split_prompts(lines: Sequence[str]) -> tuple[str, str]:
    """The prompt's lines and the negative prompt's, each joined again."""
    prompt, negative = "", ""
    in_negative = False
    for line in (line.strip() for line in lines):
        if line.startswith(NEGATIVE_PREFIX):
            in_negative = True
            line = line[len(NEGATIVE_PREFIX) :].strip()
        if in_negative:
            negative = f"{negative}\n{line}" if negative else line
        else:
            prompt = f"{prompt}\n{line}" if prompt else line
    return prompt, negative


def _full_settings(text: GenerationText) -> tuple[tuple[str, str], ...]:
    """The settings, with `seed` and `model` in place of their values."""
    wanted = {"Seed": "" if text.seed is None else str(text.seed), "Model": text.model}
    kept = []
    for key, value in text.settings:
        if key in wanted:
            value = wanted.pop(key) or value
        kept.append((key, value))
    return tuple(kept) + tuple((key, value) for key, value in wanted.items() if value)


def _format_settings(text: GenerationText) -> str:
    lines = [text.prompt]
    if text.negative_prompt:
        lines.append(f"{NEGATIVE_PREFIX} {text.negative_prompt}")
    if settings := _full_settings(text):
        lines.append(", ".join(f"{key}: {_quote_value(value)}" for key, value in settings))
    return "\n".join(lines)


def _quote_value(value: str) -> str:
    """A setting's value, as JSON where it would otherwise be parsed differently."""
    plain = value == value.strip() and not value.startswith('"') and not set(value) & set(",:\n")
    return value if plain else json.dumps(value, ensure_ascii=False)


def _unquote_value(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _is_json_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _comment_text(comment: bytes) -> str:
    """The text of an EXIF user comment, which begins with the name of its encoding."""
    code, body = comment[:8], comment[8:]
    if code == b"UNICODE\0":
        return _decode_utf16(body).rstrip("\0")
    if code == b"JIS\0\0\0\0\0":
        return body.decode("shift_jis", "replace").rstrip("\0")
    if code not in (b"ASCII\0\0\0", bytes(8)):
        body = comment
    try:
        return body.decode().rstrip("\0")
    except UnicodeDecodeError:
        return body.decode("latin-1").rstrip("\0")


def _decode_utf16(body: bytes) -> str:
    """UTF-16 without a byte order mark: writers disagree, so the order with more ASCII is taken."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    big, little = body.decode("utf-16-be", "replace"), body.decode("utf-16-le", "replace")
    return little if _ascii_count(little) > _ascii_count(big) else big


def _ascii_count(text: str) -> int:
    return sum("\0" < character < "\x7f" for character in text)
