"""The store: name -> path of a file that has been checked, fetched first where need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal

from weights.checksum import file_sha256, folder_faults, folder_size, format_sums, parse_sums
from weights.download import PATIENCE, Patience, Progress, Received, Wanted, download
from weights.errors import (
    CacheError,
    MismatchError,
    MissingError,
    OfflineError,
    UnverifiableError,
)
from weights.manifest import Entry, find, load
from weights.partial import sweep, write_whole

DEFAULT_HUB = "https://huggingface.co"
BUILTIN = Path(__file__).parent / "builtin"

State = Literal["built-in", "present", "missing", "corrupt", "unverified"]


@dataclass(frozen=True)
class Status:
    """What the store knows about one file, having hashed it."""

    name: str
    kind: str
    state: State
    """unverified: it is there, but no hash is known to hold it against."""
    size: int | None
    """Bytes on disk; where it is missing, bytes to come, if known."""
    where: Path
    """Where it is, or would be put."""
    detail: str = ""
    """What is wrong with it; empty where nothing is."""

    @property
    def usable(self) -> bool:
        """Whether it is there and its bytes are the expected ones."""
        return self.state in ("built-in", "present")


@dataclass(frozen=True)
class Store:
    """Built-in files, a cache folder, and a hub to fill the cache from.

    A file is hashed each time its path is asked for. A file put into the cache by hand is as good
    as a fetched one if its hash is right. Several processes may share a cache folder.
    """

    cache_dir: Path
    _: KW_ONLY
    offline: bool = False
    """Never fetch."""
    hub: str = DEFAULT_HUB
    """The hub, or a mirror of it: no slash at the end."""
    allow_unverified: bool = False
    """Accept a file for which no hash is known, and hold it to the one it has now."""
    manifest: Mapping[str, Entry] = field(default_factory=load)
    builtin_dir: Path = BUILTIN
    patience: Patience = PATIENCE

    def entry(self, name: str) -> Entry:
        """Return what the manifest says; an unknown name is an error with the nearest one."""
        return find(self.manifest, name)

    def path(self, name: str, *, progress: Progress | None = None) -> Path:
        """Return the path of the verified file, fetching it if it is not here yet."""
        status = self.verify(name)
        if status.state == "missing":
            return self.pull(name, progress=progress)
        return self._accept(self.entry(name), status)

    def pull(self, name: str, *, progress: Progress | None = None) -> Path:
        """Make sure the file is here and verified, replacing a corrupt copy in the cache."""
        entry, status = self.entry(name), self.verify(name)
        url = entry.url_at(self.hub)
        if status.usable:
            return status.where
        if url is None or (self.offline and status.state == "unverified"):
            return self._accept(entry, status)
        if self.offline:
            raise OfflineError(
                f"{name} is {status.state}, and downloads are switched off",
                f"fetch {url} elsewhere and put it at {status.where}, "
                "or unset AUTOFIX_OFFLINE and HF_HUB_OFFLINE",
            )
        return self._fetch(entry, url, progress)

    def verify(self, name: str) -> Status:
        """Hash the file and say how it stands; a bad file is an answer, not an error."""
        entry = self.entry(name)
        where = (self.builtin_dir if entry.builtin else self.cache_dir) / entry.file
        try:
            if entry.sums is not None:
                return _folder_status(entry, where, entry.sums)
            return _file_status(entry, where)
        except OSError as error:
            raise _unusable(where.parent, error) from error

    def statuses(self) -> tuple[Status, ...]:
        """Verify everything the manifest has, in its order."""
        return tuple(self.verify(name) for name in self.manifest)

    def _accept(self, entry: Entry, status: Status) -> Path:
        """Return the path of a file that may be used, and raise what is wrong with any other."""
        if status.state == "missing":
            raise MissingError(
                f"{entry.name} should be at {status.where}, and is not",
                "the installation is incomplete: install autofix again",
            )
        if status.state == "corrupt":
            mend = "install autofix" if entry.builtin else f"'autofix weights pull {entry.name}'"
            raise MismatchError(f"{status.where} is corrupt ({status.detail})", f"mend it: {mend}")
        if status.state == "unverified":
            self._admit(entry, file_sha256(status.where), status.where)
        return status.where

    def _admit(self, entry: Entry, digest: str, what: Path) -> None:
        """Record a hash that nobody vouches for, if the user allows that."""
        if not self.allow_unverified:
            raise UnverifiableError(
                f"nothing says what the sha256 of {what} should be (it is {digest})",
                f"add it to {entry.name} in weights/manifest.toml, or build the Store with "
                "allow_unverified=True",
            )
        self._record(entry, digest)

    def _record(self, entry: Entry, digest: str) -> None:
        record = _record_path(self.cache_dir / entry.file)
        write_whole(record, format_sums({entry.file: digest}))

    def _fetch(self, entry: Entry, url: str, progress: Progress | None) -> Path:
        """Download beside the target, check, then rename: the name never holds half a file."""
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            sweep(self.cache_dir)
            received = download(
                Wanted(url, entry.size),
                self.cache_dir,
                patience=self.patience,
                progress=progress,
            )
            try:
                self._check(entry, url, received)
                received.path.replace(self.cache_dir / entry.file)
            finally:
                received.path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.cache_dir, error) from error
        return self.cache_dir / entry.file

    def _check(self, entry: Entry, url: str, received: Received) -> None:
        """Hold what came to the manifest's hash, else to the hub's, which is then recorded."""
        expected = entry.sha256 or received.declared.sha256
        if expected is None:
            self._admit(entry, received.sha256, Path(url))
        elif received.sha256 != expected:
            raise MismatchError(
                f"{url} has sha256 {received.sha256}, expected {expected}",
                "the download was deleted; the file on the hub or the mirror was changed, or "
                "something on the way altered it: do not use it from there",
            )
        elif entry.sha256 is None:
            self._record(entry, expected)


def _file_status(entry: Entry, where: Path) -> Status:
    if not where.is_file():
        return Status(entry.name, entry.kind, "missing", entry.size, where, "not there")
    size, expected = where.stat().st_size, entry.sha256 or _recorded(where)
    good: State = "built-in" if entry.builtin else "present"
    if entry.size is not None and size != entry.size:
        fault = f"{size} bytes, expected {entry.size}"
        return Status(entry.name, entry.kind, "corrupt", size, where, fault)
    if expected is None:
        return Status(entry.name, entry.kind, "unverified", size, where, "no hash is known")
    found = file_sha256(where)
    if found != expected:
        fault = f"sha256 {found}, expected {expected}"
        return Status(entry.name, entry.kind, "corrupt", size, where, fault)
    return Status(entry.name, entry.kind, good, size, where)


def _folder_status(entry: Entry, where: Path, sums: str) -> Status:
    if not where.is_dir() or not any(where.iterdir()):
        return Status(entry.name, entry.kind, "missing", entry.size, where, "not there")
    faults = folder_faults(where, sums)
    state: State = "corrupt" if faults else "built-in"
    return Status(entry.name, entry.kind, state, folder_size(where), where, "; ".join(faults))


def _record_path(file: Path) -> Path:
    return file.with_name(file.name + ".sha256")


def _recorded(file: Path) -> str | None:
    """Return the hash kept beside a file of the cache, if there is one for it."""
    record = _record_path(file)
    if not record.is_file():
        return None
    return (parse_sums(record.read_text(encoding="utf-8")) or {}).get(file.name)


def _unusable(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"the folder {folder} cannot be used ({error})",
        "make room or fix its permissions, or set AUTOFIX_CACHE to another folder",
    )
