import numpy as np
import pytest
import torch

from autofix.engines.diffusion.inputs import (
    fill_masked,
    latent_mask,
    refill_latents,
    touched_mask,
)

MASK = np.zeros((96, 128), np.uint8)
MASK[20:70, 30:90] = 255


def four_colours():
    y, x = np.mgrid[0:96, 0:128]
    channels = np.where(x < 64, 200, 40), np.where(x < 64, 60, 180), np.where(y < 48, 90, 150)
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("y", "x", "colour"),
    [
        (10, 10, (200, 60, 90)),
        (21, 31, (200, 60, 89)),
        (45, 35, (186, 67, 112)),
        (45, 60, (124, 116, 119)),
        (45, 85, (50, 174, 110)),
        (25, 60, (140, 101, 94)),
        (68, 60, (175, 78, 149)),
    ],
)
def test_fill_is_a1111_s(y, x, colour):
    """What A1111's own masking.fill gave for this picture and mask."""
    assert tuple(fill_masked(four_colours(), MASK)[y, x]) == colour


def test_fill_leaves_what_is_not_masked():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    filled = fill_masked(pixels, MASK)
    assert np.array_equal(filled[MASK == 0], pixels[MASK == 0])
    assert filled[MASK > 0].std() < pixels[MASK > 0].std() / 3


def test_fill_needs_no_mask_and_survives_one_that_covers_everything():
    assert np.array_equal(fill_masked(four_colours(), MASK * 0), four_colours())
    assert not fill_masked(four_colours(), np.full_like(MASK, 255)).any()


def test_refill_changes_the_masked_latents_only():
    latents = torch.full((2, 4, 8, 8), 3.0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:6] = 1
    nothing = refill_latents(latents, mask, "latent-nothing", [])
    assert (nothing[:, :, 2:6] == 0).all()
    assert (nothing[:, :, :2] == 3).all()
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    noise = refill_latents(latents, mask, "latent-noise", seeds)
    assert (noise[:, :, 6:] == 3).all()
    assert noise[:, :, 2:6].std().item() == pytest.approx(1, abs=0.1)
    alone = refill_latents(
        latents[1:], mask[1:], "latent-noise", [torch.Generator().manual_seed(2)]
    )
    assert torch.equal(alone, noise[1:])


def test_the_latent_mask_is_all_that_is_touched_or_as_soft_as_it_is():
    mask = np.zeros((64, 96), np.uint8)
    mask[8:56, 16:80] = 1
    mask[16:48, 24:72] = 128
    mask[24:40, 32:64] = 255
    hard, soft = (latent_mask(mask, (8, 12), soft=soft) for soft in (False, True))
    assert hard.shape == soft.shape == (8, 12)
    assert np.array_equal(hard, touched_mask(mask)[::8, ::8] / 255)
    assert hard.sum() == 6 * 8
    assert soft[3:5, 4:8].min() > 0.9
    assert soft[2, 4:8] == pytest.approx(0.5, abs=0.1)
    assert soft[1].max() < 0.05
    assert not soft[:, 0].any()
