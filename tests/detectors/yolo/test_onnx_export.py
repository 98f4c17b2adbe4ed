from __future__ import annotations

import sys

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.yolo.onnx_export import OnnxHeader, read_header


def write_model(path, **metadata):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 32, 32])
        for name in ("images", "output")
    ]
    one = numpy_helper.from_array(np.ones((), np.float32), "one")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "one"], ["output"])], "same", ends[:1], ends[1:], [one]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def test_export_tells_its_task_and_what_it_takes(shape_models):
    fixed = OnnxHeader(task="detect", batch=2, size_wh=(640, 640))
    assert read_header(shape_models / "detect-pairs.onnx") == fixed
    free = OnnxHeader(task="segment", batch=None, size_wh=None)
    assert read_header(shape_models / "segment-dynamic.onnx") == free


@pytest.mark.parametrize(
    "metadata",
    [{}, {"task": "detect"}, {"task": "detect", "names": "face"}, {"names": "{0: 'face'}"}],
)
def test_file_of_another_maker_is_refused_with_the_way_to_export(tmp_path, metadata):
    with pytest.raises(DetectorError, match=r"does not say what it detects.*yolo export"):
        read_header(write_model(tmp_path / "other.onnx", **metadata))


def test_complete_header_is_read(tmp_path):
    path = write_model(tmp_path / "ours.onnx", task="detect", names="{0: 'face'}")
    assert read_header(path) == OnnxHeader(task="detect", batch=1, size_wh=(32, 32))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07" * 50])
def test_damaged_file_is_named(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(DetectorError, match=r"bad\.onnx is not an ONNX model"):
        read_header(tmp_path / "bad.onnx")


def test_missing_onnxruntime_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DetectorError, match="pip install onnxruntime"):
        read_header(tmp_path / "any.onnx")
