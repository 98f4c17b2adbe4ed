"""A YOLO model built afresh by ultralytics from the data of a checkpoint."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from detectors.isolation import patch_attribute
from detectors.yolo.checkpoint import MODULES, CheckpointError, Layer, YoloCheckpoint

MODELS = {
    "DetectionModel": ("DetectionModel", "detect"),
    "YOLOv10DetectionModel": ("DetectionModel", "detect"),
    "SegmentationModel": ("SegmentationModel", "segment"),
    "WorldModel": ("WorldModel", "detect"),
    "YOLOEModel": ("YOLOEModel", "detect"),
    "YOLOESegModel": ("YOLOESegModel", "segment"),
    "RTDETRDetectionModel": ("RTDETRDetectionModel", "detect"),
}
"""A model's class in a checkpoint -> ultralytics' class today, and its task."""

OTHER_TASKS = {
    "ClassificationModel": "classify",
    "DepthModel": "depth",
    "OBBModel": "obb",
    "PoseModel": "pose",
    "SemanticSegmentationModel": "semantic",
}
"""A model's class -> its task, which is not to find things by box or outline."""

_LAYERS = """
A2C2f ADown AConv AIFI Bottleneck BottleneckCSP C1 C2 C2PSA C2f C2fAttn C2fCIB C2fPSA C3 C3Ghost
C3TR C3k2 C3x CBFuse CBLinear Concat Conv ConvTranspose DWConv DWConvTranspose2d Detect ELAN1
Focus GhostBottleneck GhostConv HGBlock HGStem ImagePoolingAttn PSA RTDETRDecoder RepC3
RepNCSPELAN4 ResNetLayer SCDown SPP SPPELAN SPPF Segment Segment26 Silence WorldDetect
YOLOEDetect YOLOESegment YOLOESegment26 v10Detect
nn.BatchNorm2d nn.Conv2d nn.ConvTranspose2d nn.Identity nn.MaxPool2d nn.Upsample nn.ZeroPad2d
"""
LAYERS = frozenset(_LAYERS.split())
"""The layers of ultralytics' own models that detect or segment. None of them reads a file."""

ARGUMENTS = frozenset({"None", "nc", "nearest", "bilinear", "True", "False"})
"""The texts that those models have among the arguments of their layers."""

ACTIVATION = re.compile(
    r"(torch\.)?nn\.(SiLU|ReLU|ReLU6|LeakyReLU|Hardswish|Mish|GELU|ELU|SELU|Identity)"
    r"\((0?\.\d{1,4}|inplace=(True|False))?\)"
)
"""The activations that a configuration may name: ultralytics evaluates that text."""

NUMBERS = ("nc", "scales", "depth_multiple", "width_multiple", "reg_max", "end2end")
"""Further keys of a configuration by which ultralytics builds a model."""

LAYERS_OF_A_MODEL = 500
"""Layers of a configuration at most."""

REPEATS = 200
"""How often a configuration may repeat a layer at most."""

GREATEST = 20_000
"""The greatest argument of a layer, number of classes or number of channels."""

RENAMED = {"YOLOv10DetectionModel": "DetectionModel", "Silence": "Identity"}
"""A class's name in older checkpoints -> its name today."""

_FREE = "training inplace np type momentum shape shapes nc no text_model args names task"
FREE = frozenset(_FREE.split())
"""Attributes of a layer that may differ from those of one built afresh: what only training or a
prompt reads, what is computed again, and the numbers of classes, which follow from the tensors."""

CHANNELS = 3
"""Of the pictures that a model takes."""

SIDE_PX = 640
"""Side of the picture for which the size of a model's results is reckoned."""

VALUES_OF_A_LAYER = 2**28
"""Values that a layer may give at most for a picture of SIDE_PX x SIDE_PX: a GiB."""


class BuiltModel:
    """A detector that was built here, with as much of `ultralytics.YOLO` as YoloDetector uses."""

    def __init__(self, model: Any, task: str) -> None:
        self.task = task
        self.names: dict[int, str] = model.names
        self._model = model
        self._predictor: Any = None

    def predict(self, pictures: list[np.ndarray[Any, Any]], **settings: Any) -> list[Any]:
        """One result a picture, BGR; settings as for `ultralytics.YOLO.predict`."""
        if self._predictor is None:
            kind = _predictor_class(self._model, self.task)
            fixed = {"task": self.task, "mode": "predict", "rect": True}
            self._predictor = kind(overrides={**fixed, **settings})
            self._predictor.setup_model(model=self._model, verbose=False)
        vars(self._predictor.args).update(settings)
        return list(self._predictor(source=pictures))


