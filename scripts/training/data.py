"""The portraits: reading, the hold-out rule, and where the face is in each.

Pictures are RGB uint8, height x width x 3. Points are x, y in pixels of the portrait.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HOLD_OUT_EVERY = 10
SOFTEST_SHARE = 0.1
# Eyes, nose tip, mouth, ears as shares of width and height: the mean of 800 official portraits.
MEAN_POINTS = ((0.369, 0.428), (0.614, 0.425), (0.491, 0.545), (0.495, 0.644), (0.247, 0.476),
               (0.752, 0.468))  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """One picture and the six points of its face."""

    name: str
    pixels: Pixels
    points: Floats  # 6 x 2: right eye, left eye, nose tip, mouth, right ear, left ear
    sharpness: float  # variance of the Laplacian over the face, 0 for a flat picture

    @property
    def face_px(self) -> float:
        """Width of the face, ear to ear, guessed from all points so that a turned head is fine."""
        eyes = float(np.linalg.norm(self.points[0] - self.points[1]))
        height = float(np.linalg.norm(self.points[:2].mean(0) - self.points[3]))
        return max(2.05 * eyes, 1.85 * height)

    @property
    def centre(self) -> Floats:
        """Middle of the face, forehead to chin."""
        eyes, mouth = self.points[:2].mean(0), self.points[3]
        return (0.55 * eyes + 0.45 * mouth).astype(np.float32)


def read_portraits(folder: Path, detector: Path | None) -> list[Portrait]:
    """All portraits of a folder, sorted by name.

    `detector` is a MediaPipe BlazeFace file; without it every face is taken to be where the
    mean portrait has it.
    """
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no *.jpg in {folder}: --data must name a folder of portraits")
    pictures = [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in paths]
    points = _detect(pictures, detector) if detector else [_mean_points(p) for p in pictures]
    return [
        Portrait(path.name, picture.astype(np.uint8), face, _sharpness(picture, face))
        for path, picture, face in zip(paths, pictures, points, strict=True)
    ]


def split(portraits: list[Portrait]) -> tuple[list[Portrait], list[Portrait]]:
    """Training and held-out portraits: every tenth by sorted name is never trained on.

    The softest tenth of the training portraits is left out too: it would teach blur.
    """
    held = portraits[::HOLD_OUT_EVERY]
    rest = [p for i, p in enumerate(portraits) if i % HOLD_OUT_EVERY]
    floor = float(np.quantile([p.sharpness for p in rest], SOFTEST_SHARE))
    return [p for p in rest if p.sharpness >= floor], held


def _mean_points(picture: Pixels) -> Floats:
    size_wh = (picture.shape[1], picture.shape[0])
    return (np.array(MEAN_POINTS) * size_wh).astype(np.float32)


def _detect(pictures: list[Pixels], detector: Path) -> list[Floats]:
    """Six points a picture by BlazeFace; the mean layout where it finds nothing."""
    import mediapipe as mp

    options = mp.tasks.vision.FaceDetectorOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(detector)),
        min_detection_confidence=0.3,
    )
    found: list[Floats] = []
    with mp.tasks.vision.FaceDetector.create_from_options(options) as faces:
        for picture in pictures:
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
            detections = faces.detect(image).detections
            if not detections:
                found.append(_mean_points(picture))
                continue
            largest = max(detections, key=lambda d: d.bounding_box.width)
            size_wh = (picture.shape[1], picture.shape[0])
            share = np.array([(k.x, k.y) for k in largest.keypoints])
            found.append((share * size_wh).astype(np.float32))
    return found


def _sharpness(picture: Pixels, points: Floats) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    left, top = np.maximum(points.min(0), 0).astype(int)
    right, bottom = points.max(0).astype(int)
    face = grey[top : bottom + 10, left:right]
    return float(cv2.Laplacian(face, cv2.CV_32F).var()) if face.size else 0.0
