"""EXIF entries are found and set in place, and a malformed block is no entry at all."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autofix.imagefiles import exif


def block(order, *, kind=3, count=1, value=6):
    """A block of one directory with one orientation entry."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    number = struct.pack(order + {1: "B", 3: "H", 4: "I"}.get(kind, "I"), value).ljust(4, b"\0")
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + number
    return exif.PREFIX + head + struct.pack(order + "H", 1) + entry + bytes(4) + b"maker note"


def commented(comment, order="<"):
    made = Image.Exif()
    made[0x8769] = {0x9286: comment}
    made.endian = order
    return made.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_the_orientation_is_read_and_reset_and_the_rest_stays(order, kind):
    turned = block(order, kind=kind)
    assert exif.read_orientation(turned) == 6
    assert exif.set_upright(turned) == block(order, kind=kind, value=1)


@pytest.mark.parametrize(
    "damaged",
    [
        exif.PREFIX,
        exif.PREFIX + b"II*\0",
        exif.PREFIX + b"II*\0\xff\xff\xff\xff",
        exif.PREFIX + b"nonsense" * 4,
        block("<")[:-16],
        block("<", kind=2),
        block("<", count=2),
    ],
)
def test_what_cannot_be_read_is_not_there_and_not_changed(damaged):
    assert exif.read_orientation(damaged) is None
    assert exif.set_upright(damaged) == damaged
    assert exif.user_comment(damaged) is None


@pytest.mark.parametrize("value", [0, 9])
def test_an_orientation_out_of_range_is_none(value):
    assert exif.read_orientation(block("<", value=value)) is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("comment", [b"abc", b"abcd", b"a longer comment"])
def test_a_user_comment_is_read(order, comment):
    assert exif.user_comment(commented(comment, order)) == comment


def test_a_user_comment_that_is_cut_short_is_none():
    assert exif.user_comment(commented(b"a longer comment")[:-5]) is None
    other = Image.Exif()
    other[0x8769] = {0x9003: "2024:01:01 00:00:00"}
    assert exif.user_comment(other.tobytes()) is None


def test_a_prefix_is_there_once():
    once = block("<")
    for stored in (once, once[6:], exif.PREFIX + once):
        assert exif.normalise(stored) == once


def test_texts_are_added_and_lines_of_one_key_replaced():
    made = exif.with_text(None, comment="é", described={"a": "1", "b": "2"})
    again = exif.with_text(made, comment=None, described={"a": "3"})
    loaded = exif.for_pillow(again)
    assert loaded[0x010E] == b"b: 2\na: 3"
    assert exif.user_comment(again) == b"UNICODE\0\0\xe9"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_no_damage_makes_reading_raise(data):
    whole = bytearray(commented(b"ASCII\0\0\0a comment", data.draw(st.sampled_from("<>"))))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    stored = exif.normalise(cut)
    assert exif.read_orientation(stored) in {None, *range(1, 9)}
    assert len(exif.set_upright(stored)) == len(stored)
    assert isinstance(exif.user_comment(stored), bytes | None)