def build_model(checkpoint: YoloCheckpoint) -> BuiltModel:
    """The model of a checkpoint, with its weights; ultralytics must be importable.

    Raises CheckpointError for a model that ultralytics does not build from
    its configuration, or that is none of the `MODELS`.
    """
    import torch
    from ultralytics.nn import tasks

    if checkpoint.kind not in MODELS:
        raise CheckpointError(f"it holds a {checkpoint.kind}, not a model that finds things")
    name, task = MODELS[checkpoint.kind]
    check_config(checkpoint.config)
    try:
        with _as_saved(checkpoint), torch.random.fork_rng(devices=[]):
            _check_size(checkpoint)
            model = getattr(tasks, name)(_with_scale(checkpoint.config), ch=CHANNELS, verbose=False)
        _check_layers(model, checkpoint)
        model.load_state_dict(dict(checkpoint.tensors))
        _set_classes(model, checkpoint)
    except (
        ArithmeticError, AssertionError, AttributeError, ImportError, LookupError,
        NotImplementedError, RuntimeError, SyntaxError, TypeError, ValueError,
    ) as error:  # fmt: skip
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"ultralytics does not build its model ({reason})") from error
    model.task, model.args, model.pt_path = task, {"task": task}, ""
    return BuiltModel(model.float().eval(), task)


def check_config(config: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a configuration that no model of ultralytics' own could have.

    ultralytics evaluates texts in it, and builds whatever it names, as often as it says.
    """
    parts = [config.get("backbone"), config.get("head")]
    rows = [row for part in parts if isinstance(part, list) for row in part]
    if not rows or len(rows) > LAYERS_OF_A_MODEL:
        raise CheckpointError(f"its configuration has {len(rows)} layers")
    for row in rows:
        if not isinstance(row, list) or len(row) != 4:
            raise CheckpointError(f"its configuration has the layer {row!r}")
        origin, repeats, layer, arguments = row
        if not isinstance(layer, str) or layer not in LAYERS:
            raise CheckpointError(f"its configuration names a layer {layer!r}")
        if not isinstance(repeats, int) or not 0 <= repeats <= REPEATS:
            raise CheckpointError(f"its configuration repeats {layer} {repeats!r} times")
        for value in _flat_values([origin, arguments]):
            if isinstance(value, str) and value not in ARGUMENTS:
                raise CheckpointError(f"its configuration gives {layer} the text {value!r}")
    for value in _flat_values([rows, *(config.get(key) for key in NUMBERS)]):
        if isinstance(value, (int, float)) and abs(value) > GREATEST:
            raise CheckpointError(f"its configuration has the number {value!r}")
    activation = config.get("activation")
    if activation and not (isinstance(activation, str) and ACTIVATION.fullmatch(activation)):
        raise CheckpointError(f"its configuration has the activation {activation!r}")
    if config.get("channels", config.get("ch", CHANNELS)) != CHANNELS:
        raise CheckpointError("it wants pictures of other than 3 channels")


@contextmanager
def _as_saved(checkpoint: YoloCheckpoint) -> Generator[None, None, None]:
    """Inside this block ultralytics builds the kind of head that the file has.

    It chooses between two kinds of class branches by the model's other layers, and for some weeks
    of 2024 gave the newer kind to older models too. Afterwards the default activation, which it
    sets for the whole process, is what it was.
    """
    from ultralytics.nn import modules

    make = modules.Detect.__init__
    branch = re.compile(r"model\.\d+\.cv3\.0\.0\.0\.conv\.weight")
    legacy = not any(map(branch.fullmatch, checkpoint.tensors))

    def make_as_saved(self: Any, *given: Any, **named: Any) -> None:
        self.legacy = legacy
        make(self, *given, **named)

    activation = modules.Conv.default_act
    with (
        patch_attribute(modules.Detect, "__init__", make_as_saved),
        patch_attribute(modules.Conv, "default_act", activation),
    ):
        yield


def _check_layers(model: Any, checkpoint: YoloCheckpoint) -> None:
    """Raises CheckpointError where a layer of the file would work differently from the one built.

    It is of another class, has other settings or hooks, or a function in the place of a method.
    """
    built = dict(model.named_modules(remove_duplicate=False))
    for name, saved in checkpoint.layers.items():
        if name not in built:
            raise CheckpointError(f"its configuration gives no layer {name!r}")
        _check_layer(name or "model", saved, built[name])


def _check_layer(name: str, saved: Layer, built: Any) -> None:
    kind = type(built).__name__
    if RENAMED.get(saved.kind, saved.kind) != kind:
        raise CheckpointError(f"its layer {name} is a {saved.kind} instead of a {kind}")
    for key, value in saved.items():
        if key.endswith("_hooks") and value:
            raise CheckpointError(f"its layer {name} has hooks, which are code")
        if callable(getattr(type(built), key, None)) and not _is_plain(value):
            raise CheckpointError(f"its layer {name} has a function for {key!r}, which is code")
    for key, value in vars(built).items():
        found = saved.get(key, value)
        if key not in FREE and _is_plain(value) and not (_is_plain(found) and found == value):
            raise CheckpointError(f"its layer {name} has another {key} than its configuration says")


def _is_plain(value: Any) -> bool:
    """A number, a text or None, or a short list of such."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    return len(values) <= 32 and all(
        item is None or isinstance(item, (int, float, str)) for item in values
    )


