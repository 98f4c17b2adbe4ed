"""Make the pictures in samples/: scenes with small faces, spoilt as generated small faces are.

    pip install "autofix[samples]"
    python scripts/make_samples.py

Everything comes from public-domain and CC0 pictures inside matplotlib and scikit-image, and from
noise; samples/README.md says which. The same library versions give the same bytes on every run.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from scenes.samples import SAMPLES
from scenes.saving import save

TARGET = Path(__file__).resolve().parent.parent / "samples"


@click.command()
@click.option(
    "--target",
    type=click.Path(file_okay=False, path_type=Path),
    default=TARGET,
    help="Where the pictures go; samples/ by default.",
)
def main(target: Path) -> None:
    """Make the sample pictures."""
    target.mkdir(parents=True, exist_ok=True)
    for name, draw in SAMPLES.items():
        # A generator each, so that a change to one picture leaves the others alone.
        pixels = draw(np.random.default_rng(list(name.encode())))
        picture = Image.fromarray(pixels.round().astype(np.uint8))
        save(picture, target / name)
        size = (target / name).stat().st_size
        click.echo(f"{name:18} {picture.width} x {picture.height}  {size:>9} bytes")


if __name__ == "__main__":
    main()
