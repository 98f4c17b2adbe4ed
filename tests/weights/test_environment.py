"""Environment variables -> store."""

from pathlib import Path

import pytest

from weights.environment import cache_dir, default_store, hub_url, is_offline
from weights.errors import SettingError
from weights.store import DEFAULT_HUB


def test_empty_environment_means_online_at_the_default_hub():
    store = default_store({})
    assert (store.hub, store.offline) == (DEFAULT_HUB, False)
    assert store.cache_dir.name == "weights"
    assert "autofix" in str(store.cache_dir)
    assert "blazeface" in store.manifest


def test_cache_is_where_the_user_says():
    assert cache_dir({"AUTOFIX_CACHE": "/data/autofix"}) == Path("/data/autofix/weights")
    assert cache_dir({"AUTOFIX_CACHE": "~/x"}) == Path.home() / "x" / "weights"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, DEFAULT_HUB),
        ({"AUTOFIX_HUB": ""}, DEFAULT_HUB),
        ({"HF_ENDPOINT": "https://mirror/"}, "https://mirror"),
        ({"HF_ENDPOINT": "https://b", "AUTOFIX_HUB": "http://a:8080"}, "http://a:8080"),
    ],
)
def test_hub_is_the_one_of_the_environment(environ, expected):
    assert hub_url(environ) == expected


@pytest.mark.parametrize("value", ["mirror", "ftp://mirror", "https://"])
def test_hub_that_is_no_address_is_refused(value):
    with pytest.raises(SettingError, match="AUTOFIX_HUB is"):
        hub_url({"AUTOFIX_HUB": value})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"HF_HUB_OFFLINE": "1"}, True),
        ({"AUTOFIX_OFFLINE": "yes"}, True),
        ({"AUTOFIX_OFFLINE": "0", "HF_HUB_OFFLINE": "1"}, False),
        ({"AUTOFIX_OFFLINE": "", "HF_HUB_OFFLINE": "ON"}, True),
    ],
)
def test_offline_is_what_the_environment_says(environ, expected):
    assert is_offline(environ) is expected


def test_doubtful_offline_is_refused():
    with pytest.raises(SettingError, match="AUTOFIX_OFFLINE is 'maybe'"):
        is_offline({"AUTOFIX_OFFLINE": "maybe"})
