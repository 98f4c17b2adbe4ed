r"""Choices in a prompt, drawn from a seed.

    {a|b|c}            one of them            {2$$a|b|c}       two different ones, with ", " between
    {3::a|b}           a three times as often {1-2$$ and $$a|b}  one or two, with " and " between
    __hair__           a line of hair.txt     {2$$__hair__}    two different lines of it
    __people/hair__    a line of people/hair.txt  \{ \| \}     the characters themselves

Choices may hold choices, and lines of a file may hold both; a file is UTF-8, and its blank lines
and those that begin with # do not count. A brace without its partner is refused.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from autofix.errors import RecipeError
from autofix.imagefiles.own_files import check_stays_inside

DEEPEST = 30
"""Greatest depth of choices within choices."""

_COUNT = re.compile(r"\s*(\d{1,3})(?:-(\d{1,3}))?\$\$(?:([^{}|$]*)\$\$)?")
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)::")
_NAME = r"[^\W_](?:(?:(?!__)[\w.-])*[^\W_])?"
_TOKEN = re.compile(rf"\\(?P<plain>[{{}}|])|(?P<mark>[{{}}|])|__(?P<name>{_NAME}(?:/{_NAME})*)__")


@dataclass(frozen=True)
class File:
    """A line of a wildcard file."""

    name: str


@dataclass(frozen=True)
class Choice:
    """Some of several options, each with its weight."""

    options: tuple[tuple[float, Text], ...]
    least: int = 1
    most: int = 1
    between: str = ", "


Text = tuple[str | File | Choice, ...]
"""A parsed prompt: plain text, files and choices, in order."""


def draw_choices(prompt: str, generator: Random, folder: str) -> str:
    """The prompt with every choice made by `generator`; `folder` holds the wildcard files.

    The same generator state gives the same text, with every version of Python. Raises RecipeError.
    """
    return _draw_text(_parse_choices(prompt), generator, folder)


def check_choices(prompt: str, folder: str) -> None:
    """Raises RecipeError for anything that would fail in some draw of the prompt."""
    _check_choice(_parse_choices(prompt), folder, ())


def _parse_choices(prompt: str) -> Text:
    """The parsed prompt; raises RecipeError for braces without a partner."""
    opened: list[tuple[list[Text], re.Match[str] | None]] = []  # the choices around this place
    here: list[str | File | Choice] = []
    at = 0
    while match := _TOKEN.search(prompt, at):
        here.append(prompt[at : match.start()])
        at = match.end()
        mark = match["mark"]
        if mark == "{":
            if len(opened) == DEEPEST:
                raise _malformed_choice(prompt, f"has choices within choices {DEEPEST} deep")
            count = _COUNT.match(prompt, at)
            at = count.end() if count else at
            opened.append(([tuple(here)], count))
            here = []
        elif mark == "|" and opened:
            opened[-1][0].append(tuple(here))
            here = []
        elif mark == "}":
            if not opened:
                raise _malformed_choice(prompt, "has a } without its {")
            (before, *options), count = opened.pop()
            here = [*before, _parse_choice([*options, tuple(here)], count, prompt)]
        elif match["name"]:
            here.append(File(match["name"]))
        else:
            here.append(match["plain"] or mark)
    if opened:
        raise _malformed_choice(prompt, "has a { without its }")
    return (*here, prompt[at:])


def _parse_choice(options: list[Text], count: re.Match[str] | None, prompt: str) -> Choice:
    weighed = tuple(_split_weight(option) for option in options)
    if not any(weight for weight, _ in weighed):
        raise _malformed_choice(prompt, "has a choice whose weights are all 0")
    if count is None:
        return Choice(weighed)
    least, most = int(count[1]), int(count[2] or count[1])
    if least > most:
        raise _malformed_choice(prompt, f"asks for {least} to {most} of a choice")
    return Choice(weighed, least, most, ", " if count[3] is None else count[3])


def _split_weight(option: Text) -> tuple[float, Text]:
    """An option's weight, and the option without the spaces around it."""
    texts = [each for each in option if each != ""]
    weight = 1.0
    if texts and isinstance(first := texts[0], str) and (match := _WEIGHT.match(first)):
        weight, texts[0] = float(match[1]), first[match.end() :]
    if texts and isinstance(texts[0], str):
        texts[0] = texts[0].lstrip()
    if texts and isinstance(texts[-1], str):
        texts[-1] = texts[-1].rstrip()
    return weight, tuple(texts)


