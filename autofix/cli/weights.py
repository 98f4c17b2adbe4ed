"""autofix weights: the model files, where they come from, and whether they are intact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from autofix.cli.progress import download_bar
from autofix.errors import AutofixError
from weights.environment import default_store
from weights.errors import WeightsError
from weights.store import Status, Store


@click.group()
def command() -> None:
    """The model files: where they come from, and whether they are intact."""


@command.command("list")
def list_() -> None:
    """Every known model file, and whether it is here."""
    with _as_autofix_error():
        store = default_store()
        for status in store.verify_all():
            labels = ", ".join(store.find_entry(status.name).labels)
            size = f"{status.size / 1e6:.1f} MB" if status.size else "?"
            click.echo(f"{status.name:22} {status.kind:15} {labels:8} {size:>9}  {status.state}")


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def pull(names: tuple[str, ...]) -> None:
    """Download model files and check them."""
    with _as_autofix_error():
        store = default_store()
        for name in names:
            click.echo(store.pull(name, progress=download_bar()))


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> int:
    """Hash model files that are here, all by default; exit 1 if one is not what it should be."""
    with _as_autofix_error():
        store = default_store()
        bad = False
        for status in _verified(store, names):
            bad |= not status.is_usable and (bool(names) or status.state != "missing")
            detail = f" ({status.detail})" if status.detail else ""
            click.echo(f"{status.name}: {status.state}{detail} {status.where}")
    return int(bad)


@command.command()
@click.argument("name")
def path(name: str) -> None:
    """Print the path of a model file, downloading it if it is not here."""
    with _as_autofix_error():
        click.echo(default_store().path(name, progress=download_bar()))


def _verified(store: Store, names: tuple[str, ...]) -> Iterator[Status]:
    return iter([store.verify(name) for name in names] if names else store.verify_all())


@contextmanager
def _as_autofix_error() -> Iterator[None]:
    try:
        yield
    except WeightsError as error:
        raise AutofixError(error.problem, error.advice) from error
