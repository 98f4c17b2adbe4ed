"""Checkpoint files of true size that hold shapes alone."""

from __future__ import annotations

import json
import struct

import accelerate
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from autofix.engines.checkpoints.clip import CONFIGS
from tests.engines.tiny_files import original_layout


def config(family, part):
    """The config of a part of a family, as we ship it."""
    return json.loads((CONFIGS / family / part / "config.json").read_text())


def true_size(family, channels):
    """The shapes of a real checkpoint, by the configs we ship."""

    class Pipe:
        with accelerate.init_empty_weights():
            unet = UNet2DConditionModel(**config(family, "unet") | {"in_channels": channels})
            vae = AutoencoderKL(**config(family, "vae"))
            text_encoder = CLIPTextModel(CLIPTextConfig(**config(family, "text_encoder")))
            if family == "sdxl":
                text_encoder_2 = CLIPTextModelWithProjection(
                    CLIPTextConfig(**config(family, "text_encoder_2"))
                )

    with torch.device("meta"):
        return {key: tuple(each.shape) for key, each in original_layout.original(Pipe).items()}


def write(path, shapes, metadata=None, values=None, cut=0):
    """A safetensors file of these shapes, empty but for `values`, as long as it ought to be."""
    entries, end, written = {}, 0, {}
    for key, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape, dtype=np.int64))
        entries[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
        if key in (values or {}):
            written[start] = np.asarray(values[key], np.float16).tobytes()
    header = json.dumps({"__metadata__": metadata or {}} | entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start, data in written.items():
            file.seek(8 + len(header) + start)
            file.write(data)
        file.truncate(8 + len(header) + end - cut)
    return path
