"""Tiny ControlNets with random weights, and what is asked of them in tests."""

import contextlib
import functools
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.values import Picture
from tests.build import crop, region
from tests.detectors.photos import FACES, photo
from tests.recipes import recipe_of

SEEN = Picture(photo("hopper"))
FACE = tuple(map(int, FACES["hopper"][0]))
READS = (4, 4, 8, 8)
"""Channels of the layers that read the control image: 8 times smaller, as every VAE here."""


@contextlib.contextmanager
def one_thread():
    """So small a layer is done before a second thread is awake."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build_nets(folders, root):
    """A ControlNet's folder for SD and one for SDXL."""
    for kind in ("sd", "sdxl"):
        controlnet(folders[kind]).save_pretrained(root / kind)
    return {kind: root / kind for kind in ("sd", "sdxl")}


def controlnet(model, *, seed=1):
    """A ControlNet for a model, with something in the layers that training starts from zero."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=READS)
    return awake(net)


def awake(net):
    for name, weight in net.named_parameters():
        if name.startswith("controlnet_cond"):
            torch.nn.init.normal_(weight, std=0.5)
        elif name.startswith("controlnet_"):
            torch.nn.init.normal_(weight, std=0.2)
    return net


def photo_crops(count=2, *, size=(64, 64), strength=0.5):
    x0, y0, x1, y1 = FACE
    return [
        crop(
            SEEN,
            region(FACE, index=n, seed=100 + n, strength=strength, prompt=f"f {n}"),
            (x0 - 40 + 9 * n, y0 - 40, x1 + 40 + 9 * n, y1 + 40),
            size,
        )
        for n in range(count)
    ]


def settings_of(*controls, **settings):
    return recipe_of(**{"steps": 4, "step_count": "diffusers", "control": controls, **settings})


@functools.cache
def engine(folder, settings):
    return DiffusionEngine(folder, settings)


def inpaint(folder, batch, *controls, **settings):
    """What an engine without ControlNets makes when it is asked to use some."""
    asked = settings_of(*controls, **settings)
    inpainting = engine(folder, asked.with_values("inpaint", control=()))
    return [patch.pixels for patch in inpainting.inpaint(batch, asked)]


def far(patches, others):
    """The greatest difference in levels."""
    return max(np.abs(a - b).max() for a, b in zip(patches, others, strict=True)) * 255


def stacked(images):
    """B x 3 x height x width."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


@contextlib.contextmanager
def recorded():
    """A double in place of every ControlNet's residuals; what each was asked, in order."""
    asked = []

    def note(self, sample, timestep, **given):
        asked.append(SimpleNamespace(sample=sample, timestep=int(timestep), **given))
        return answer(self, sample, timestep, **given)

    answer = ControlNetModel.forward
    ControlNetModel.forward = note
    try:
        yield asked
    finally:
        ControlNetModel.forward = answer
