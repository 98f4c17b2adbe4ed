"""Fixes files in place, for `autofix hook`: by a worker whose models are loaded, or here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofix.errors import UsageError
from autofix.frontends import ipc
from autofix.imagefiles.discovery import FoundFile, printable

if TYPE_CHECKING:  # the caller of a worker loads no model library
    from autofix.frontends.files.batch import Record
    from autofix.pipeline.pipeline import Pipeline
    from autofix.settings.recipe import Recipe


def fix_in_place(
    pipeline: Pipeline,
    paths: Sequence[Path],
    backup: Path | None,
    *,
    recipe: Recipe | None = None,
) -> Iterator[Record]:
    """As `autofix run --in-place`: one record a file, folder by folder, each with its own journal.

    Originals go to `backup` under their whole path, so that no two can meet there. Links are
    followed. `recipe` takes the place of the pipeline's own. Raises UsageError for what is neither
    a file nor absent, and for settings that do not hold.
    """
    from autofix.frontends.files.batch import Batch, Destination

    found = [FoundFile(path, backup_name(path)) for path in map(_resolve_file, paths)]
    for folder, group in groupby(found, key=lambda one: one.path.parent):
        unique = {one.path: one for one in group}
        with Batch(pipeline, Destination(None, folder, backup), recipe=recipe) as batch:
            yield from batch.run([*unique.values()])


def ask_worker(
    paths: Sequence[Path], backup: Path | None, settings: Mapping[str, object]
) -> Iterator[Record] | None:
    """The worker's records, in the order of the paths; None where no worker listens.

    `settings` are by dotted name, and those of `client_settings.ALLOWED`. Raises what `ipc.call`
    does; UsageError too for a path outside the worker's roots.
    """
    places: dict[str, Any] = {
        "files": [str(path.absolute()) for path in paths],
        "backup": str(backup.absolute()) if backup else None,
    }
    return ipc.call({**places, "settings": dict(settings)})


def answer_hook(pipeline: Pipeline, roots: Sequence[Path]) -> Callable[[Any], Iterator[Record]]:
    """A function for `ipc.listening` that fixes files in the roots, for calls of `ask_worker`.

    Links are resolved, in the roots and in the paths of a call. Calls are answered one after the
    other, so that no file is fixed twice at a time.
    """
    real_roots = [Path(os.path.realpath(root)) for root in roots]
    turn = threading.Lock()

    def resolve_inside(given: object) -> Path:
        if not isinstance(given, str) or not os.path.isabs(given):
            raise UsageError(f"{given!r} is no whole path", "use the same version of autofix")
        path = Path(os.path.realpath(given))
        if not any(path.is_relative_to(root) for root in real_roots):
            raise UsageError(
                f"{printable(path)} is outside {' and '.join(map(printable, real_roots))}",
                "start autofix with --root and a folder that holds it",
            )
        return path

    def answer_call(message: Mapping[str, Any]) -> Iterator[Record]:
        from autofix.frontends.http.client_settings import apply_client_settings

        recipe = apply_client_settings(pipeline.recipe, message.get("settings") or {})
        given = message.get("backup")
        backup = None if given is None else resolve_inside(given)
        paths = [_resolve_file(resolve_inside(path)) for path in message.get("files") or ()]
        with turn:
            records = fix_in_place(pipeline, sorted(paths), backup, recipe=recipe)
            done = {record["input"]: record for record in records}
        yield from (done[str(path)] for path in paths)

    return answer_call


def _resolve_file(path: Path) -> Path:
    """The path with its links resolved. Raises UsageError for a folder, a pipe or the like."""
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not path.is_file():
        raise UsageError(f"{printable(path)} is no file", "autofix run takes folders")
    return path


def backup_name(path: Path) -> str:
    """The path below the backup folder: the whole path without its root, with "/"."""
    drive = path.drive.strip("\\/:").replace("\\", "/")
    return "/".join(filter(None, (drive, *path.parts[1:])))
