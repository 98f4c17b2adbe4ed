"""Every error autofix raises.

    AutofixError              exit code 1
    ├── PictureError          a picture that cannot be read or written
    ├── EngineError           an engine that could not inpaint
    ├── BusyError             a worker that takes no more work for now
    └── UsageError            exit code 2: wrong usage
        ├── RecipeError       a recipe or an option with an invalid value
        ├── ModelError        a model that is missing or cannot be used
        └── DetectorSetupError   a detector that is missing or cannot be used

An error states what was wrong with which value, and how to mend it: both parts are required.
"""


class AutofixError(Exception):
    """Something autofix could not do, and what the user can do about it."""

    exit_code = 1

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.problem}: {self.advice}"


class PictureError(AutofixError):
    """A picture that cannot be read or written. The others go on."""


class EngineError(AutofixError):
    """An engine that could not inpaint a region. The region's original pixels are kept."""


class BusyError(AutofixError):
    """A worker that takes no more work for now. Nothing was done."""


class UsageError(AutofixError):
    """The command, or the call, was wrong. Nothing was done."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an option with an invalid value."""


class ModelError(UsageError):
    """An inpainting model that is missing or cannot be used."""


class DetectorSetupError(UsageError):
    """A detector that is missing or cannot be used."""
