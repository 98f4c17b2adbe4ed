from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Closing, check_pictures
from detectors.errors import DetectorError

GOOD = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "quoted"),
    [
        (np.zeros((2, 3, 3), np.float32), "float32"),
        (np.zeros((2, 3), np.uint8), r"shape \(2, 3\)"),
        (np.zeros((2, 3, 4), np.uint8), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3, 3), np.uint8), r"shape \(0, 3, 3\)"),
    ],
)
def test_bad_picture_is_refused_by_its_index(wrong, quoted):
    with pytest.raises(DetectorError, match=f"picture 1 must be RGB.*{quoted}"):
        check_pictures([GOOD, wrong], ())


def test_names_are_one_a_picture_or_none():
    check_pictures([], ())
    check_pictures([GOOD], ())
    check_pictures([GOOD], ["a.png"])
    with pytest.raises(DetectorError, match="1 names for 2 pictures"):
        check_pictures([GOOD, GOOD], ["a.png"])


def test_with_block_closes_the_detector():
    class Door(Closing):
        closed = 0

        def close(self):
            self.closed += 1

    with pytest.raises(ZeroDivisionError), Door() as door:
        raise ZeroDivisionError
    assert door.closed == 1
