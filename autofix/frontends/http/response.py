"""The answer of POST /fix: the fixed picture, and the record of what was done."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from autofix.errors import PictureError
from autofix.imagefiles.decode import PILLOW_ERRORS
from autofix.imagefiles.encode import encode
from autofix.values import Outcome

OUTCOME_HEADER = "X-Autofix-Outcome"
HEADER_BYTES = 4096
"""Longest header of an outcome: proxies refuse longer ones."""

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}
"""Pillow's name of a format -> its media type."""

MIXED = "multipart/mixed"


def encode_fixed(outcome: Outcome, original: bytes) -> tuple[bytes, str]:
    """The fixed picture's file and its media type; the original's bytes if nothing was changed.

    Raises PictureError where its format cannot hold the fixed picture.
    """
    kind = outcome.picture.source.format
    try:
        data = encode(outcome.picture, kind) if outcome.changed else original
    except PILLOW_ERRORS as error:
        raise PictureError(
            f"{kind} cannot hold the fixed picture ({error})", "send a PNG"
        ) from error
    return data, MEDIA_TYPES[kind]


def outcome_header(record: Mapping[str, Any]) -> str:
    """The record as JSON in ASCII of at most HEADER_BYTES: without prompts and checks.

    Regions that do not fit are counted in `regions_left_out`.
    """
    regions = [
        {key: value for key, value in region.items() if key not in ("prompt", "checks")}
        for region in record["regions"]
    ]
    cut = {**record, "reason": record["reason"][:300], "notes": [], "regions": regions}
    while len(text := json.dumps(cut)) > HEADER_BYTES and regions:
        regions.pop()
        cut["regions_left_out"] = len(record["regions"]) - len(regions)
    return text


def mixed_body(record: Mapping[str, Any], data: bytes, media_type: str) -> tuple[bytes, str]:
    """Record and file as one multipart/mixed body, and the body's media type."""
    boundary = secrets.token_hex(16)
    parts = (("application/json", json.dumps(record).encode()), (media_type, data))
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + part + b"\r\n"
        for kind, part in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"{MIXED}; boundary={boundary}"


def wants_mixed(accept: str) -> bool:
    """Whether an Accept header asks for multipart/mixed by name."""
    for media_range in accept.lower().split(","):
        kind, _, rest = media_range.partition(";")
        if kind.strip() == MIXED:
            return not re.search(r"\bq\s*=\s*0(\.0*)?\s*(;|$)", rest)
    return False
