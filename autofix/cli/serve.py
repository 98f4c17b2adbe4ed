"""autofix serve: fix pictures for other programs, over HTTP and for `autofix hook`."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from autofix.cli.options import chosen_recipe, recipe_options
from autofix.errors import UsageError

TOKEN_VARIABLE = "AUTOFIX_TOKEN"
"""The environment variable that may hold the token."""

LEAST_TOKEN = 16
"""How many signs a token has at least."""

_LAST_SECONDS = 10


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=7870, show_default=True, type=click.IntRange(0, 65535), metavar="N")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"A file with the token that callers must bear; else ${TOKEN_VARIABLE} holds it.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where `autofix hook` may fix files; repeatable. Else the current folder.",
)
@click.option("--no-hook", is_flag=True, help="Do not answer `autofix hook`.")
@click.option("--queue", default=32, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--max-mb", default=64, show_default=True, type=click.IntRange(1), metavar="N")
@click.option(
    "--max-megapixels", default=50, show_default=True, type=click.IntRange(1, 170), metavar="N"
)
@click.option(
    "--timeout", default=300.0, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS"
)
@click.option(
    "--idle-unload",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="MINUTES",
    help="Drop the models after so long without work; 0 keeps them.",
)
@recipe_options
def command(
    host: str,
    port: int,
    token_file: Path | None,
    roots: tuple[Path, ...],
    no_hook: bool,
    queue: int,
    max_mb: int,
    max_megapixels: int,
    timeout: float,
    idle_unload: float,
    **settings: Any,
) -> int:
    """Keep the models loaded, and fix the pictures that other programs send.

    POST /fix takes a picture and gives it back fixed; /docs explains it in a browser. `autofix
    hook` is answered too, for files in the roots. At most --queue pictures wait, of --max-mb and
    --max-megapixels, and a request takes at most --timeout. Ctrl-C or SIGTERM ends it after the
    batch in hand.
    """
    recipe = chosen_recipe(settings)
    token = _token(token_file)
    if not token and not _is_loopback(host):
        raise UsageError(
            f"others can reach {host}, so callers need a token",
            f"put one into ${TOKEN_VARIABLE} or a --token-file, or leave --host out",
        )
    try:
        import uvicorn

        from autofix.frontends.http.app import Limits, make_app
    except ImportError as error:
        raise UsageError(
            f"autofix serve needs {error.name}, which is missing", "pip install autofix[serve]"
        ) from error
    from autofix.cli.pulling import download_bar
    from autofix.frontends.hook import answer_hook
    from autofix.frontends.ipc import listening
    from autofix.pipeline.pipeline import Pipeline
    from autofix.pipeline.toolbox import Toolbox

    # Programs that share the cores with torch are slow where its threads wait by spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with ExitStack() as stack:
        stack.enter_context(_ending_at_sigterm())
        door = stack.enter_context(_listening_at(host, port))
        toolbox = stack.enter_context(Toolbox(recipe, progress=download_bar()))
        pipeline = stack.enter_context(Pipeline(recipe, toolbox, idle_seconds=idle_unload * 60))
        pipeline.prepare()
        if not no_hook:
            places = hook_roots(roots)
            stack.enter_context(listening(answer_hook(pipeline, places)))
            click.echo(f"autofix hook may fix files in {' and '.join(map(str, places))}", err=True)
        limits = Limits(queue, max_mb * 2**20, max_megapixels * 1_000_000, timeout)
        config = uvicorn.Config(
            make_app(pipeline, limits, token=token),
            ws="none",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        name = f"[{host}]" if ":" in host else host
        click.echo(f"autofix serve: http://{name}:{door.getsockname()[1]}/docs", err=True)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[door])
    return 0


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """SIGTERM ends it in order: uvicorn does so itself, and then raises the signal again."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _listening_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}",
            "choose another --port, or an address of this machine as --host",
        ) from error


def _token(file: Path | None) -> str:
    """The token, or "" where there is none."""
    try:
        said = file.read_text(encoding="utf-8") if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--token-file {file} cannot be read: {error}", "name a text file"
        ) from error
    token = said.strip()
    if (file or token) and (len(token) < LEAST_TOKEN or not token.isascii()):
        raise UsageError(
            f"the token has {len(token)} signs", f"it must be {LEAST_TOKEN} or more, in ASCII"
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hook_roots(given: Sequence[Path]) -> Sequence[Path]:
    """Where `autofix hook` may fix files: the current folder if nothing is given.

    Raises UsageError where that would be every file.
    """
    here = Path.cwd()
    if not given and here == Path(here.anchor):
        raise UsageError(
            f"from {here} `autofix hook` could reach every file", "name folders with --root"
        )
    return given or (here,)
