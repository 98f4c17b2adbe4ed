"""Makes checkpoints of every kind of YOLO, with random weights, as ultralytics saves them.

    python yolo_kinds.py FOLDER

A program of its own, since importing ultralytics changes the process.
"""

from __future__ import annotations

import sys
from pathlib import Path

KINDS = (
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n",
    "yolov8n-seg",
    "yolov8s-worldv2",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo11n-seg",
    "yolo12n",
    "yolo26n",
    "yolo26n-seg",
    "yoloe-v8s",
    "yoloe-11s-seg",
    "rtdetr-l",
)
"""The names of ultralytics' own configurations; the letter is the scale."""


def main(folder: Path) -> None:
    """Save one of each kind, and a YOLO-World model with classes given as texts."""
    import torch
    from ultralytics import RTDETR, YOLO

    for kind in KINDS:
        torch.manual_seed(0)
        model = (RTDETR if kind.startswith("rtdetr") else YOLO)(f"{kind}.yaml")
        for module in model.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # not those of a model just made
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1)
                module.weight.data.uniform_(0.8, 1.5)
                module.bias.data.normal_(0, 0.3)
            elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias.data += 0.3 * torch.randn_like(module.bias)
        model.model.names = {number: f"thing {number}" for number in range(len(model.names))}
        model.save(folder / f"{kind}.pt")
    model = YOLO("yolov8s-worldv2.yaml")
    model.model.txt_feats = torch.nn.functional.normalize(torch.randn(1, 3, 512), dim=-1)
    model.model.model[-1].nc = 3
    model.model.names = {0: "left eye", 1: "ring", 2: "hat"}
    model.save(folder / "with-classes.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