def _draw_text(text: Text, generator: Random, folder: str) -> str:
    return "".join(
        each if isinstance(each, str) else _pick_options(each, generator, folder) for each in text
    )


def _pick_options(each: File | Choice, generator: Random, folder: str) -> str:
    if isinstance(each, File):
        each = Choice(_file_lines(each.name, folder))
    options = list(_choice_options(each, folder))
    wanted = each.least + int(generator.random() * (each.most - each.least + 1))
    picked: list[str] = []
    while len(picked) < wanted and any(weight for weight, _ in options):
        place = _draw_by_weight([weight for weight, _ in options], generator)
        picked.append(_draw_text(options.pop(place)[1], generator, folder))
    return each.between.join(picked)


def _choice_options(choice: Choice, folder: str) -> tuple[tuple[float, Text], ...]:
    """The options; of a file alone its lines, so that {2$$__hair__} gives two different ones."""
    if len(choice.options) == 1 and len(only := choice.options[0][1]) == 1:
        (single,) = only
        if isinstance(single, File):
            return _file_lines(single.name, folder)
    return choice.options


def _draw_by_weight(weights: list[float], generator: Random) -> int:
    """An index drawn by weight. Only `random` is promised to give the same in every Python."""
    point, chosen = generator.random() * sum(weights), 0
    for place, weight in enumerate(weights):
        if weight:
            chosen = place
            point -= weight
        if point < 0:
            break
    return chosen


def _file_lines(name: str, folder: str) -> tuple[tuple[float, Text], ...]:
    """A file's lines with their weights. Raises RecipeError where there is no such file."""
    if not folder:
        raise RecipeError(
            f"the prompt names the wildcard __{name}__, but there is no folder of wildcards",
            "set prompt.wildcards to a folder that holds " + f"{name}.txt",
        )
    path = Path(folder).expanduser() / f"{name}.txt"
    try:
        check_stays_inside(Path(os.path.realpath(path)), path.parents[name.count("/")])
        if path.exists() and not path.is_file():
            raise OSError(0, "it is no plain file")
        return _read_lines(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise _no_file(name, folder, error) from error


@lru_cache(maxsize=256)
def _read_lines(path: Path, changed_ns: int) -> tuple[tuple[float, Text], ...]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    options = tuple(
        _split_weight(_parse_choices(line)) for line in lines if line and not line.startswith("#")
    )
    if not any(weight for weight, _ in options):
        raise RecipeError(f"the wildcards {path} hold no choice", "write one a line")
    return options


def _no_file(name: str, folder: str, error: Exception) -> RecipeError:
    root = Path(folder).expanduser()
    there = sorted(
        path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.txt")
    )
    near = [each for each in difflib.get_close_matches(name, there, n=2) if each != name]
    reason = getattr(error, "strerror", None) or "it is not UTF-8"
    return RecipeError(
        f"the wildcard __{name}__ cannot be read from {folder} ({reason})",
        f"did you mean __{near[0]}__?"
        if near
        else f"set prompt.wildcards to the folder that holds {name}.txt",
    )


def _check_choice(text: Text, folder: str, inside: tuple[str, ...]) -> None:
    for each in text:
        if isinstance(each, File) and each.name in inside:
            raise RecipeError(
                f"the wildcard __{each.name}__ leads back to itself: "
                + " -> ".join((*inside, each.name)),
                "take it out of one of these files",
            )
        if isinstance(each, File):
            for _, line in _file_lines(each.name, folder):
                _check_choice(line, folder, (*inside, each.name))
        elif isinstance(each, Choice):
            for _, option in each.options:
                _check_choice(option, folder, inside)


def _malformed_choice(prompt: str, problem: str) -> RecipeError:
    shown = prompt if len(prompt) <= 80 else f"{prompt[:80]}..."
    return RecipeError(
        f"the prompt {shown!r} {problem}", r"write \{, \| and \} for the characters themselves"
    )
