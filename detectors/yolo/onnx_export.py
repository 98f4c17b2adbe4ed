"""The metadata of an .onnx file that ultralytics exported."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from detectors.errors import DetectorError
from detectors.isolation import process_untouched


@dataclass(frozen=True)
class OnnxHeader:
    """The metadata that ultralytics wrote into an export.

    task: "detect", "segment", ...
    batch: how many pictures every call must have; None if any number will do.
    size_wh: the size in px that every picture must have; None if any multiple of the stride will
    do.
    """

    task: str
    batch: int | None
    size_wh: tuple[int, int] | None


def read_header(path: Path) -> OnnxHeader:
    """Read an .onnx file that ultralytics exported.

    Raises DetectorError if onnxruntime is missing, or the file is damaged or was exported by
    something else.
    """
    with process_untouched({}):
        return _read_session(path)


def _read_session(path: Path) -> OnnxHeader:
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(
            f"{path.name} needs onnxruntime, which cannot be imported ({error}): "
            "pip install onnxruntime (or onnxruntime-gpu), or use the model's .pt file"
        ) from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except onnx_errors() as error:
        raise DetectorError(f"{path} is not an ONNX model that can be read: {error}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    if "task" not in metadata or not _is_names(metadata.get("names", "")):
        raise DetectorError(
            f"{path} does not say what it detects (it has no 'task' and 'names'): "
            "export it with ultralytics, yolo export model=... format=onnx"
        )
    batch, _, height, width = session.get_inputs()[0].shape
    return OnnxHeader(
        task=metadata["task"],
        batch=batch if isinstance(batch, int) else None,
        size_wh=(width, height) if isinstance(width, int) and isinstance(height, int) else None,
    )


def onnx_errors() -> tuple[type[Exception], ...]:
    """The errors of onnxruntime, already imported, for a model that cannot be read or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        *(state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument),
        *(state.NoSuchFile, state.NotImplemented, state.RuntimeException, state.EPFail),
    )


def _is_names(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), dict)
    except (ValueError, SyntaxError):
        return False
