"""The user's own config file: [models], and [defaults] for all recipes."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Any

from autofix.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTIONS = ("models", "defaults")
"""What the config file may hold."""


def config_defaults() -> dict[str, Any]:
    """What the [defaults] section of the config file sets: recipe keys. Raises UsageError."""
    defaults = read_config().get("defaults", {})
    if not isinstance(defaults, dict):
        raise UsageError(
            f"[defaults] in {config_path()} does not hold", "it takes recipe keys: mask.blur = 4"
        )
    if wrong := {"name", "base", "passes", "description"} & defaults.keys():
        raise UsageError(
            f"[defaults] in {config_path()} sets {min(wrong)!r}, which is a recipe's own",
            "put it into a recipe file",
        )
    return defaults


def read_config() -> dict[str, Any]:
    """All that the config file says; empty where there is none. Raises UsageError."""
    path = config_path()
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"the config file {path} cannot be read: {error}", "mend or remove it"
        ) from error
    for unknown in config.keys() - set(SECTIONS):
        near = difflib.get_close_matches(unknown, SECTIONS, n=1)
        raise UsageError(
            f"the config file {path} sets {unknown!r}, which does not exist",
            f"did you mean [{near[0]}]?" if near else "it has [models] and [defaults]",
        )
    return config


def config_path() -> Path:
    """Where the config file is, or would be: $AUTOFIX_CONFIG, else the system's place for it."""
    if chosen := os.environ.get("AUTOFIX_CONFIG"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("autofix", appauthor=False)) / "config.toml"
