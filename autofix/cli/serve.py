"""autofix serve: fix pictures for other programs, over HTTP and for `autofix hook`."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autofix.cli.options import (
    chosen_recipe,
    idle_unload_option,
    recipe_options,
    root_option,
)
from autofix.errors import UsageError

if TYPE_CHECKING:
    from autofix.pipeline.pipeline import Pipeline

TOKEN_VARIABLE = "AUTOFIX_TOKEN"
"""The environment variable that may hold the token."""

LEAST_TOKEN = 16
"""The shortest token, in characters."""

_LAST_SECONDS = 10
"""For requests that are being answered when the service is stopped."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=7870, show_default=True, type=click.IntRange(0, 65535), metavar="N")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"A file with the token that callers must bear; else ${TOKEN_VARIABLE} holds it.",
)
@root_option("Where `autofix hook` may fix files; repeatable. Else the current folder.")
@click.option("--no-hook", is_flag=True, help="Do not answer `autofix hook`.")
@click.option("--queue", default=32, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--max-mb", default=64, show_default=True, type=click.IntRange(1), metavar="N")
@click.option(
    "--max-megapixels", default=50, show_default=True, type=click.IntRange(1, 170), metavar="N"
)
@click.option(
    "--timeout", default=300.0, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS"
)
@idle_unload_option(0.0)
@recipe_options
def command(
    host: str,
    port: int,
    token_file: Path | None,
    roots: tuple[Path, ...],
    no_hook: bool,
    idle_unload: float,
    **settings: Any,
) -> int:
    """Keep the models loaded, and fix the pictures that other programs send.

    POST /fix takes a picture and gives it back fixed; /docs explains it in a browser. `autofix
    hook` is answered too, for files in the roots. At most --queue pictures wait, of --max-mb and
    --max-megapixels, and a request takes at most --timeout. Ctrl-C or SIGTERM ends it after the
    batch in hand.
    """
    names = ("queue", "max_mb", "max_megapixels", "timeout")
    limits = {name: settings.pop(name) for name in names}
    recipe = chosen_recipe(settings)
    token = read_token(token_file)
    _check_host(host, token)
    _import_http()
    from autofix.cli.progress import download_bar
    from autofix.pipeline.pipeline import Pipeline
    from autofix.pipeline.toolbox import Toolbox

    # Programs that share the cores with torch are slow where its threads wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with ExitStack() as stack:
        stack.enter_context(_exit_at_sigterm())
        listener = stack.enter_context(_listen_at(host, port))
        toolbox = stack.enter_context(Toolbox(recipe, progress=download_bar()))
        pipeline = stack.enter_context(Pipeline(recipe, toolbox, idle_seconds=idle_unload * 60))
        pipeline.open_models()
        if not no_hook:
            stack.enter_context(answering_hook(pipeline, roots, quiet=False))
        name = f"[{host}]" if ":" in host else host
        click.echo(f"autofix serve: http://{name}:{listener.getsockname()[1]}/docs", err=True)
        _serve_http(pipeline, listener, token, limits)
    return 0


@contextmanager
def answering_hook(pipeline: Pipeline, roots: Sequence[Path], *, quiet: bool) -> Iterator[None]:
    """While this lasts, `autofix hook` is answered for files in the roots, else the current folder.

    Raises UsageError where that would be every file.
    """
    from autofix.frontends.hook import answer_hook
    from autofix.frontends.ipc import listening

    here = Path.cwd()
    if not roots and here == Path(here.anchor):
        raise UsageError(
            f"from {here} `autofix hook` could reach every file", "name folders with --root"
        )
    places = roots or (here,)
    with listening(answer_hook(pipeline, places)):
        if not quiet:
            names = " and ".join(map(str, places))
            click.echo(f"autofix hook may fix files in {names}", err=True)
        yield


def _import_http() -> None:
    """Raises UsageError where the libraries for HTTP are missing."""
    try:
        import uvicorn  # noqa: F401

        import autofix.frontends.http.app  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"autofix serve needs {error.name}, which is missing", "pip install autofix[serve]"
        ) from error


def _serve_http(
    pipeline: Pipeline, listener: socket.socket, token: str, limits: Mapping[str, Any]
) -> None:
    """Answer HTTP until SIGINT or SIGTERM."""
    import uvicorn

    from autofix.frontends.http.app import Limits, make_app

    largest = limits["max_mb"] * 2**20, limits["max_megapixels"] * 1_000_000
    app = make_app(
        pipeline, Limits(limits["queue"], *largest, seconds=limits["timeout"]), token=token
    )
    config = uvicorn.Config(
        app,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """SIGTERM ends the command in order: uvicorn stops by it, then raises the signal again."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}",
            "choose another --port, or an address of this machine as --host",
        ) from error


def read_token(file: Path | None) -> str:
    """The token of the file or of the environment, or "". Raises UsageError for a bad one."""
    try:
        text = file.read_text(encoding="utf-8") if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--token-file {file} cannot be read: {error}", "name a text file"
        ) from error
    token = text.strip()
    if (file or token) and (len(token) < LEAST_TOKEN or not token.isascii()):
        raise UsageError(
            f"the token has {len(token)} signs", f"it must be {LEAST_TOKEN} or more, in ASCII"
        )
    return token


def _check_host(host: str, token: str) -> None:
    """Raises UsageError where other machines could call without a token."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not token and not is_local:
        raise UsageError(
            f"others can reach {host}, so callers need a token",
            f"put one into ${TOKEN_VARIABLE} or a --token-file, or leave --host out",
        )
