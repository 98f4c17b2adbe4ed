"""What a client sends to POST /fix: a picture and changes to the recipe; and the work on it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from autofix.errors import PictureError
from autofix.imagefiles.decode import PILLOW_ERRORS, Unreadable, decode, optional_formats
from autofix.values import Picture

PARTS = ("picture", "recipe")
"""The parts of the form; the second may be left out."""

_BYTES = "application/octet-stream"
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", *optional_formats())
_RECIPE_BYTES = 64 * 1024
_FRAME_BYTES = 64 * 1024  # the boundaries and headers of the parts


@dataclass(frozen=True)
class Limits:
    """What a server takes: requests that wait, bytes and pixels of a picture, seconds in all."""

    waiting: int = 32
    picture_bytes: int = 64 * 2**20
    picture_pixels: int = 50_000_000
    seconds: float = 300.0


@dataclass(frozen=True)
class Upload:
    """A picture's file: the name it was sent under, and its bytes."""

    name: str
    data: bytes


class _TooLargeError(MultiPartException):
    pass


def refusal(code: int, why: str) -> HTTPException:
    """The answer to a request that is not served; 503 says when to come back."""
    return HTTPException(code, why, headers={"Retry-After": "5"} if code == 503 else None)


async def read_form(request: Request, limits: Limits) -> tuple[Upload, dict[str, object]]:
    """The picture and the changes to the recipe, of which no more is read than fits the limits.

    Raises HTTPException: 413 for what is too large, 415 for another kind of body or of picture,
    422 for a form or a recipe that does not hold.
    """
    kind = _media_type(request.headers.get("content-type"))
    if kind != "multipart/form-data":
        raise refusal(415, f"the body must be multipart/form-data, not {kind!r}")
    most = limits.picture_bytes + _RECIPE_BYTES + _FRAME_BYTES
    stream = _bounded(request, most)
    parser = MultiPartParser(request.headers, stream, max_part_size=_RECIPE_BYTES)
    try:
        form = await parser.parse()
    except _TooLargeError as error:
        raise refusal(413, f"the body is larger than {most} bytes") from error
    except MultiPartException as error:
        raise refusal(422, f"the body is no form that can be read: {error.message}") from error
    try:
        return await _picture(form, limits), await _changes(form)
    finally:
        await form.close()


async def _bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body, as far as `most` bytes."""
    declared = request.headers.get("content-length", "")
    seen = int(declared) if declared.isdecimal() else 0
    if seen > most:
        raise _TooLargeError("")
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > most:
            raise _TooLargeError("")
        yield chunk


async def _picture(form: FormData, limits: Limits) -> Upload:
    picture = form.get("picture")
    names = [name for name, _ in form.multi_items()]
    if not isinstance(picture, UploadFile) or len(names) > len({*names} & {*PARTS}):
        raise refusal(422, "the form holds one file `picture`, at most one `recipe`, and no more")
    kind = _media_type(picture.content_type)
    if kind not in (_BYTES, "") and not kind.startswith("image/"):
        raise refusal(415, f"the picture is declared as {kind!r}, which is no kind of picture")
    if (picture.size or 0) > limits.picture_bytes:
        raise refusal(413, f"the picture is larger than {limits.picture_bytes} bytes")
    data = await picture.read()
    if _pixels(data) > limits.picture_pixels:
        raise refusal(413, f"the picture has more than {limits.picture_pixels} pixels")
    return Upload((picture.filename or "picture")[-200:], data)


async def _changes(form: FormData) -> dict[str, object]:
    """The recipe's JSON object; text that no UTF-8 can hold is refused."""
    said: Any = form.get("recipe", "{}")
    try:
        if isinstance(said, UploadFile):
            said = (await said.read(_RECIPE_BYTES + 1)).decode()
        if len(said) > _RECIPE_BYTES:
            raise refusal(413, f"the recipe is larger than {_RECIPE_BYTES} bytes")
        changes = json.loads(said) if said.strip() else {}
        json.dumps(changes, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise refusal(422, f"the recipe is no JSON: {str(error)[:200]!r}") from error
    if not isinstance(changes, Mapping):
        raise refusal(422, 'the recipe is no JSON object like {"inpaint.strength": 0.3}')
    return dict(changes)


def _pixels(data: bytes) -> int:
    """How many pixels a picture's head promises; 0 where it cannot be read, which is said later."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.width * image.height
    except PILLOW_ERRORS:
        return 0


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()[:100]


def decoded(upload: Upload) -> Picture:
    """The picture that was sent. Raises PictureError for what is no picture."""
    try:
        found = decode(io.BytesIO(upload.data))
    except Unreadable as error:
        raise PictureError(f"the picture {error.problem}", error.advice) from None
    except PILLOW_ERRORS as error:
        raise PictureError(f"the picture is damaged ({error})", "save it again") from error
    return Picture(found.pixels, upload.name, found.source)
