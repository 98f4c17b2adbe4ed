"""Many pictures fixed together, where a bad one fails alone."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.errors import UsageError
from autofix.pipeline.pipeline import Pipeline
from autofix.values import Outcome, Picture


def fix_each(pipeline: Pipeline, pictures: Sequence[Picture]) -> list[Outcome | Exception]:
    """An Outcome a picture, in order, or what went wrong with it. Never raises.

    A setting that does not hold fails them all.
    """
    try:
        return [answer for answer in pipeline.stream(pictures) if answer is not None]
    except UsageError as error:
        return [error for _ in pictures]
