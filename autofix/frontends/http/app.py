"""autofix over HTTP: a FastAPI application."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from autofix.errors import BusyError, PictureError, UsageError
from autofix.fixer import Fixer
from autofix.frontends.http import response
from autofix.frontends.http.client_settings import ForbiddenError, apply_client_settings
from autofix.frontends.http.upload import (
    FormRequest,
    Limits,
    PicturePart,
    RecipePart,
    Upload,
    decode_upload,
    http_error,
    read_changes,
    read_picture,
)
from autofix.pipeline.pipeline import Pipeline
from autofix.records import outcome_record, version
from autofix.settings.recipe import Recipe
from autofix.values import Outcome

__all__ = ["LOOPBACK", "Limits", "make_app"]

Guard = Callable[[Request], Awaitable[None]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
"""Of the histogram of seconds."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names of this machine that no other machine can reach."""


class Health(BaseModel):
    """The body of GET /health."""

    status: str
    version: str
    waiting: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def make_app(tool: Fixer | Pipeline, limits: Limits | None = None, *, token: str = "") -> FastAPI:
    """The application: POST /fix, GET /health, /metrics, /docs and /openapi.json.

    With a `token`, /fix and /metrics require it as bearer token; without one they answer only
    programs of this machine, and no web site in one of its browsers.
    """
    pipeline = tool.pipeline if isinstance(tool, Fixer) else tool
    guard = _token_guard(token) if token else _check_local
    service = _Service(pipeline, limits or Limits(), guard)

    app = FastAPI(
        title="autofix",
        version=version(),
        description="Fixes faces and hands in generated pictures.",
    )
    guards = [Depends(_BEARER), Depends(guard)] if token else [Depends(guard)]
    guarded = _error_responses(401 if token else 403)
    app.get("/health", responses=_error_responses(503))(service.health)
    app.get("/metrics", response_class=PlainTextResponse, responses=guarded, dependencies=guards)(
        service.metrics
    )
    router = APIRouter(route_class=service.bounded_route())
    router.post(
        "/fix",
        response_class=Response,
        responses={200: _FIXED, **guarded, **_error_responses(403, 413, 415, 422, 500, 503)},
        dependencies=guards,
    )(service.fix)
    app.include_router(router)
    return app


