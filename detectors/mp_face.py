"""Faces by MediaPipe's BlazeFace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectors.detection import Box, Detection
from detectors.mp_windows import WindowedTask
from detectors.overlap import iou, mean_of
from detectors.settings import DEFAULTS, DetectorSettings

LANDMARKS = (
    "right_eye",
    "left_eye",
    "nose_tip",
    "mouth_center",
    "right_ear_tragion",
    "left_ear_tragion",
)

# BlazeFace's box is a square from the brows to below the lips. The whole face, forehead to chin
# and ear to ear, is an ellipse upright on the face. Its measures were chosen by eye on the pictures
# in tests/detectors/test_mp_face.py.
HALF_HEIGHT = 0.75
"""Half the height of the ellipse, in sides of the square."""

HALF_WIDTH = 0.58
"""Half its width, in sides of the square."""

RISE = 0.09
"""How far its middle lies above the square's, in sides of the square."""

MERGE_IOU = 0.5
"""Sightings enter the mean of a face if they overlap the best one more than this."""

MERGE_SCORES = 0.1
"""... and their score is at most so much below the best one's."""

HINT = 0.25
"""Least score of a sighting that is worth a closer look."""


class MediapipeFaces(WindowedTask):
    """Finds faces, label "face", with six named `LANDMARKS` (right and left are the person's own).

    path: a BlazeFace .tflite: face_detection_short_range, or face_detection_full_range_sparse,
    which sees smaller faces and is slower; "full_range" in the file's name tells them apart. Boxes
    hold the whole face, forehead to chin and ear to ear. Faces down to about a sixth of the
    smallest window are found (`DetectorSettings.smallest_window`).
    Raises DetectorError where path is not such a model.
    """

    single_view_margin = 0.4
    # BlazeFace sees a square of a sixth to a half of the view with a score above 0.75, and one
    # from a tenth on with HINT or more: so a coarse search finds where a closer look is worth it.
    # It finds more faces than a dense search did, in a third of the windows.
    shrink = 2.3
    overlap = 0.25
    search = 1.6
    zoom_fill = 0.27

    def __init__(self, path: Path, settings: DetectorSettings = DEFAULTS) -> None:
        side = 192 if "full_range" in path.name else 128
        super().__init__(
            path, settings, name="mediapipe-face", label="face", side=side, smallest=160
        )

    def _open_task(self, vision: Any, options: Any) -> Any:
        floor = min(self._confidence, HINT)
        return vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(base_options=options, min_detection_confidence=floor)
        )

    def _read_detections(self, result: Any) -> Iterator[Detection]:
        for face in result.detections:
            box = face.bounding_box
            if box.width > 0 and box.height > 0:
                yield Detection(
                    (
                        box.origin_x,
                        box.origin_y,
                        box.origin_x + box.width,
                        box.origin_y + box.height,
                    ),
                    self.labels[0],
                    min(face.categories[0].score, 1.0),
                    self.name,
                    landmarks=tuple(
                        (name, (point.x * self._side, point.y * self._side))
                        for name, point in zip(LANDMARKS, face.keypoints, strict=True)
                    ),
                )

    def _merge_sightings(self, sightings: tuple[Detection, ...]) -> Detection:
        # Sightings at other scales differ by a tenth of the box; their mean is steadier than the
        # best of them. Those of a lower score saw it too small or in part, and their boxes are off.
        best = sightings[0]
        floor = best.score - MERGE_SCORES
        face = mean_of(
            [
                seen
                for seen in sightings
                if iou(seen.box_xyxy, best.box_xyxy) > MERGE_IOU and seen.score >= floor
            ]
        )
        return replace(face, box_xyxy=whole_face(face))


def whole_face(found: Detection) -> Box:
    """Return the box of the whole face around a BlazeFace detection with its landmarks.

    The box is upright and holds the face's ellipse, which leans as the line from the eyes to the
    mouth does.
    """
    points = dict(found.landmarks)
    (rx, ry), (lx, ly), (mx, my) = points["right_eye"], points["left_eye"], points["mouth_center"]
    up_x, up_y = (rx + lx) / 2 - mx, (ry + ly) / 2 - my
    length = math.hypot(up_x, up_y)
    up_x, up_y = (up_x / length, up_y / length) if length > 0 else (0.0, -1.0)
    side = max(found.width, found.height)
    x, y = found.center_xy
    x, y = x + up_x * RISE * side, y + up_y * RISE * side
    reach_x = math.hypot(up_x * HALF_HEIGHT, up_y * HALF_WIDTH) * side
    reach_y = math.hypot(up_y * HALF_HEIGHT, up_x * HALF_WIDTH) * side
    return (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
