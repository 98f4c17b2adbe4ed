"""The networks of the built-in face model, and the schedule they are trained with.

The model works on pixels: its autoencoder is set by hand and loses nothing, since a learned one
small enough for this model blurs faces and fades colours. Sizes are chosen for two CPU cores: most
of the denoiser's width sits at a quarter and an eighth of the side.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

NATIVE_PX = 192
WINDOW_PX = (
    128  # trained on at first: a face with some hair, at under half the cost of all of a crop
)
LATENT_CHANNELS = 4  # red, green, blue, and one that stays zero: pipelines expect four
LATENT_SCALE = 2.0  # latents are pixels in -1..1 times this, which gives them a spread of about 1
EMBED_DIM = 32
TRAIN_STEPS = 1000
COARSE_SIGMA_PX = 6.0
"""Light and colour coarser than this are the crop's own, the model paints only what is finer."""

_SMALL = 20.0
"""What the autoencoder divides by: AutoencoderTiny bends values near 3, and not near 0."""


def make_vae() -> AutoencoderTiny:
    """RGB in -1..1, N x 3 x H x W, to latents N x 4 x H x W and back, the same to 1e-4."""
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        num_encoder_blocks=(0,),
        num_decoder_blocks=(0,),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=LATENT_SCALE * _SMALL,
    )
    into, out_of = (list(vae.encoder.layers), list(vae.decoder.layers))
    for conv in (into[0], into[-1], out_of[0], out_of[-1]):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        for colour in range(3):
            # The encoder sees 0..1; the decoder's ReLU keeps the two signs in two channels.
            into[0].weight[colour, colour, 1, 1] = 1.0
            into[-1].weight[colour, colour, 1, 1] = 2.0 / _SMALL
            into[-1].bias[colour] = -1.0 / _SMALL
            out_of[0].weight[colour, colour, 1, 1] = 1.0
            out_of[0].weight[colour + 3, colour, 1, 1] = -1.0
            out_of[-1].weight[colour, colour, 1, 1] = _SMALL / 2
            out_of[-1].weight[colour, colour + 3, 1, 1] = -_SMALL / 2
            out_of[-1].bias[colour] = 0.5
    return vae.requires_grad_(False).eval()


def make_unet() -> UNet2DConditionModel:
    """Denoiser: noisy latents 4, mask 1, crop latents 4, to clean latents, N x 4 x H x W."""
    return UNet2DConditionModel(
        sample_size=NATIVE_PX,
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D",) * 4,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 192),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=EMBED_DIM,
        attention_head_dim=8,
    )


def make_scheduler() -> DDIMScheduler:
    """The noise schedule of training, as the scheduler that samples from it."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def coarse(pictures: Tensor, sigma: float = COARSE_SIGMA_PX) -> Tensor:
    """N x C x H x W blurred by a Gaussian, edges reflected."""
    reach = int(3 * sigma + 0.5)
    at = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, -1)
    padded = functional.pad(pictures, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel[:, :, None, :], groups=pictures.shape[1])
    return functional.conv2d(across, kernel[:, :, :, None], groups=pictures.shape[1])


def with_coarse_of(painted: Tensor, given: Tensor) -> Tensor:
    """What is pasted: the painted picture with the light and colour of the given one."""
    return painted + coarse(given - painted)
