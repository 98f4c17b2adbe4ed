"""The form of POST /fix: a picture, and changes to the recipe."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from PIL import Image
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from autofix.errors import PictureError
from autofix.frontends.http.client_settings import ALLOWED
from autofix.imagefiles.decode import PILLOW_ERRORS, Unreadable, decode, optional_formats
from autofix.values import Picture

PicturePart = Annotated[UploadFile, File(description="A PNG, JPEG, WebP, AVIF, TIFF or BMP file.")]
"""The form's part `picture`, as its schema shows it."""

RecipePart = Annotated[
    str | UploadFile,
    Form(
        description='Settings for this picture: {"inpaint.strength": 0.3} or '
        '{"inpaint": {"strength": 0.3}}. Clients may set: ' + ", ".join(sorted(ALLOWED)),
        json_schema_extra={"contentMediaType": "application/json"},
    ),
]
"""The form's part `recipe`; it may be text or a file."""

_PARTS = {"picture", "recipe"}
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", *optional_formats())
_RECIPE_BYTES = 64 * 1024
"""The largest recipe."""

_FRAME_BYTES = 64 * 1024
"""For the boundaries and headers of the parts."""


@dataclass(frozen=True)
class Limits:
    """A server's limits: waiting requests, bytes and pixels of a picture, seconds of a request."""

    waiting: int = 32
    picture_bytes: int = 64 * 2**20
    picture_pixels: int = 50_000_000
    seconds: float = 300.0


@dataclass(frozen=True)
class Upload:
    """A picture's file: the name it was sent under, and its bytes."""

    name: str
    data: bytes


def http_error(code: int, why: str) -> HTTPException:
    """The error that answers a request; 503 says when to try again."""
    return HTTPException(code, why, headers={"Retry-After": "5"} if code == 503 else None)


class FormRequest(Request):
    """A request whose form is read only as far as the limits allow."""

    def __init__(self, request: Request, limits: Limits) -> None:
        super().__init__(request.scope, request.receive)
        self._most_bytes = limits.picture_bytes + _RECIPE_BYTES + _FRAME_BYTES

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body. Raises HTTPException, 413, where it is or will be too large."""
        declared = self.headers.get("content-length", "")
        self._check_size(int(declared) if declared.isdecimal() else 0)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            self._check_size(size)
            yield chunk

    async def form(self, **limits: Any) -> FormData:  # type: ignore[override]
        """The form of one picture and perhaps a recipe.

        Raises HTTPException: 413 for what is too large, 415 for another kind of body, 422 for
        what is no such form.
        """
        kind = _media_type(self.headers.get("content-type"))
        if kind != "multipart/form-data":
            raise http_error(415, f"the body must be multipart/form-data, not {kind!r}")
        try:
            form = await super().form(max_part_size=_RECIPE_BYTES)
        except HTTPException as error:
            if error.status_code != 400:
                raise
            problem = f"the body is no form that can be read: {error.detail}"
            raise http_error(422, problem) from error
        names = [name for name, _ in form.multi_items()]
        if len(names) > len({*names} & _PARTS) or isinstance(form.get("picture", ""), str):
            await form.close()
            problem = "the form holds one file `picture`, at most one `recipe`, and no more"
            raise http_error(422, problem)
        return form

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            raise http_error(413, f"the body is larger than {self._most_bytes} bytes")


async def read_picture(picture: UploadFile, limits: Limits) -> Upload:
    """The picture's file. Raises HTTPException: 413 if too large, 415 if declared otherwise."""
    kind = _media_type(picture.content_type)
    if kind not in ("application/octet-stream", "") and not kind.startswith("image/"):
        raise http_error(415, f"the picture is declared as {kind!r}, which is no kind of picture")
    if (picture.size or 0) > limits.picture_bytes:
        raise http_error(413, f"the picture is larger than {limits.picture_bytes} bytes")
    data = await picture.read()
    if _count_pixels(data) > limits.picture_pixels:
        raise http_error(413, f"the picture has more than {limits.picture_pixels} pixels")
    return Upload((picture.filename or "picture")[-200:], data)


async def read_changes(recipe: str | UploadFile) -> dict[str, object]:
    """The changes to the recipe, a JSON object, sent as text or as a file.

    Raises HTTPException: 413 if it is too large, 422 for other JSON, for none, and for text that
    no UTF-8 can hold.
    """
    try:
        text = (
            recipe if isinstance(recipe, str) else (await recipe.read(_RECIPE_BYTES + 1)).decode()
        )
        if len(text) > _RECIPE_BYTES:
            raise http_error(413, f"the recipe is larger than {_RECIPE_BYTES} bytes")
        changes = json.loads(text) if text.strip() else {}
        json.dumps(changes, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise http_error(422, f"the recipe is no JSON: {str(error)[:200]!r}") from error
    if not isinstance(changes, Mapping):
        raise http_error(422, 'the recipe is no JSON object like {"inpaint.strength": 0.3}')
    return dict(changes)


def _count_pixels(data: bytes) -> int:
    """The pixels that a picture's header declares; 0 where it cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.width * image.height
    except PILLOW_ERRORS:
        return 0


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()[:100]


def decode_upload(upload: Upload) -> Picture:
    """The picture of an upload. Raises PictureError where it cannot be decoded."""
    try:
        found = decode(io.BytesIO(upload.data))
    except Unreadable as error:
        raise PictureError(f"the picture {error.problem}", error.advice) from None
    except PILLOW_ERRORS as error:
        raise PictureError(f"the picture is damaged ({error})", "save it again") from error
    return Picture(found.pixels, upload.name, found.source)
