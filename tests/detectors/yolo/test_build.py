"""What is built from a checkpoint's data is what ultralytics itself would load."""

import zipfile
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.settings import DetectorSettings
from detectors.yolo.build import build_model, check_config
from detectors.yolo.checkpoint import Layer, read_checkpoint
from detectors.yolo.detector import YoloDetector
from tests.detectors.photos import photo
from tests.detectors.yolo_kinds import KINDS

LEAST = {"device": "cpu", "confidence": 0.0, "image_size": 192}
"""Everything that a model may find, in a small view: the figures must be equal, not good."""


def found_in(path, pixels, *, trusted):
    settings = DetectorSettings(**LEAST, trust_pickle=trusted)
    with YoloDetector(path, settings) as detector:
        return detector.labels, detector.detect([pixels])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_find_what_they_find_when_their_files_are_trusted(kind, yolo_kinds):
    path = yolo_kinds / f"{kind}.pt"
    pixels = photo("hopper")
    labels, found = found_in(path, pixels, trusted=False)
    assert (labels, found) == found_in(path, pixels, trusted=True)
    assert labels[7] == "thing 7"
    assert found


def test_model_with_classes_given_as_texts_keeps_them(yolo_kinds):
    """A YOLO-World model holds what CLIP made of the texts."""
    pixels = photo("hopper")
    labels, found = found_in(yolo_kinds / "with-classes.pt", pixels, trusted=False)
    assert (labels, found) == found_in(yolo_kinds / "with-classes.pt", pixels, trusted=True)
    assert labels == ("left eye", "ring", "hat")
    assert found


def layer(kind, **attributes):
    """A stand-in as the unpickler makes one of a class of that name."""
    made = type("Layer", (Layer,), {"kind": kind, "__slots__": ()})()
    made.attributes = attributes
    return made


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("model.0", {"forward": layer("fuse")}, "function for 'forward'"),
        ("model.0", {"forward": Layer}, "function for 'forward'"),
        ("", {"predict": layer("getattr")}, "function for 'predict'"),
        ("model.0.conv", {"_forward_hooks": {0: layer("print")}}, "hooks"),
        ("model.0.conv", {"_forward_pre_hooks": layer("print")}, "hooks"),
        ("model.0.conv", {"padding": (2, 2)}, "another padding"),
        ("model.0.bn", {"eps": 0.5}, "another eps"),
        ("model.0", {"f": layer("int")}, "another f"),
    ],
)
def test_layer_that_would_work_differently_is_refused(yolo_kinds, name, changed, message):
    checkpoint = read_checkpoint(yolo_kinds / "yolov8n.pt")
    saved = checkpoint.layers[name]
    other = layer(saved.kind, **{**dict(saved.items()), **changed})
    build_model(checkpoint)
    with pytest.raises(DetectorError, match=message):
        build_model(replace(checkpoint, layers={**checkpoint.layers, name: other}))


def test_layer_of_another_class_is_refused(yolo_kinds):
    checkpoint = read_checkpoint(yolo_kinds / "yolov8n.pt")
    saved = checkpoint.layers["model.0.act"]
    other = layer("ReLU", **dict(saved.items()))
    with pytest.raises(DetectorError, match="a ReLU instead of a SiLU"):
        build_model(replace(checkpoint, layers={**checkpoint.layers, "model.0.act": other}))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ultralytics.nn.tasks", "YOLOv10DetectionModel"),
        ("ultralytics.yolo.v8.models", "DetectionModel"),  # as releases 8.0.x wrote it
        ("nowhere.at.all", "DetectionModel"),
    ],
)
def test_place_of_a_class_is_never_looked_up(yolo_kinds, tmp_path, module, name):
    plain = yolo_kinds / "yolov8n.pt"
    assert b"ultralytics.nn.tasks\nDetectionModel\n" in plain.read_bytes()
    moved = rewritten(plain, tmp_path / "moved.pt", f"{module}\n{name}\n")
    assert read_checkpoint(moved).kind == name
    pixels = photo("hopper")
    boxes = [
        [
            (each.box_xyxy, each.label, each.score)
            for each in found_in(path, pixels, trusted=False)[1]
        ]
        for path in (moved, plain)
    ]
    assert boxes[0] == boxes[1]
    assert boxes[0]


