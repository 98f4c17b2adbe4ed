"""Finds the files that a command's inputs name, and where their results go."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autofix.errors import UsageError
from autofix.imagefiles.decode import optional_formats

PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
    *(f".{name.lower()}" for name in optional_formats()),
)
"""The suffixes, in lower case, of the files that are taken from a folder."""


@dataclass(frozen=True)
class FoundFile:
    """A file to fix, and its result's path below the output folder, with "/" between folders."""

    path: Path
    relative: str


def find_pictures(inputs: Sequence[Path], *, out: Path | None) -> tuple[FoundFile, ...]:
    """The files that the inputs stand for, each once, in the inputs' order.

    A folder gives the pictures in it and below it, sorted, relative to it; hidden ones and those in
    `out` are left out; linked folders are followed, but none is visited twice. A file gives itself,
    whatever its suffix, by its name alone. A pattern with * ? or [ that names no file stands for
    the pictures and folders it matches, relative to its part before the first such character.
    Raises UsageError for an input that is not there, for a folder that cannot be listed, and where
    `out` would get two results of one name or a result in place of an input.
    """
    avoided = os.path.realpath(out) if out is not None else None
    found: dict[str, FoundFile] = {}
    for given in inputs:
        for one in _expand_input(os.fspath(given), avoided):
            found.setdefault(_path_identity(os.fspath(one.path)), one)
    if out is not None:
        _check_results(found, os.fspath(out))
    return tuple(found.values())


def walk_pictures(
    folder: Path, *, out: Path | None, on_error: Callable[[str, OSError], object]
) -> Iterator[FoundFile]:
    """The files that `find_pictures` gives for a folder, in no order; it may change meanwhile.

    Calls `on_error` with each folder that cannot be listed and the error, and goes on.
    """
    avoided = os.path.realpath(out) if out is not None else None
    return _walk_folder(os.fspath(folder), avoided, on_error)


def printable(path: Path | str) -> str:
    """A file's name with the characters escaped that cannot be printed."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in os.fspath(path)
    )


def _expand_input(given: str, avoided: str | None) -> list[FoundFile]:
    """The files that one input names."""
    if os.path.isdir(given):
        return _sort_found(_walk_folder(given, avoided))
    if os.path.isfile(given):
        return [FoundFile(Path(given), os.path.basename(given))]
    if os.path.exists(given):
        raise UsageError(
            f"{printable(given)} is neither a file nor a folder", "name a picture file"
        )
    if glob.has_magic(given):
        return _matching_paths(given, avoided)
    raise UsageError(
        f"{printable(given)} is not there", "name a file, a folder or a pattern like *.png"
    )


def _matching_paths(pattern: str, avoided: str | None) -> list[FoundFile]:
    """The pictures that a pattern matches, and those in the folders it matches."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = os.path.join(*parts[:fixed]) if fixed else ""
    avoided = _avoided_below(base or os.curdir, avoided)
    found: list[FoundFile] = []
    for path in glob.iglob(pattern, recursive=True):
        relative = os.path.relpath(path, base or os.curdir).replace(os.sep, "/")
        if os.path.isfile(path):
            folder = os.path.realpath(os.path.dirname(path))
            if _is_picture(path) and not is_inside(folder, avoided):
                found.append(FoundFile(Path(path), relative))
        elif parts[-1] != "**" and not is_inside(os.path.realpath(path), avoided):
            below = _walk_folder(path, avoided)
            found += [FoundFile(one.path, f"{relative}/{one.relative}") for one in below]
    if not found:
        raise UsageError(f"{printable(pattern)} matches no picture", "check the pattern")
    found.sort(key=lambda one: (one.relative.count("/"), one.relative))
    once: dict[str, FoundFile] = {}
    for one in found:
        once.setdefault(_path_identity(os.fspath(one.path)), one)
    return _sort_found(once.values())


def _walk_folder(
    root: str, avoided: str | None, on_error: Callable[[str, OSError], object] | None = None
) -> Iterator[FoundFile]:
    """The pictures in a folder and below it; folders in it before folders that it links to."""
    real_root = os.path.realpath(root)
    results = None if is_inside(real_root, avoided) else avoided
    visited = set[str]()
    linked = deque([(root, "")])
    while linked:
        folders = [linked.popleft()]
        while folders:
            folder, prefix = folders.pop()
            real = os.path.realpath(folder)
            if real in visited or is_inside(real, results):
                continue
            if real != real_root and is_inside(real_root, real):
                continue
            visited.add(real)
            for entry in _folder_entries(folder, on_error):
                if entry.is_symlink() and os.path.isdir(entry.path):
                    linked.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, f"{prefix}{entry.name}/"))
                elif _is_picture(entry.name) and os.path.isfile(entry.path):
                    yield FoundFile(Path(entry.path), prefix + entry.name)


def _folder_entries(
    folder: str, on_error: Callable[[str, OSError], object] | None
) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, sorted."""
    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        if on_error is not None:
            on_error(folder, error)
            return []
        raise UsageError(
            f"{printable(folder)} cannot be listed ({error.strerror})",
            "give yourself the right to read it, or name the folders beside it",
        ) from error
    return sorted(listed, key=lambda entry: entry.name)


def _check_results(found: dict[str, FoundFile], out: str) -> None:
    """Refuses two results of one name, and a result in place of an input."""
    takers: dict[str, FoundFile] = {}
    real_folders: dict[str, str] = {}
    for one in found.values():
        other = takers.setdefault(one.relative, one)
        if other is not one:
            raise UsageError(
                f"{printable(other.path)} and {printable(one.path)} would both become "
                f"{printable(os.path.join(out, one.relative))}",
                "name the folder that holds both, or give each its own run and -o",
            )
        folder, name = os.path.split(os.path.join(out, one.relative))
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        if os.path.join(real_folders[folder], name) in found:
            raise UsageError(
                f"{printable(os.path.join(folder, name))} is an input, and a result would "
                "replace it",
                "name another folder with -o, or use --in-place with --backup",
            )


def _path_identity(path: str) -> str:
    """One path for a file, whichever links lead to its folder."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def is_inside(path: str, folder: str | None) -> bool:
    """Whether a real path is a real folder or lies in it."""
    return folder is not None and (
        path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
    )


def _avoided_below(root: str, avoided: str | None) -> str | None:
    """The folder to avoid, if it lies below the root and is not the root itself."""
    real_root = os.path.realpath(root)
    return avoided if avoided != real_root and is_inside(avoided or "", real_root) else None


def _sort_found(found: Iterable[FoundFile]) -> list[FoundFile]:
    return sorted(found, key=lambda one: one.relative)
