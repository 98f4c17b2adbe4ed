"""Keep the process as it was, and the network unused, while libraries are imported or set up."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import cast

import numpy as np


@contextmanager
def process_untouched(environment: Mapping[str, str]) -> Generator[None, None, None]:
    """Set these environment variables, and afterwards put the process back as it was.

    Put back: the whole environment, torch's and OpenCV's thread counts, numpy's print options, the
    warning filters, `torch.save`, Pillow's `open` (or a damaged picture would make ultralytics
    install a package) and OpenCV's readers and writers. Warnings meanwhile are not shown.
    OMP_NUM_THREADS, unless already set, is what torch uses now, so that libraries do not treat
    "unset" as a request to change it.
    """
    with light_imports():
        import cv2
        import torch
        from PIL import Image

    before = dict(os.environ)
    printing = np.get_printoptions()
    # Read before OpenCV is touched: its count is a setting, torch's is computed when asked.
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    # What ultralytics replaces when it is imported.
    replaced = [(torch, "save"), (Image, "open")]
    replaced += [(cv2, name) for name in ("imread", "imwrite", "imshow")]
    functions = [(module, name, getattr(module, name)) for module, name in replaced]
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
        for module, name, function in functions:
            setattr(module, name, function)
        if torch.get_num_threads() != torch_threads:
            torch.set_num_threads(torch_threads)
        if cv2.getNumThreads() != cv2_threads:
            cv2.setNumThreads(cv2_threads)


@contextmanager
def light_imports() -> Generator[None, None, None]:
    """Inside this block importing torch and mediapipe starts no process and writes no file.

    torch asks ldconfig where a library is, mediapipe's audio module asks gcc too, and its plotting
    module imports matplotlib, which writes a font cache. matplotlib is imported when it is used.
    """
    import ctypes.util

    matplotlib = _LazyModule("matplotlib")
    vars(matplotlib)["pyplot"] = pyplot = _LazyModule("matplotlib.pyplot")
    unneeded = {"matplotlib": matplotlib, "matplotlib.pyplot": pyplot, "sounddevice": None}
    absent = {name: module for name, module in unneeded.items() if name not in sys.modules}
    cast(dict[str, ModuleType | None], sys.modules).update(absent)
    try:
        with patch_attribute(ctypes.util, "find_library", lambda name: None):
            yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def kept_from_network() -> Generator[None, None, None]:
    """Inside this block libcurl, by which mediapipe reports its use, reaches no server.

    Its environment names a proxy of a kind that does not exist, so that it gives up before it looks
    up a host. `os.environ`, which Python's own libraries read, stays as it is.
    """
    for name, value in _BROKEN_PROXIES.items():
        os.putenv(name, value)
    try:
        yield
    finally:
        for name in _BROKEN_PROXIES:
            if name in os.environ:
                os.putenv(name, os.environ[name])
            else:
                os.unsetenv(name)


class _LazyModule(ModuleType):
    """A module that is imported once something of it is used."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system reads these
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


_BROKEN_PROXIES = {"https_proxy": "none://", "http_proxy": "none://", "no_proxy": "localhost"}


@contextmanager
def patch_attribute(module: ModuleType, name: str, value: object) -> Generator[None, None, None]:
    """Give a module's attribute another value for the duration."""
    before = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
