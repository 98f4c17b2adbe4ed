"""Find faces, hands and other things in pictures: picture in, detections out.

A detector is handed the path of its model file; nothing here downloads or knows where models live.
Import from the module that defines a name: `detectors.registry.open_detector` opens a detector,
`detectors.detection.Detection` is what it finds, `detectors.base.Detector` is what it promises,
`detectors.errors.DetectorError` is what it raises. Model libraries are imported on first use.
"""

from __future__ import annotations

import os

DISTRIBUTION = "autofix"
"""`import autofix` looks for this line: another distribution's package may have the same name."""

# onnxruntime reads this when it is imported, by whichever library: it then reports to nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
