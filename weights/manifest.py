"""The manifest: which model files there are, where each comes from and how it is recognised."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from weights.errors import ManifestError, UnknownNameError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("mediapipe-face", "mediapipe-hand", "face-mesh", "yolo", "diffusers")
MANIFEST = Path(__file__).parent / "manifest.toml"


@dataclass(frozen=True)
class Entry:
    """One model file, or for a built-in one possibly a folder. Checks itself when built."""

    name: str
    kind: str
    """What can load it: one of KINDS."""
    labels: tuple[str, ...]
    """What it finds or inpaints: face, hand, person."""
    file: str
    """Built-in: the path under weights/builtin. Else: the name in the cache and in the repo."""
    licence: str
    source: str
    """The page that tells where it is from."""
    repo: str | None = None
    """owner/name on the hub, together with `revision`."""
    revision: str | None = None
    """The commit: what a branch holds can change."""
    size: int | None = None
    """Bytes; None for a folder."""
    sha256: str | None = None
    """What every file is checked against; None for a folder."""
    sums: str | None = None
    """For a folder: the file inside it that lists the sha256 of each of the others."""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse an entry that could not be fetched, placed or checked."""
        if self.kind not in KINDS:
            raise self._entry_error(f"kind {self.kind!r}", f"it must be one of {', '.join(KINDS)}")
        if not self.labels or not self.licence or not self.source:
            raise self._entry_error("no labels, licence or source", "all three are required")
        path = PurePosixPath(self.file)
        plain = self.is_builtin or len(path.parts) == 1
        if path.is_absolute() or ".." in path.parts or not plain:
            raise self._entry_error(f"file {self.file!r}", "it must stay inside its folder")
        if (self.repo is None) != (self.revision is None):
            raise self._entry_error("an unclear origin", "give repo and revision, or neither")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise self._entry_error(
                f"sha256 {self.sha256!r}", "it must be 64 lower-case hex digits"
            )
        if self.sums is None and (self.sha256 is None or self.size is None):
            raise self._entry_error("no hash", "a file needs size and sha256, a folder sums")

    @property
    def is_builtin(self) -> bool:
        """Whether it ships with the package."""
        return self.repo is None

    def url_at(self, hub: str) -> str:
        """Return the address of one that is not built in, on the hub or a mirror of it."""
        return f"{hub}/{self.repo}/resolve/{self.revision}/{quote(self.file)}"

    def _entry_error(self, what: str, rule: str) -> ManifestError:
        return ManifestError(f"weight {self.name!r} has {what}", rule)


def parse_manifest(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """Turn the manifest's tables into entries, refusing unknown keys and doubtful names."""
    entries: dict[str, Entry] = {}
    for name, table in tables.items():
        try:
            entries[name] = Entry(name=name, **{**table, "labels": tuple(table.get("labels", ()))})
        except TypeError as error:
            raise ManifestError(
                f"weight {name!r} does not hold", f"{error}; see the keys in weights/manifest.py"
            ) from error
    known = [*entries, *(e.file for e in entries.values() if e.file != e.name)]
    doubled = sorted({name for name in known if known.count(name) > 1})
    if doubled:
        raise ManifestError(f"{', '.join(doubled)} in the manifest twice", "rename one of them")
    return entries


def load_manifest(path: Path = MANIFEST) -> dict[str, Entry]:
    """Read a manifest, the package's own by default."""
    try:
        return parse_manifest(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path} is not TOML", str(error)) from error


def find_entry(entries: Mapping[str, Entry], name: str) -> Entry:
    """Return the entry of that name, or with that file name (`face_yolov8n.pt`)."""
    for entry in entries.values():
        if name in (entry.name, entry.file):
            return entry
    near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownNameError(
        f"there is no weight named {name!r}",
        f"{hint}the names are {', '.join(entries)} ('autofix weights list')",
    )
