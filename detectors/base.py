"""What every detector promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.detection import Detection
from detectors.errors import DetectorError

if TYPE_CHECKING:
    from typing_extensions import Self

Pixels = NDArray[np.uint8]
"""A picture: height x width x 3, uint8, RGB, at least 1 x 1 px."""


class Detector(Protocol):
    """Finds things in pictures. Made once, used for many pictures, closed once.

    name: recorded in each Detection; says which detector it is.
    labels: every label its detections can have; empty if that is not known beforehand.
    """

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def detect(
        self, pictures: Sequence[Pixels], *, names: Sequence[str] = ()
    ) -> list[tuple[Detection, ...]]:
        """Return what is in each picture: one tuple a picture, empty where nothing was found.

        names: what each picture is called (its relative path), if given one for each picture.
        Each tuple is in the order of `in_order`; boxes and polygons lie inside the picture. What
        is found in a picture does not depend on the others in the call. Pictures are only read.
        Raises DetectorError for a picture that is not `Pixels`, for a wrong count of names, after
        close, and where the model fails.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        ...


class Closing:
    """Makes a detector a context manager that closes itself on the way out."""

    def close(self) -> None:
        """Give back what the model holds. Closing again does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class WrappingDetector(Closing):
    """A detector around another one: bears its name and labels, and closes it."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @property
    def name(self) -> str:
        """The inner detector's name."""
        return self._detector.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The inner detector's labels."""
        return self._detector.labels

    def close(self) -> None:
        """Give back what the inner detector holds. Closing again does nothing."""
        self._detector.close()


def check_pictures(pictures: Sequence[Pixels], names: Sequence[str]) -> None:
    """Raise DetectorError, quoting what it got, unless these are what `Detector.detect` takes."""
    for index, pixels in enumerate(pictures):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise DetectorError(
                f"picture {index} must be RGB uint8, height x width x 3 and not empty, "
                f"but got {pixels.dtype} of shape {pixels.shape}: convert it first"
            )
    if names and len(names) != len(pictures):
        raise DetectorError(
            f"names must be one a picture or none at all, but got {len(names)} names "
            f"for {len(pictures)} pictures"
        )
