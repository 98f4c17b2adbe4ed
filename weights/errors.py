"""Every error this package raises.

    WeightsError
    ├── SettingError        an environment variable or argument that does not hold
    ├── ManifestError       a manifest that does not hold
    ├── UnknownNameError    a name the manifest does not have
    ├── MissingError        a file that should have come with the package and did not
    ├── OfflineError        a file that would have to be fetched, and may not be
    ├── DownloadError       a file that could not be fetched
    ├── MismatchError       a file whose bytes are not the ones expected
    └── CacheError          a cache folder that cannot be read or written

An error says what was wrong with which value, and then what to do: both parts are required.
"""


class WeightsError(Exception):
    """A model file that cannot be had, and what the user can do about it."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.problem}: {self.advice}"


class SettingError(WeightsError):
    """An environment variable or an argument with a value that does not hold."""


class ManifestError(WeightsError):
    """A manifest that does not hold. Only a change to the package can cause it."""


class UnknownNameError(WeightsError):
    """A name the manifest does not have."""


class MissingError(WeightsError):
    """A file that should have come with the package and is not there."""


class OfflineError(WeightsError):
    """A file that is not here, while downloads are switched off. Names the URL and the place."""


class DownloadError(WeightsError):
    """A file that could not be fetched. Nothing was left under its name."""


class MismatchError(WeightsError):
    """A file whose size or sha256 is not the one expected. It must not be loaded."""


class CacheError(WeightsError):
    """A cache folder that cannot be read or written."""
