"""Tiny models of every kind, each built when a test first asks for it."""

from __future__ import annotations

import accelerate
import pytest
import torch

from autofix.engines import memory
from tests.engines import tiny


def _flow(kind, **more):
    def build(folder):
        from tests.engines import tiny_flow  # takes its time to import

        return getattr(tiny_flow, kind)(folder, **more)

    return build


BUILDERS = {
    "sd": tiny.sd,
    "sd2": lambda folder: tiny.sd(folder, prediction="v_prediction"),
    "inpainting": lambda folder: tiny.sd(folder, channels=9),
    "sdxl": tiny.sdxl,
    "sdxl-inpainting": lambda folder: tiny.sdxl(folder, channels=9),
    "promptless": tiny.promptless,
    "sd3": _flow("sd3"),
    "flux": _flow("flux"),
    "schnell": _flow("flux", guidance=False),
    "fill": _flow("flux", fill=True),
    "qwen": _flow("qwen_image"),
    "z-image": _flow("z_image"),
    "z-image-turbo": _flow("z_image"),
}


class _Folders(dict):
    """Kind -> diffusers folder, called by the kind."""

    def __init__(self, root):
        super().__init__()
        self._root = root

    def __missing__(self, kind):
        self[kind] = BUILDERS[kind](self._root / kind)
        return self[kind]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Diffusers folders of tiny models by kind, to be read only; see BUILDERS."""
    return _Folders(tmp_path_factory.mktemp("models"))


@pytest.fixture
def offloading(monkeypatch):
    """The CPU as if it were a device that parts of a model are moved to and from."""
    offload = accelerate.cpu_offload
    monkeypatch.setattr(memory, "is_cpu", lambda device: False)
    monkeypatch.setattr(
        accelerate,
        "cpu_offload",
        lambda model, device, **more: offload(model, torch.device("cpu"), **more),
    )
