"""autofix recipe: the settings."""

from __future__ import annotations

import click

from autofix import recipe_file as recipes


@click.group()
def command() -> None:
    """The settings: what there is, what each means, whether a file holds."""


@command.command("list")
def list_() -> None:
    """The recipes that come with autofix."""
    for name in recipes.shipped():
        click.echo(f"{name:12} {recipes.load(name).description}")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe as TOML, with every setting and its meaning: a file to start from."""
    click.echo(recipes.to_toml(recipes.load(name)), nl=False)


@command.command()
@click.argument("file")
def check(file: str) -> None:
    """Say whether a recipe file holds; exit 2 where it does not."""
    recipe = recipes.load(file)
    click.echo(f"{file} holds; its fingerprint is {recipe.fingerprint}")
