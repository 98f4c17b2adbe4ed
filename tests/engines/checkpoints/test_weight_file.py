"""Headers of files that are cut short or are no safetensors."""

import struct

import pytest

from autofix.engines.checkpoints.weight_file import read_header
from autofix.errors import ModelError
from tests.engines.headers import write


@pytest.mark.parametrize("cut", [1, 10**9])
def test_a_file_that_was_cut_short_is_refused(shapes, tmp_path, cut):
    path = write(tmp_path / "m.safetensors", shapes["sd1", 4], cut=cut)
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_header(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\xff" * 64, struct.pack("<Q", 8) + b"[1, 2]  "]
)
def test_other_files_are_refused_as_safetensors(tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="no whole safetensors file"):
        read_header(path)
