"""Configs by the shapes of tensors; see test_families for those of real checkpoints."""

import pytest

from autofix.engines.checkpoints.configs_from_shapes import unet_config
from autofix.engines.checkpoints.families import UNET
from autofix.engines.checkpoints.weight_file import Header
from autofix.errors import ModelError


@pytest.mark.parametrize("at", ["output_blocks.0.1", "middle_block.1", "input_blocks.7.1"])
def test_a_denoiser_of_another_build_is_refused(shapes, at):
    """As SSD-1B's is: diffusers would leave out what it does not expect, and say nothing."""
    deeper = shapes["sdxl", 4] | {f"{UNET}{at}.transformer_blocks.10.norm1.bias": (1280,)}
    with pytest.raises(ModelError, match="blocks are of unlike depths"):
        unet_config(Header(deeper, {}).under(UNET), "sdxl")
