"""One file of a hub's repository, downloaded by huggingface_hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from weights.errors import DownloadError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes done and the bytes in all (None: not known)."""

_ADVICE = {
    401: "the server wants a login: fetch it in a browser and put it in the cache by hand",
    403: "the server does not give it to you: fetch it elsewhere, or set HF_ENDPOINT to a mirror",
    404: "it is not there: if HF_ENDPOINT or AUTOFIX_HUB names a mirror, the mirror lacks it",
    429: "too many requests came from here: try again later",
}
"""What to do about an HTTP status."""


def download_file(
    repo: str, revision: str, file: str, folder: Path, *, hub: str, progress: Progress | None = None
) -> Path:
    """Download a file into `folder`, in which huggingface_hub keeps notes too; return its path.

    The hub, or a mirror of it, is asked again where the connection fails or the server is
    overloaded. The user's token is not sent. Raises DownloadError, and OSError where `folder`
    cannot be written; the caller checks the hash.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library of huggingface_hub is another one in each of its major versions.
    transport_error: Any = HfHubHTTPError.__mro__[1]
    try:
        path = hf_hub_download(
            repo,
            file,
            revision=revision,
            local_dir=folder,
            endpoint=hub,
            token=False,
            tqdm_class=_progress_class(progress),
        )
    except (OSError, ValueError, RuntimeError, transport_error) as error:
        if getattr(error, "errno", None) is not None:  # the disk's, not the network's
            raise
        raise _download_error(f"{hub}/{repo}/resolve/{revision}/{file}", error) from error
    return Path(path)


def _progress_class(progress: Progress | None) -> type[Any]:
    """A progress bar that draws nothing, and calls `progress`."""
    from huggingface_hub.utils.tqdm import tqdm

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **{**settings, "disable": True})  # type: ignore[no-untyped-call]
            # Xet has one more bar, for the network: only what is written counts.
            self._counts = not str(settings.get("name")).endswith(".transfer")

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if progress is not None and self._counts:
                progress(int(self.n), None if self.total is None else int(self.total))

    return ReportingBar


def _download_error(url: str, error: BaseException) -> DownloadError:
    """Tell by the first cause what went wrong, for huggingface_hub wraps it in general advice."""
    while error.__cause__ is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    response = getattr(error, "response", None)
    if response is not None:
        trouble = "the server has trouble: try again later, or set HF_ENDPOINT to a mirror"
        return DownloadError(
            f"{url} was answered with {response.status_code} {response.reason_phrase}",
            _ADVICE.get(response.status_code, trouble),
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DownloadError(
        f"{url} could not be fetched ({reason})",
        "check the connection and proxy, or set HF_ENDPOINT to a mirror of the hub",
    )
