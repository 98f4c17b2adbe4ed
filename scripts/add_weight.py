"""Add a model file to weights/manifest.toml, or record the hashes of a built-in folder.

    python scripts/add_weight.py entry face_yolov8m.pt --name face_yolov8m --kind yolo
        --label face --repo Bingsu/adetailer --revision COMMIT --licence Apache-2.0 --source URL
    python scripts/add_weight.py sums weights/builtin/face

`entry` takes size and sha256 from the file you have: make sure it is the right one first, since
this is what every later download is held to. `sums` must be run again whenever the folder changes.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import click

from weights.checksum import file_sha256, folder_digests, format_sums
from weights.errors import WeightsError
from weights.manifest import KINDS, MANIFEST, load_manifest

SUMS = "SHA256SUMS"


def table(name: str, values: dict[str, object]) -> str:
    """Write one entry as a TOML table, leaving out what has no value."""
    # A JSON string, number or list of strings is TOML too.
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if value not in (None, "")
    ]
    return "\n".join([f"\n[{_key(name)}]", *lines, ""])


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def append(manifest: Path, text: str) -> None:
    """Add `text` to the manifest; the manifest is left as it was if it would not hold then."""
    whole = manifest.read_text(encoding="utf-8") + text
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / manifest.name
        trial.write_text(whole, encoding="utf-8")
        try:
            load_manifest(trial)
        except WeightsError as error:
            raise click.ClickException(str(error)) from error
    manifest.write_text(whole, encoding="utf-8")


@click.group()
def main() -> None:
    """Add a model file to the manifest, or record the hashes of a built-in folder."""


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="The name users will type.")
@click.option("--kind", required=True, type=click.Choice(KINDS))
@click.option("--label", "labels", required=True, multiple=True, help="What it finds; repeatable.")
@click.option("--repo", help="owner/name on the hub.")
@click.option("--revision", help="The commit on the hub, in full.")
@click.option("--licence", required=True, help="SPDX name.")
@click.option("--source", required=True, help="The page that tells where it is from.")
@click.option("--note", default="")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=MANIFEST,
    help="weights/manifest.toml by default.",
)
def entry(file: Path, name: str, manifest: Path, **values: object) -> None:
    """Append an entry for FILE, with its size and sha256."""
    known = {"file": file.name, "size": file.stat().st_size, "sha256": file_sha256(file)}
    order = ("kind", "labels", "file", "repo", "revision", "size", "sha256")
    merged = {**values, **known, "labels": list(values["labels"])}  # type: ignore[call-overload]
    text = table(name, {key: merged[key] for key in (*order, "licence", "source", "note")})
    append(manifest, text)
    click.echo(text)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def sums(folder: Path) -> None:
    """(Re)write FOLDER/SHA256SUMS from the files that are there now."""
    digests = folder_digests(folder, SUMS)
    if not digests:
        raise click.ClickException(f"{folder} is empty: nothing to record")
    (folder / SUMS).write_text(format_sums(digests), encoding="utf-8", newline="\n")
    click.echo(f"{folder / SUMS}: {len(digests)} files")


if __name__ == "__main__":
    main()
