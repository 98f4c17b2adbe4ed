"""sha256 of files and folders, and the `sha256sum` lists that record them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """Hash a file, block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def format_sums(digests: dict[str, str]) -> str:
    """Write a list that `sha256sum --check` reads: name -> digest, one line each, sorted."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def parse_sums(text: str) -> dict[str, str] | None:
    """Read such a list back; None where a line is not one."""
    matches = [_LINE.fullmatch(line) for line in text.splitlines()]
    if not matches or None in matches:
        return None
    return {match["name"]: match["digest"] for match in matches if match}


def folder_digests(folder: Path, sums: str) -> dict[str, str]:
    """Hash every file below a folder but the list itself; names are relative, with slashes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_sha256(path) for name, path in names.items() if name != sums}


def folder_faults(folder: Path, sums: str) -> list[str]:
    """Say what in a folder is not as its list has it; empty where all is well.

    Files that the list does not name are not looked at.
    """
    if not (folder / sums).is_file():
        return [f"there is no {sums}"]
    listed = parse_sums((folder / sums).read_text(encoding="utf-8"))
    if listed is None:
        return [f"{sums} is not a list of hashes"]
    return [
        fault for name, digest in listed.items() if (fault := _file_fault(folder, name, digest))
    ]


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _file_fault(folder: Path, name: str, expected: str) -> str | None:
    if not (folder / name).is_file():
        return f"{name} is missing"
    found = file_sha256(folder / name)
    return None if found == expected else f"{name} has sha256 {found}, expected {expected}"
