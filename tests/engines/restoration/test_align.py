"""Faces come to their places in the template, and back."""

import numpy as np
import pytest
from PIL import Image

from autofix.engines.restoration.align import SIDE, TEMPLATE, align_face, paste_face, to_template
from tests.engines.restored_faces import as_values, face, hopper


@pytest.mark.parametrize("degrees", [0, 20, -35])
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_eyes_and_mouth_come_to_their_places_in_the_template(degrees, size):
    turn = 0.55 * np.exp(1j * np.radians(16))
    places = {name: turn * complex(*spot) + (210 + 110j) for name, spot in TEMPLATE.items()}
    spots = {name: (place.real, place.imag) for name, place in places.items()}
    y, x = np.mgrid[0:600, 0:600] + 0.5
    pixels = np.zeros((600, 600, 3), np.uint8)
    for channel, (sx, sy) in enumerate(spots.values()):
        pixels[..., channel] = 255 * np.exp(-((x - sx) ** 2 + (y - sy) ** 2) / 50)
    seen = align_face(face(pixels, (150, 150, 450, 450), spots, size=size, degrees=degrees))
    ty, tx = np.mgrid[0:SIDE, 0:SIDE]
    for one, place in zip(np.moveaxis(seen, -1, 0), TEMPLATE.values(), strict=True):
        spot = np.where(one > 0.2, one, 0)
        where = np.average(tx, weights=spot), np.average(ty, weights=spot)
        assert where == pytest.approx(place, abs=0.5)


def test_a_crop_without_landmarks_is_scaled_as_it_is():
    plain = hopper(landmarks={})
    assert to_template(plain) is None
    assert np.array_equal(align_face(plain), as_values(plain))
    large = hopper(landmarks={}, size=1024)
    small = np.asarray(Image.fromarray(large.pixels).resize((512, 512), Image.Resampling.BOX))
    assert np.abs(align_face(large) - small / 255).max() < 0.01
    assert paste_face(align_face(large), large, 1.0).shape == (1024, 1024, 3)


@pytest.mark.parametrize(
    "spots",
    [
        {"right_eye": (200, 200), "left_eye": (300, 200)},
        dict.fromkeys(TEMPLATE, (200, 200)),
        {"right_eye": (200, 200), "left_eye": (200.1, 200), "mouth_center": (200, 200.1)},
    ],
)
def test_landmarks_that_make_no_sense_are_not_followed(spots):
    assert to_template(hopper(landmarks=spots)) is None
