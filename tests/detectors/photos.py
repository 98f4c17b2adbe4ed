"""Real photographs that come with installed packages, and where their faces and hands are.

Faces were marked by eye on the pictures: forehead to chin, ear to ear (where a hat or a fringe
hides the forehead, where it must be). Hands: the box around what is seen of each.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from detectors.base import Pixels
from detectors.detection import Box

_WHERE = {
    "zidane": "ultralytics/assets/zidane.jpg",
    "bus": "ultralytics/assets/bus.jpg",
    "hopper": "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    "astronaut": "skimage/data/astronaut.png",
    "rocket": "skimage/data/rocket.jpg",
    "coffee": "skimage/data/coffee.png",
    "chelsea": "skimage/data/chelsea.png",
}

FACES: dict[str, list[Box]] = {
    "zidane": [(503, 228, 664, 455), (894, 92, 1060, 292)],
    "bus": [(105, 415, 155, 470), (264, 416, 306, 478)],
    "hopper": [(162, 118, 368, 352)],
    "astronaut": [(174, 52, 276, 187)],
    "rocket": [],
    "coffee": [],
    "chelsea": [],
}

HANDS: dict[str, list[Box]] = {
    "zidane": [(980, 403, 1154, 494)],
    "bus": [(236, 500, 284, 540), (257, 643, 287, 686), (46, 755, 78, 814)],
    "hopper": [],
    "rocket": [],
    "chelsea": [],
}


def photo(name: str) -> Pixels:
    """One of the photographs; its package is found without importing it."""
    package, _, rest = _WHERE[name].partition("/")
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    with Image.open(Path(spec.origin).parent / rest) as image:
        return np.asarray(image.convert("RGB"))
