"""A sheet of before and after: the faces that a run fixed, side by side, enlarged."""

from __future__ import annotations

import json
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from autofix.frontends.files.journal import FOLDER
from autofix.imagefiles.files import read

SIDE, GAP, TITLE = 224, 6, 18


@click.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--columns", default=4, show_default=True, help="Pairs in a row.")
def main(before: Path, after: Path, out: Path, columns: int) -> None:
    """Read AFTER's journal and draw every repainted region of BEFORE and AFTER into OUT."""
    latest: dict[str, dict[str, object]] = {}
    for line in (after / FOLDER / "journal.jsonl").read_text(encoding="ascii").splitlines():
        entry = json.loads(line)
        latest[entry["picture"]] = entry["record"]
    pairs = [
        (f"{name} {region['index']}", before / name, after / name, tuple(region["crop"]))
        for name, record in sorted(latest.items())
        for region in record["regions"]  # type: ignore[attr-defined]
        if region["result"] == "fixed"
    ]
    columns = max(min(columns, len(pairs)), 1)
    rows = -(-len(pairs) // columns)
    wide, high = 2 * SIDE + 2 * GAP, SIDE + GAP + TITLE
    sheet = Image.new("RGB", (columns * wide + GAP, rows * high + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (title, old, new, box) in enumerate(pairs):
        x, y = GAP + place % columns * wide, GAP + place // columns * high
        draw.text((x, y), title, fill="black", font=font)
        for shift, path in ((0, old), (SIDE + 2, new)):
            picture = Image.fromarray(read(path, name=path.name).pixels)
            shown = picture.crop(box).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(shown, (x + shift, y + TITLE))
    sheet.save(out, quality=88)


if __name__ == "__main__":
    main()