def rewritten(path, target, mention):
    """The checkpoint with another name for its model's class."""
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(target, "w") as made:
        for name in given.namelist():
            data = given.read(name)
            if name.endswith("data.pkl"):
                data = data.replace(b"ultralytics.nn.tasks\nDetectionModel\n", mention.encode(), 1)
            made.writestr(name, data)
    return target


@pytest.fixture(scope="module")
def checkpoint(yolo_kinds):
    return read_checkpoint(yolo_kinds / "yolov8n.pt")


def changed(checkpoint, **changes):
    return replace(checkpoint, config={**checkpoint.config, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "open('x', 'w')"}, "the activation"),
        ({"activation": "nn.SiLU() if open('x', 'w') else 0"}, "the activation"),
        ({"activation": ["nn.SiLU()"]}, "the activation"),
        ({"backbone": "open('x', 'w')", "head": {}}, "has 0 layers"),
        ({"backbone": [[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2]]]}, "a layer"),
        ({"backbone": [[-1, 1, "nn.Module", []]]}, "names a layer 'nn.Module'"),
        ({"backbone": [[-1, 1, "torchvision.ops.Conv2dNormActivation", [3, 64]]]}, "a layer"),
        ({"backbone": [[-1, 1, "open", ["x", "w"]]]}, "names a layer 'open'"),
        ({"backbone": [[-1, 1, ["Conv"], [64, 3, 2]]]}, "names a layer"),
        ({"backbone": [[-1, 1, "Conv", ["locals()", 3, 2]]]}, "gives Conv the text"),
        ({"backbone": [[-1, 1, "Conv", [{"d": "d"}, 3, 2]]]}, "gives Conv the text"),
        ({"backbone": [["x", 1, "Conv", [64, 3, 2]]]}, "gives Conv the text"),
        ({"backbone": [[-1, 10**9, "nn.Identity", []]]}, "repeats nn.Identity"),
        ({"backbone": [[-1, 1, "Conv", [10**9, 3, 2]]]}, "the number 1000000000"),
        ({"backbone": [[-1, 1, "Conv"]]}, "the layer"),
        ({"backbone": [[-1, 1, "Conv", [64, 3, 2]]] * 501}, "layers"),
        ({"nc": 10**12}, "the number"),
        ({"scales": {"n": [1e9, 1e9, 1e9]}}, "the number"),
        ({"channels": 4}, "other than 3 channels"),
    ],
)
def test_configuration_that_no_yolo_has_is_refused(checkpoint, changes, message):
    with pytest.raises(DetectorError, match=message):
        check_config(changed(checkpoint, **changes).config)


def test_model_larger_than_its_tensors_is_refused_before_it_is_built(checkpoint):
    wide = {"scales": {"n": [8.0, 16.0, 20_000]}}
    with pytest.raises(DetectorError, match="its tensors are not those of its configuration"):
        build_model(changed(checkpoint, **wide))


def test_layer_that_would_fill_the_memory_is_refused(checkpoint):
    from ultralytics.nn.tasks import parse_model

    layers = [[-1, 1, "nn.ZeroPad2d", [[9000, 9000, 9000, 9000]]]] * 3
    config = {**checkpoint.config, "backbone": layers, "head": [[[2], 1, "Detect", ["nc"]]]}

    built, _ = parse_model(deepcopy({**config, "scale": "n"}), 3, verbose=False)
    tensors = {f"model.{name}": value for name, value in built.state_dict().items()}
    with pytest.raises(DetectorError, match="a layer of it gives"):
        build_model(replace(checkpoint, config=config, tensors=tensors))


@pytest.mark.parametrize("kind", ["PoseModel", "ClassificationModel", "OBBModel"])
def test_another_task_is_named(checkpoint, kind):
    with pytest.raises(DetectorError, match=kind):
        build_model(replace(checkpoint, kind=kind))


def test_classes_without_a_name_go_by_their_number(checkpoint):
    built = build_model(replace(checkpoint, names={1: "one"}))
    assert (built.names[0], built.names[1], len(built.names)) == ("0", "one", 80)
    (result,) = built.predict([np.zeros((64, 64, 3), np.uint8)], batch=1, device="cpu")
    assert result.names == built.names
