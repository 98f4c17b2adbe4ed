"""autofix over HTTP: a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel

from autofix.errors import BusyError, PictureError, UsageError
from autofix.fixer import Fixer
from autofix.frontends.http import response as answer
from autofix.frontends.http.client_settings import ALLOWED, ForbiddenError, requested
from autofix.frontends.http.upload import (
    PARTS,
    Done,
    FixUploads,
    Limits,
    Upload,
    read_form,
    refusal,
)
from autofix.frontends.worker import Worker
from autofix.pipeline.pipeline import Pipeline
from autofix.records import version
from autofix.settings.recipe import Recipe

__all__ = ["LOOPBACK", "Limits", "make_app"]

_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names of this machine that no other can reach."""


class Health(BaseModel):
    """The answer to GET /health."""

    status: str
    version: str
    waiting: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def make_app(
    tool: Fixer | Pipeline | Worker, limits: Limits | None = None, *, token: str = ""
) -> FastAPI:
    """The application: POST /fix, GET /health, /metrics, /docs and /openapi.json.

    A Worker must be entered by the caller, and has its own bound of what may wait. With a `token`,
    /fix and /metrics want it as bearer; without one they answer only to this machine's own
    programs, and to no web site that its browsers show.
    """
    own = not isinstance(tool, Worker)
    limits = limits or Limits()
    pipeline = tool if isinstance(tool, Pipeline) else tool.pipeline
    worker = tool if isinstance(tool, Worker) else Worker(pipeline, waiting=limits.waiting)
    service = _Service(worker, limits)

    @contextlib.asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        with worker if own else contextlib.nullcontext():
            yield

    app = FastAPI(
        title="autofix",
        version=version(),
        description="Fixes faces and hands in generated pictures.",
        lifespan=working,
    )
    guard = [Depends(_wants(token) if token else _from_here)]
    guarded = _problems(401 if token else 403)
    app.get("/health", responses=_problems(503))(service.health)
    app.get("/metrics", response_class=PlainTextResponse, responses=guarded, dependencies=guard)(
        service.metrics
    )
    app.post(
        "/fix",
        response_class=Response,
        responses={200: _FIXED, **guarded, **_problems(403, 413, 415, 422, 500, 503)},
        openapi_extra={"requestBody": _BODY},
        dependencies=guard,
    )(service.fix)
    return app


class _Service:
    """What the routes do."""

    def __init__(self, worker: Worker, limits: Limits) -> None:
        self._worker = worker
        self._limits = limits
        self._registry = registry = CollectorRegistry()
        self._answers = Counter("autofix_answers", "Of POST /fix.", ["code"], registry=registry)
        self._pictures = Counter("autofix_pictures", "Fixed.", ["status"], registry=registry)
        self._regions = Counter("autofix_regions", "Faces, hands.", ["result"], registry=registry)
        self._seconds = Histogram(
            "autofix_seconds", "Of a picture's fix.", buckets=_BUCKETS, registry=registry
        )
        waiting = Gauge("autofix_waiting", "Pictures that wait.", registry=registry)
        waiting.set_function(lambda: worker.waiting)

    async def health(self) -> Health:
        """Whether pictures can be fixed."""
        if not self._worker.alive:
            raise refusal(503, "the worker has ended: start autofix again")
        return Health(status="ok", version=version(), waiting=self._worker.waiting)

    async def metrics(self) -> Response:
        """Counts and times, for Prometheus."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def fix(self, request: Request) -> Response:
        """Fix one picture: it comes back in its own format and size.

        What was done to it is in the header X-Autofix-Outcome, cut short where it is long. With
        `Accept: multipart/mixed` it comes whole, as the first of two parts.
        """
        try:
            response = await asyncio.wait_for(self._fix(request), self._limits.seconds)
        except HTTPException as error:
            self._answers.labels(error.status_code).inc()
            raise
        except asyncio.TimeoutError:
            self._answers.labels(503).inc()
            raise refusal(503, f"it took longer than {self._limits.seconds:g} s") from None
        self._answers.labels(response.status_code).inc()
        return response

    async def _fix(self, request: Request) -> Response:
        if self._worker.full:
            raise refusal(503, f"{self._worker.waiting} pictures wait already")
        upload, changes = await read_form(request, self._limits)
        try:
            recipe = requested(self._worker.pipeline.recipe, changes)
            job = self._worker.submit(FixUploads(recipe), upload)
            done: Done = await asyncio.wrap_future(job)
        except ForbiddenError as error:
            raise refusal(403, str(error)) from error
        except BusyError as error:
            raise refusal(503, str(error)) from error
        except (UsageError, PictureError) as error:
            raise refusal(422, str(error)) from error
        except Exception as error:
            raise refusal(500, f"{type(error).__name__}: {error}") from error
        return await asyncio.to_thread(self._response, request, upload, recipe, done)

    def _response(self, request: Request, upload: Upload, recipe: Recipe, done: Done) -> Response:
        model = self._worker.pipeline.model
        record = answer.record_of(
            done.outcome, name=upload.name, seconds=done.seconds, recipe=recipe.name, model=model
        )
        self._seconds.observe(done.seconds)
        self._pictures.labels(record["status"]).inc()
        for region in record["regions"]:
            self._regions.labels(region["result"]).inc()
        try:
            data, media_type = answer.fixed_file(done.outcome, upload.data)
        except PictureError as error:
            raise refusal(422, str(error)) from error
        if answer.wants_mixed(request.headers.get("accept", "")):
            data, media_type = answer.mixed(record, data, media_type)
            return Response(data, media_type=media_type)
        headers = {answer.OUTCOME_HEADER: answer.short(record)}
        return Response(data, media_type=media_type, headers=headers)


_BEARER = HTTPBearer(auto_error=False)


def _wants(token: str) -> Any:
    """A dependency that refuses all who do not bear the token."""

    def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> None:
        said = given.credentials if given else ""
        if not hmac.compare_digest(said.encode(), token.encode()):
            raise HTTPException(
                401, "the token is missing or wrong", headers={"WWW-Authenticate": "Bearer"}
            )

    return check


def _from_here(request: Request) -> None:
    """Refuses what a web site makes a browser of this machine send."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    try:
        local = urlsplit(f"//{host}").hostname in LOOPBACK
        same = origin is None or urlsplit(origin).netloc == host
    except ValueError:
        local = same = False
    if not (local and same):
        raise HTTPException(403, "only this machine's own programs may call without a token")


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    # Not as a "model", which FastAPI documents under the type of the route's own answer.
    content = {"application/json": {"schema": Problem.model_json_schema()}}
    return {code: {"description": _REASONS[code], "content": content} for code in codes}


_REASONS = {
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
    "content": dict.fromkeys((*answer.MEDIA_TYPES.values(), answer.MIXED), _BINARY),
    "headers": {
        answer.OUTCOME_HEADER: {
            "description": "What was done, as JSON; absent from multipart/mixed.",
            "schema": {"type": "string"},
        }
    },
}

_PICTURE, _RECIPE = PARTS

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [_PICTURE],
                "additionalProperties": False,
                "properties": {
                    _PICTURE: {
                        "type": "string",
                        "format": "binary",
                        "description": "A PNG, JPEG, WebP, AVIF, TIFF or BMP file.",
                    },
                    _RECIPE: {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "description": 'Settings for this picture: {"inpaint.strength": 0.3} or '
                        '{"inpaint": {"strength": 0.3}}. Clients may set: '
                        + ", ".join(sorted(ALLOWED)),
                    },
                },
            }
        }
    },
}
