"""Many pictures fixed together, where a bad one fails alone."""

from __future__ import annotations

from collections.abc import Sequence

from autofix.errors import UsageError
from autofix.pipeline import Pipeline
from autofix.values import Outcome, Picture


def fix_each(pipeline: Pipeline, pictures: Sequence[Picture]) -> list[Outcome | Exception]:
    """An Outcome a picture, in order, or what went wrong with it. Never raises.

    Where fixing them together fails each is tried alone; but a setting that does not hold fails
    them all.
    """
    try:
        return list(pipeline.fix(pictures))
    except UsageError as error:
        return [error for _ in pictures]
    except Exception as error:
        if len(pictures) == 1:
            return [error]
        return [each for picture in pictures for each in fix_each(pipeline, [picture])]
