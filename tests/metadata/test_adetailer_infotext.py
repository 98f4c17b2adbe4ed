"""ADetailer's arguments come back from the infotext keys they are written as."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autofix.metadata import GenerationText, format_generation, parse_generation
from autofix.metadata.adetailer_infotext import DEFAULTS, NAMES, infotext_keys, ordinal, tabs_of


def test_every_argument_has_one_key():
    assert len(set(NAMES.values())) == len(DEFAULTS)


@pytest.mark.parametrize(
    ("tab", "suffix"),
    [(1, ""), (2, " 2nd"), (3, " 3rd"), (4, " 4th"), (11, " 11th"), (13, " 13th"), (22, " 22nd")],
)
def test_tabs_have_suffixes(tab, suffix):
    assert ordinal(tab) == suffix
    assert list(tabs_of(infotext_keys({"ad_model": "m"}, tab))) == [tab]


VALUES = {
    bool: st.booleans(),
    int: st.integers(-999, 999),
    float: st.floats(0, 100).map(lambda value: round(value, 3)),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    type(None): st.text(st.sampled_from("abc.-"), min_size=1, max_size=8),
}
ARGS = st.fixed_dictionaries(
    {"ad_model": st.sampled_from(("face_yolov8n.pt", "a, b: c.pt"))},
    optional={
        arg: VALUES[type(default)]
        for arg, default in DEFAULTS.items()
        if arg not in ("ad_model", "ad_tab_enable")
    },
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(ARGS, min_size=1, max_size=4))
def test_any_arguments_are_read_as_they_were_written(tabs):
    """What is left out is what has no effect: reading it gives the same keys again."""
    pairs = [pair for n, args in enumerate(tabs, start=1) for pair in infotext_keys(args, n)]
    text = format_generation(GenerationText("a cat", settings=(("Steps", "3"),)), extra=pairs)
    found = tabs_of(parse_generation(text).settings)
    assert sorted(found) == list(range(1, len(tabs) + 1))
    for number, args in enumerate(tabs, start=1):
        written = dict(infotext_keys(args, number))
        for arg, value in found[number].items():
            assert str(value) == written[NAMES[arg] + ordinal(number)]
        assert len(found[number]) == len(written)


def test_strange_keys_are_nobodys():
    assert tabs_of([("ADetailer version", "25"), ("ADetailer nonsense", "1"), ("Steps", "3")]) == {}