def _check_size(checkpoint: YoloCheckpoint) -> None:
    """Raises CheckpointError where the tensors are not the model's, or its results are too large.

    Computed on torch's meta device, which holds shapes without values.
    """
    import torch
    from torch.nn.modules.module import register_module_module_registration_hook
    from ultralytics.nn import tasks

    def refuse_large(module: object, given: object, result: object) -> None:
        for value in _flat_values(result):
            if isinstance(value, torch.Tensor) and value.numel() > VALUES_OF_A_LAYER:
                raise CheckpointError(f"a layer of it gives {value.numel()} values")

    modules = itertools.count()

    def refuse_many(*_: object) -> None:
        if next(modules) > MODULES:
            raise CheckpointError(f"its configuration gives more than {MODULES} modules")

    counting = register_module_module_registration_hook(refuse_many)
    with counting, torch.device("meta"), torch.inference_mode():
        layers, _ = tasks.parse_model(_with_scale(checkpoint.config), CHANNELS, verbose=False)
        wanted = {f"model.{name}": tensor.shape for name, tensor in layers.state_dict().items()}
        if wanted != {name: tensor.shape for name, tensor in checkpoint.tensors.items()}:
            raise CheckpointError("its tensors are not those of its configuration")
        for module in layers.modules():
            module.register_forward_hook(refuse_large)
        results: list[Any] = []
        current: Any = torch.zeros(1, CHANNELS, SIDE_PX, SIDE_PX)
        for layer in layers.eval()[:-1]:
            if layer.f != -1:
                sources = [layer.f] if isinstance(layer.f, int) else layer.f
                seen = [current if source == -1 else results[source] for source in sources]
                current = seen[0] if isinstance(layer.f, int) else seen
            if isinstance(layer, tasks.ImagePoolingAttn):  # it changes the classes' texts alone
                results.append(None)
                continue
            texts = (torch.zeros(1, 1, 512),) if isinstance(layer, tasks.C2fAttn) else ()
            current = layer(current, *texts)
            results.append(current)


def _with_scale(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, as ultralytics changes its argument; with the scale that it would assume."""
    copied = deepcopy(dict(config))
    if copied.get("scales") and not copied.get("scale"):
        copied["scale"] = next(iter(copied["scales"]))
    return copied


def _set_classes(model: Any, checkpoint: YoloCheckpoint) -> None:
    """Set the classes' names and, in a model that takes classes as texts, their embeddings."""
    head = model.model[-1]
    for name in ("txt_feats", "pe"):
        if (texts := checkpoint.layers[""].get(name)) is not None:
            if texts.ndim != 3 or not 0 < texts.shape[1] <= GREATEST:
                raise CheckpointError(f"its {name} have the shape {tuple(texts.shape)}")
            setattr(model, name, texts.float())
            head.nc = texts.shape[1]
    known = checkpoint.names
    model.names = {number: known.get(number, str(number)) for number in range(head.nc)}


def _predictor_class(model: Any, task: str) -> Any:
    from ultralytics.models import rtdetr, yolo

    if type(model).__name__ == "RTDETRDetectionModel":
        return rtdetr.RTDETRPredictor
    return {
        "detect": yolo.detect.DetectionPredictor,
        "segment": yolo.segment.SegmentationPredictor,
    }[task]


def _flat_values(value: Any) -> Iterator[Any]:
    """The values in nested lists, tuples and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat_values(item)
    else:
        yield value
