"""Keep the process as it was while a library that rearranges it is imported or set up."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType

import numpy as np


@contextmanager
def process_untouched(environment: Mapping[str, str]) -> Generator[None, None, None]:
    """Set these environment variables, and afterwards put the process back as it was.

    Put back: the whole environment, torch's and OpenCV's thread counts, numpy's print options, the
    warning filters, `torch.save`, Pillow's `open` (or a damaged picture would make ultralytics
    install a package) and OpenCV's readers and writers. Warnings meanwhile are not shown.
    OMP_NUM_THREADS, unless already set, is what torch uses now, so that no library takes its
    absence for a wish.
    """
    import cv2
    import torch

    before = dict(os.environ)
    printing = np.get_printoptions()
    # Asked for before OpenCV is touched: its count is a setting, torch's only an answer.
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    functions = [(home, name, getattr(home, name)) for home, name in _replaced(torch, cv2)]
    os.environ.setdefault("OMP_NUM_THREADS", str(torch_threads))
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
        np.set_printoptions(**printing)
        torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]
        for home, name, function in functions:
            setattr(home, name, function)
        if torch.get_num_threads() != torch_threads:
            torch.set_num_threads(torch_threads)
        if cv2.getNumThreads() != cv2_threads:
            cv2.setNumThreads(cv2_threads)


def _replaced(torch: ModuleType, cv2: ModuleType) -> list[tuple[ModuleType, str]]:
    """The functions of other libraries that ultralytics replaces when it is imported."""
    from PIL import Image

    return [(torch, "save"), (Image, "open"), *((cv2, n) for n in ("imread", "imwrite", "imshow"))]


@contextmanager
def patched(module: ModuleType, name: str, value: object) -> Generator[None, None, None]:
    """Give a module's attribute another value for the duration."""
    before = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
