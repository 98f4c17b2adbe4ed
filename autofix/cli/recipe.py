"""autofix recipe: the settings."""

from __future__ import annotations

from pathlib import Path

import click

from autofix.settings import recipe_toml as recipes


@click.group()
def command() -> None:
    """The settings: what there is, what each means, whether a file holds."""


@command.command("list")
def list_() -> None:
    """The recipes that come with autofix."""
    for name in recipes.shipped_names():
        click.echo(f"{name:12} {recipes.load_recipe(name).description}")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe as TOML, with every setting and its meaning: a file to start from."""
    click.echo(recipes.to_toml(recipes.load_recipe(name)), nl=False)


@command.command()
@click.argument("file")
def check(file: str) -> None:
    """Say whether a recipe file holds; exit 2 where it does not."""
    from autofix.prompts import check_prompts

    recipe = recipes.load_recipe(file)
    for one in recipe.each_pass:
        check_prompts(one.prompt)
    click.echo(f"{file} holds; its fingerprint is {recipe.fingerprint}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_(file: Path) -> None:
    """Print as TOML the recipe that made a picture: from its own text, or ADetailer's arguments.

    FILE is a picture that autofix or ADetailer fixed, a text file with an infotext, or JSON with
    ADetailer's API arguments. What has no counterpart is named on stderr.
    """
    from autofix.metadata.recipe_import import import_recipe

    imported = import_recipe(file)
    for note in imported.notes:
        click.echo(f"autofix: {note}", err=True)
    click.echo(imported.to_toml(), nl=False)
