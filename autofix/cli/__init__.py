"""The command line: one module per command, loaded when it is called.

The only place that prints, draws progress bars and exits.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings

import click

COMMANDS = {
    "run": "Fix files and folders into another folder.",
    "watch": "Fix pictures as they arrive in a folder.",
    "serve": "Keep the models loaded, and fix pictures that other programs send.",
    "hook": "Fix files in place, as a generator's command after saving.",
    "detect": "Show what would be fixed.",
    "weights": "The model files: list, pull, verify, path.",
    "recipe": "The settings: list, show, check, import.",
    "doctor": "Say whether a run would work here, and what is missing.",
}
"""Command -> what it does. Command x lives in autofix/cli/x.py as `command`."""


class _Lazy(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"autofix.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fix faces and hands in generated pictures, automatically and in bulk.",
    epilog="autofix run outputs -o fixed: fixes a folder. "
    "autofix detect outputs -o look: shows first what would be fixed.",
)
@click.version_option(package_name="autofix")
def group() -> None:
    """All commands."""


def main() -> None:
    """Run the command line; exits 0 all well, 1 some failed, 2 wrong usage, 130 interrupted."""
    if not sys.warnoptions:
        # Warnings are those of libraries; autofix reports what a user should know by itself.
        warnings.simplefilter("ignore")
    sys.exit(_run_command())


def _run_command() -> int:
    from autofix.errors import AutofixError

    try:
        return int(group.main(prog_name="autofix", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is finished is safe, the same command goes on", err=True)
        exit_without_threads(130)
        return 130
    except (AutofixError, ImportError, OSError) as error:
        from autofix.cli.doctor import missing_library

        advice = missing_library(error)
        if advice is None and not isinstance(error, AutofixError):
            raise
        click.echo(f"autofix: {advice or error}", err=True)
        return error.exit_code if isinstance(error, AutofixError) else 2


def exit_without_threads(code: int) -> None:
    """Exit at once if one of our threads still runs: Python would wait for it."""
    if any(thread.name.startswith("autofix-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
