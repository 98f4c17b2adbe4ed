"""The store that the environment variables describe: the cache folder, the hub, online or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from weights.errors import SettingError
from weights.store import DEFAULT_HUB, Store

_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where fetched files go: $AUTOFIX_CACHE/weights, else the system's cache folder."""
    if chosen := environ.get("AUTOFIX_CACHE"):
        return Path(chosen).expanduser() / "weights"
    import platformdirs  # not needed by those who choose

    return Path(platformdirs.user_cache_dir("autofix", appauthor=False)) / "weights"


def hub_url(environ: Mapping[str, str] = os.environ) -> str:
    """Return the hub: $AUTOFIX_HUB, else $HF_ENDPOINT, else the Hugging Face hub."""
    for name in ("AUTOFIX_HUB", "HF_ENDPOINT"):
        if not (url := environ.get(name, "").rstrip("/")):
            continue
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise SettingError(f"{name} is {url!r}", f"it must be like {DEFAULT_HUB}")
        return url
    return DEFAULT_HUB


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether downloads are off: $AUTOFIX_OFFLINE, or $HF_HUB_OFFLINE where that is not set."""
    for name in ("AUTOFIX_OFFLINE", "HF_HUB_OFFLINE"):
        value = environ.get(name, "").strip().lower()
        if value not in (*_YES, *_NO):
            raise SettingError(
                f"{name} is {value!r}", f"it must be one of {', '.join(_YES + _NO[1:])}"
            )
        if value:
            return value in _YES
    return False


def default_store(environ: Mapping[str, str] = os.environ) -> Store:
    """Return the store that the environment describes. Touches no disk but the manifest."""
    return Store(cache_dir(environ), offline=is_offline(environ), hub=hub_url(environ))
