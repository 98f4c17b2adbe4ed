"""Hashes of files and folders, and their lists."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from weights.checksum import (
    file_sha256,
    folder_digests,
    folder_faults,
    folder_size,
    format_sums,
    parse_sums,
)

NAMES = st.text("abcXYZ 019._-/é", min_size=1, max_size=20)
DIGESTS = st.binary(max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())


def test_hash_of_nothing_and_of_several_blocks(tmp_path):
    for data in (b"", b"ab" * (1 << 20)):
        (tmp_path / "file").write_bytes(data)
        assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@given(st.dictionaries(NAMES, DIGESTS, min_size=1))
def test_list_is_read_back_as_written(digests):
    assert parse_sums(format_sums(digests)) == digests


def test_text_that_is_no_list_is_none():
    assert parse_sums("") is None
    assert parse_sums("hello\n") is None
    assert parse_sums("a" * 64 + "  ok\nhello\n") is None


def test_folder_agrees_with_its_own_list_until_it_is_changed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"345")
    digests = folder_digests(tmp_path, "SUMS")
    assert sorted(digests) == ["b", "sub/a"]
    assert folder_size(tmp_path) == 5
    (tmp_path / "SUMS").write_text(format_sums(digests))
    assert folder_digests(tmp_path, "SUMS") == digests
    assert folder_faults(tmp_path, "SUMS") == []
    (tmp_path / "b").write_bytes(b"346")
    assert [fault[:12] for fault in folder_faults(tmp_path, "SUMS")] == ["b has sha256"]


def test_list_that_is_empty_or_absent_is_a_fault(tmp_path):
    assert folder_faults(tmp_path, "SUMS") == ["there is no SUMS"]
    (tmp_path / "SUMS").touch()
    assert folder_faults(tmp_path, "SUMS") == ["SUMS is not a list of hashes"]