class _Service:
    """The functions behind the routes."""

    def __init__(self, pipeline: Pipeline, limits: Limits, guard: Guard) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._guard = guard
        self._waiting = 0
        self._room = asyncio.Semaphore(pipeline.most_in_flight)
        self._registry = registry = CollectorRegistry()
        self._answers = Counter("autofix_answers", "Of POST /fix.", ["code"], registry=registry)
        self._pictures = Counter("autofix_pictures", "Fixed.", ["status"], registry=registry)
        self._regions = Counter("autofix_regions", "Faces, hands.", ["result"], registry=registry)
        self._seconds = Histogram(
            "autofix_seconds", "Of a picture's fix.", buckets=_BUCKETS, registry=registry
        )
        waiting = Gauge("autofix_waiting", "Pictures that wait.", registry=registry)
        waiting.set_function(lambda: self._waiting)

    async def health(self) -> Health:
        """Whether pictures can be fixed."""
        if self._pipeline.closed:
            raise http_error(503, "autofix is stopping")
        return Health(status="ok", version=version(), waiting=self._waiting)

    async def metrics(self) -> Response:
        """Counts and times, for Prometheus."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def bounded_route(self) -> type[APIRoute]:
        """A route for `fix` that refuses whom it can before it reads the body."""
        handle_bounded = self._handle_bounded

        class BoundedRoute(APIRoute):
            def get_route_handler(self) -> Handler:
                return partial(handle_bounded, handle=super().get_route_handler())

        return BoundedRoute

    async def _handle_bounded(self, request: Request, handle: Handler) -> Response:
        """Count the answer; bound how much is read, how many wait, and the time in all."""
        await self._guard(request)
        try:
            if self._waiting >= self._limits.waiting:
                raise http_error(503, f"{self._waiting} pictures wait already")
            bounded = FormRequest(request, self._limits)
            answer = await asyncio.wait_for(handle(bounded), self._limits.seconds)
        except HTTPException as error:
            self._answers.labels(error.status_code).inc()
            raise
        except asyncio.TimeoutError:
            self._answers.labels(503).inc()
            raise http_error(503, f"it took longer than {self._limits.seconds:g} s") from None
        self._answers.labels(answer.status_code).inc()
        return answer

    async def fix(
        self, request: Request, picture: PicturePart, recipe: RecipePart = "{}"
    ) -> Response:
        """Fix one picture: it comes back in its own format and size.

        What was done to it is in the header X-Autofix-Outcome, cut short where it is long. With
        `Accept: multipart/mixed` it comes whole, as the first of two parts.
        """
        upload, changes = await read_picture(picture, self._limits), await read_changes(recipe)
        try:
            chosen = apply_client_settings(self._pipeline.recipe, changes)
            outcome, seconds = await self._fix_upload(upload, chosen)
        except ForbiddenError as error:
            raise http_error(403, str(error)) from error
        except BusyError as error:
            raise http_error(503, str(error)) from error
        except (UsageError, PictureError) as error:
            raise http_error(422, str(error)) from error
        except Exception as error:
            raise http_error(500, f"{type(error).__name__}: {error}") from error
        return await asyncio.to_thread(
            self._picture_response, request, upload, chosen, outcome, seconds
        )

    async def _fix_upload(self, upload: Upload, recipe: Recipe) -> tuple[Outcome, float]:
        """Wait for room, so that only pictures in flight are decoded; then fix the picture.

        Returns also the seconds since there was room. Raises BusyError where too many wait.
        """
        if self._room.locked() and self._waiting >= self._limits.waiting:
            raise BusyError(f"{self._waiting} pictures wait already", "try again in a while")
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1
        started = time.perf_counter()
        try:
            picture = await asyncio.to_thread(decode_upload, upload)
            outcome = await asyncio.wrap_future(self._pipeline.submit(picture, recipe))
            return outcome, time.perf_counter() - started
        finally:
            self._room.release()

    def _picture_response(
        self, request: Request, upload: Upload, recipe: Recipe, outcome: Outcome, seconds: float
    ) -> Response:
        record = outcome_record(
            outcome,
            input=upload.name,
            output=None,
            seconds=seconds,
            recipe=recipe.name,
            model=self._pipeline.model,
        )
        self._seconds.observe(seconds)
        self._pictures.labels(record["status"]).inc()
        for region in record["regions"]:
            self._regions.labels(region["result"]).inc()
        try:
            data, media_type = response.encode_fixed(outcome, upload.data)
        except PictureError as error:
            raise http_error(422, str(error)) from error
        if response.wants_mixed(request.headers.get("accept", "")):
            data, media_type = response.mixed_body(record, data, media_type)
            return Response(data, media_type=media_type)
        headers = {response.OUTCOME_HEADER: response.outcome_header(record)}
        return Response(data, media_type=media_type, headers=headers)


_BEARER = HTTPBearer(auto_error=False)


def _token_guard(token: str) -> Guard:
    """A dependency that refuses requests without the token."""

    async def check_token(request: Request) -> None:
        given = await _BEARER(request)
        token_given = given.credentials if given else ""
        if not hmac.compare_digest(token_given.encode(), token.encode()):
            raise HTTPException(
                401, "the token is missing or wrong", headers={"WWW-Authenticate": "Bearer"}
            )

    return check_token


async def _check_local(request: Request) -> None:
    """Refuses requests that a web site makes a browser of this machine send."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    try:
        local = urlsplit(f"//{host}").hostname in LOOPBACK
        same = origin is None or urlsplit(origin).netloc == host
    except ValueError:
        local = same = False
    if not (local and same):
        raise HTTPException(403, "only this machine's own programs may call without a token")


def _error_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    # Not as a "model", which FastAPI documents under the type of the route's own response.
    content = {"application/json": {"schema": Problem.model_json_schema()}}
    return {code: {"description": _ERRORS[code], "content": content} for code in codes}


_ERRORS = {
    401: "The token is missing or wrong.",
    403: "The call comes from a web site, or sets what only the server may set.",
    413: "The picture or the body is too large.",
    415: "The body is no form, or the picture's declared type is no picture's.",
    422: "The form, the recipe or the picture cannot be used.",
    500: "The picture could not be fixed.",
    503: "Too many pictures wait, or it took too long.",
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}

_FIXED: dict[str, Any] = {
    "description": "The picture, fixed.",
    "content": dict.fromkeys((*response.MEDIA_TYPES.values(), response.MIXED), _BINARY),
    "headers": {
        response.OUTCOME_HEADER: {
            "description": "What was done, as JSON; absent from multipart/mixed.",
            "schema": {"type": "string"},
        }
    },
}
