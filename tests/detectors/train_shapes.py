"""Trains tiny YOLO models on drawn shapes: `python train_shapes.py FOLDER`.

Run by conftest.py, once a test session, in a process of its own: training changes the process.
It leaves FOLDER/segment.pt, which is trained; detect.pt, the same model without its masks;
classify.pt, untrained; and two ONNX exports of the first two: TASK-pairs.onnx takes two pictures
at a time, TASK-dynamic.onnx any number.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO

from tests.detectors.shapes import LABELS, draw

SIDE, PICTURES, EPOCHS = 96, 256, 18

_ARCHITECTURE = """
nc: 2
scales: {n: [0.33, 0.25, 1024]}
backbone:
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, C2f, [64, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, SPPF, [256, 5]]
head:
"""
_HEAD = """
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 4], 1, Concat, [1]]
  - [-1, 1, C2f, [128]]
  - [[9, 6], 1, %s]
"""
_HEADS = {
    "detect": _HEAD % "Detect, [nc]",
    "segment": _HEAD % "Segment, [nc, 8, 16]",
    "classify": "  - [-1, 1, Classify, [nc]]\n",
}
_TRAINING = {"epochs": EPOCHS, "imgsz": SIDE, "batch": 32, "seed": 0, "deterministic": True}
_TRAINING |= {"optimizer": "AdamW", "lr0": 0.008, "cos_lr": True, "warmup_epochs": 1}
_TRAINING |= {"device": "cpu", "workers": 0, "cache": "ram", "amp": False, "val": False}
_TRAINING |= {"pretrained": False, "plots": False, "verbose": False, "mosaic": 0, "scale": 0.3}
_TRAINING |= {"hsv_h": 0, "hsv_s": 0, "hsv_v": 0, "erasing": 0}


def write_pictures(folder: Path) -> Path:
    """Write the training set and return its description; labels are outlines."""
    rng = np.random.default_rng(0)
    for part, count in (("train", PICTURES), ("val", 8)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for index in range(count):
            pixels, shapes = draw(rng, (SIDE, SIDE), radii=(14, 27), tries=2)
            cv2.imwrite(str(folder / "images" / part / f"{index}.png"), pixels[:, :, ::-1])
            rows = []
            for label, outline in shapes:
                numbers = outline.ravel() / SIDE
                rows.append(" ".join([str(LABELS.index(label)), *(f"{n:.6f}" for n in numbers)]))
            (folder / "labels" / part / f"{index}.txt").write_text("\n".join(rows))
    names = ", ".join(f"{index}: {label}" for index, label in enumerate(LABELS))
    described = folder / "data.yaml"
    described.write_text(
        f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{{names}}}\n"
    )
    return described


def build_model(folder: Path, task: str) -> YOLO:
    """An untrained model for a task."""
    described = folder / f"{task}-built.yaml"
    described.write_text(_ARCHITECTURE + _HEADS[task])
    return YOLO(str(described), task=task)


def export(model_path: Path) -> None:
    """Write a model's two ONNX exports."""
    for name, dynamic in (("pairs", False), ("dynamic", True)):
        copy = shutil.copy(model_path, model_path.with_name(f"{model_path.stem}-{name}.pt"))
        options = {"dynamic": dynamic, "batch": 1 if dynamic else 2, "device": "cpu"}
        YOLO(str(copy)).export(format="onnx", imgsz=640, simplify=False, **options)


def main(folder: Path) -> None:
    """Fill the folder with models."""
    build_model(folder, "classify").save(str(folder / "classify.pt"))
    described = write_pictures(folder / "data")
    segmenter = build_model(folder, "segment")
    segmenter.train(data=str(described), project=str(folder / "runs"), **_TRAINING)
    shutil.copy(folder / "runs" / "train" / "weights" / "last.pt", folder / "segment.pt")
    trained = YOLO(str(folder / "segment.pt"))
    detector = build_model(folder, "detect").load(str(folder / "segment.pt"))
    detector.model.names = trained.names
    detector.save(str(folder / "detect.pt"))
    export(folder / "segment.pt")
    export(folder / "detect.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
