from __future__ import annotations

import pytest

from detectors.errors import DetectorError
from detectors.settings import DetectorSettings


def test_defaults_need_nothing():
    assert DetectorSettings() == DetectorSettings(classes=(), trust_pickle=False)


def test_edges_of_each_range_are_allowed():
    DetectorSettings(confidence=0, iou=1, image_size=32, tile=32, smallest_window=32)
    assert DetectorSettings(classes=["a", "b"]).classes == ("a", "b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 1.2},
        {"confidence": float("nan")},
        {"iou": -0.1},
        {"image_size": 31},
        {"tile": 0},
        {"smallest_window": -5},
        {"classes": "face"},
    ],
)
def test_value_out_of_range_is_named_and_quoted(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(DetectorError, match=f"{name} must .*{value!r}"):
        DetectorSettings(**wrong)
