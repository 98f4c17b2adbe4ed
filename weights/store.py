"""The store: name -> path of a checked file, which is downloaded first if it is not here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal

from weights.checksum import file_sha256, folder_faults, folder_size
from weights.download import Progress, download_file
from weights.errors import CacheError, MismatchError, MissingError, OfflineError
from weights.manifest import Entry, find_entry, load_manifest

DEFAULT_HUB = "https://huggingface.co"
BUILTIN = Path(__file__).parent / "builtin"

State = Literal["built-in", "present", "missing", "corrupt"]


@dataclass(frozen=True)
class Status:
    """The state of one file, as hashed now."""

    name: str
    kind: str
    state: State
    size: int | None
    """Bytes on disk; where it is missing, bytes to come, if known."""
    where: Path
    """Where it is, or would be put."""
    detail: str = ""
    """What is wrong with it; empty where nothing is."""

    @property
    def is_usable(self) -> bool:
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
    manifest: Mapping[str, Entry] = field(default_factory=load_manifest)
    builtin_dir: Path = BUILTIN

    def find_entry(self, name: str) -> Entry:
        """Return what the manifest says; an unknown name is an error with the nearest one."""
        return find_entry(self.manifest, name)

    def path(self, name: str, *, progress: Progress | None = None) -> Path:
        """Return the path of the verified file, fetching it if it is not here yet."""
        status = self.verify(name)
        if status.state == "missing":
            return self.pull(name, progress=progress)
        return self._usable_path(self.find_entry(name), status)

    def pull(self, name: str, *, progress: Progress | None = None) -> Path:
        """Make sure the file is here and verified, replacing a corrupt copy in the cache."""
        entry, status = self.find_entry(name), self.verify(name)
        if status.is_usable or entry.is_builtin:
            return self._usable_path(entry, status)
        if self.offline:
            raise OfflineError(
                f"{name} is {status.state}, and downloads are switched off",
                f"fetch {entry.url_at(self.hub)} elsewhere and put it at {status.where}, "
                "or unset AUTOFIX_OFFLINE and HF_HUB_OFFLINE",
            )
        return self._fetch_file(entry, progress)

    def verify(self, name: str) -> Status:
        """Hash the file and say how it stands; a bad file is an answer, not an error."""
        entry = self.find_entry(name)
        where = (self.builtin_dir if entry.is_builtin else self.cache_dir) / entry.file
        try:
            if entry.sums is not None:
                return _folder_status(entry, where, entry.sums)
            return _file_status(entry, where)
        except OSError as error:
            raise _cache_error(where.parent, error) from error

    def verify_all(self) -> tuple[Status, ...]:
        """Verify everything the manifest has, in its order."""
        return tuple(self.verify(name) for name in self.manifest)

    def _usable_path(self, entry: Entry, status: Status) -> Path:
        """Return the path of a file that may be used, and raise what is wrong with any other."""
        if status.state == "missing":
            raise MissingError(
                f"{entry.name} should be at {status.where}, and is not",
                "the installation is incomplete: install autofix again",
            )
        if status.state == "corrupt":
            repair = (
                "install autofix" if entry.is_builtin else f"'autofix weights pull {entry.name}'"
            )
            raise MismatchError(
                f"{status.where} is corrupt ({status.detail})", f"to repair it: {repair}"
            )
        return status.where

    def _fetch_file(self, entry: Entry, progress: Progress | None) -> Path:
        """Download into a folder of its own, check, then rename: the name never holds half a file.

        Processes that want the same file wait for each other, and it is downloaded once.
        """
        from filelock import FileLock

        target = self.cache_dir / entry.file
        folder = self.cache_dir / ".downloads" / entry.name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if self.verify(entry.name).is_usable:
                    return target
                shutil.rmtree(folder, ignore_errors=True)  # of a download that was killed
                try:
                    self._download_checked(entry, folder, progress).replace(target)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise _cache_error(self.cache_dir, error) from error
        return target

    def _download_checked(self, entry: Entry, folder: Path, progress: Progress | None) -> Path:
        """Return the downloaded file, if it is the one that the manifest describes."""
        assert entry.repo is not None
        assert entry.revision is not None
        path = download_file(
            entry.repo, entry.revision, entry.file, folder, hub=self.hub, progress=progress
        )
        status = _file_status(entry, path)
        if not status.is_usable:
            raise MismatchError(
                f"{entry.url_at(self.hub)} has {status.detail}",
                "the download was deleted; a proxy or a login page may have answered in its place, "
                "or the file on the hub or the mirror was changed: do not use it from there",
            )
        return path


def _file_status(entry: Entry, where: Path) -> Status:
    if not where.is_file():
        return Status(entry.name, entry.kind, "missing", entry.size, where, "not there")
    size = where.stat().st_size
    if entry.size is not None and size != entry.size:
        fault = f"{size} bytes, expected {entry.size}"
        return Status(entry.name, entry.kind, "corrupt", size, where, fault)
    found = file_sha256(where)
    if found != entry.sha256:
        fault = f"sha256 {found}, expected {entry.sha256}"
        return Status(entry.name, entry.kind, "corrupt", size, where, fault)
    state: State = "built-in" if entry.is_builtin else "present"
    return Status(entry.name, entry.kind, state, size, where)


def _folder_status(entry: Entry, where: Path, sums: str) -> Status:
    if not where.is_dir() or not any(where.iterdir()):
        return Status(entry.name, entry.kind, "missing", entry.size, where, "not there")
    faults = folder_faults(where, sums)
    state: State = "corrupt" if faults else "built-in"
    return Status(entry.name, entry.kind, state, folder_size(where), where, "; ".join(faults))


def _cache_error(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"the folder {folder} cannot be used ({error})",
        "make room or fix its permissions, or set AUTOFIX_CACHE to another folder",
    )
