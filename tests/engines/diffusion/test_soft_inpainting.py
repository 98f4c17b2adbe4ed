import contextlib
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from autofix.engines.diffusion.samplers import make_scheduler
from autofix.engines.diffusion.soft_inpainting import (
    SoftBlend,
    clean_coefficients,
    paste_mask,
    ranked_mean,
)
from autofix.engines.diffusion.steps import Plan, apply_step_plan
from autofix.errors import RecipeError
from autofix.settings.model_sections import Soft
from autofix.settings.sampler_names import NAMES, SAMPLERS, check_sampler

STEPS = 6


def noise(seed, batch=2):
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def mask_of(value):
    return torch.full((2, 1, 8, 8), float(value))


def ddim(prediction="epsilon"):
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=prediction,
    )


def run(steps, blend=None, *, start=2):
    """A denoising that leads to `noise(3)`, begun at step `start` as a pipeline does."""
    steps.set_timesteps(STEPS)
    pipe = SimpleNamespace(scheduler=steps)
    with apply_step_plan(pipe, Plan(STEPS, STEPS - start)):
        timesteps, _ = pipe.get_timesteps()
    latents = steps.add_noise(noise(1), noise(2), timesteps[:1])
    generator = torch.Generator().manual_seed(3)
    takes_seed = "generator" in inspect.signature(steps.step).parameters
    more = {"generator": generator} if takes_seed else {}
    with blend.apply_soft_mask(steps) if blend else contextlib.nullcontext():
        for timestep in timesteps:
            steps.scale_model_input(latents, timestep)
            of_sample, of_output, _ = clean_coefficients(steps, timestep, latents.device)
            output = (of_sample * latents - noise(3)) / of_output
            latents = steps.step(output, timestep, latents, **more, return_dict=False)[0]
    return latents


def suits(name, prediction):
    try:
        return check_sampler(name, prediction=prediction)
    except RecipeError:
        return ""


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        *((name, "epsilon") for name in NAMES if name.endswith((*SAMPLERS, "Karras", "Beta"))),
        *((name, "v_prediction") for name in SAMPLERS),
        *((name, "sample") for name in SAMPLERS if suits(name, "sample")),
    ],
)
def test_the_mask_decides_between_the_original_and_the_new_with_every_sampler(name, prediction):
    """That the new is reached at all shows that the clean latents are found at every step."""
    made = make_scheduler(name, ddim(prediction).config)
    # These two end at the first trained noise level; PLMS' few steps are coarse with v-prediction.
    off = {"DDIM": 0.15, "PLMS": 0.15 if prediction == "epsilon" else 1}.get(name, 1e-3)
    plain = run(made)
    assert (plain - noise(3)).abs().max() < off
    none = SoftBlend(noise(1), mask_of(0), Soft())
    kept = run(made, none)
    assert (kept - noise(1)).abs().max() < off
    assert torch.equal(none.final, kept)
    whole = run(made, SoftBlend(noise(1), mask_of(1), Soft()))
    torch.testing.assert_close(whole, plain, rtol=1e-3, atol=1e-3)
    evenly = Soft(bias=0, preservation=1)
    half = run(made, SoftBlend(noise(1), mask_of(0.5), evenly))
    assert 0.4 < (half - noise(1)).norm() / (plain - noise(1)).norm() < 0.8


def test_a_step_is_blended_by_a1111_s_formula():
    """At t = 500: sigma, the power mask ** (sigma ** bias * preservation), and the power mean."""
    steps = ddim("sample")
    steps.set_timesteps(2)
    settings = Soft(bias=2, preservation=0.7, contrast=3)
    given = []
    step = steps.step
    steps.step = lambda output, *rest, **more: given.append(output) or step(output, *rest, **more)
    old, new, mask = noise(1), noise(2), torch.rand(2, 1, 8, 8)
    with SoftBlend(old, mask, settings).apply_soft_mask(steps):
        steps.step(new, torch.tensor(500), noise(3), return_dict=False)
    alpha = steps.alphas_cumprod[500].item()
    sigma = ((1 - alpha) / alpha) ** 0.5
    share = mask ** (sigma**2 * 0.7)
    mixed = old * (1 - share) + new * share
    length = (
        old.norm(dim=1, keepdim=True) ** 3 * (1 - share)
        + new.norm(dim=1, keepdim=True) ** 3 * share
    ) ** (1 / 3)
    expected = mixed * length / mixed.norm(dim=1, keepdim=True)
    torch.testing.assert_close(given[0], expected, rtol=1e-3, atol=1e-4)


def test_no_contrast_boost_overflows():
    blend = SoftBlend(noise(1) * 1e4, torch.rand(2, 1, 8, 8), Soft(contrast=32))
    assert blend.blend_clean(noise(2), torch.tensor(1.0)).isfinite().all()
    blend = SoftBlend(noise(1) * 0, mask_of(0.5), Soft())
    assert not blend.blend_clean(noise(2) * 0, torch.tensor(1.0)).any()


def test_the_scheduler_is_given_back_as_it_was():
    steps = ddim()
    before = inspect.signature(steps.step)
    blend = SoftBlend(noise(1), mask_of(1), Soft())
    with blend.apply_soft_mask(steps):
        assert inspect.signature(steps.step) == before
    with pytest.raises(TypeError), blend.apply_soft_mask(steps):
        steps.step("no latents")
    assert "step" not in vars(steps)


DRAWN = np.zeros((64, 64), np.uint8)
DRAWN[8:56, 8:56] = 60
DRAWN[16:48, 16:48] = 255


def small(values):
    return values[::8, ::8].astype(np.float32) / 255


def paste(change, **settings):
    mask = small(DRAWN)
    change = np.broadcast_to(np.float32(change), mask.shape)
    return paste_mask(change, mask, DRAWN, Soft(**settings))


def test_the_paste_mask_is_empty_where_nothing_changed():
    assert not paste(0).any()
    assert not paste(0, threshold=0, mask_influence=1).any()


def test_changed_parts_are_pasted_up_to_twice_the_drawn_mask():
    assert np.array_equal(paste(100), np.minimum(2 * DRAWN.astype(int), 255))


def test_a_change_at_the_threshold_is_pasted_by_half():
    inside = paste(0.5)[24:40, 24:40]
    assert np.abs(inside.astype(int) - 127).max() <= 1
    inside = paste(2, threshold=2)[24:40, 24:40]
    assert np.abs(inside.astype(int) - 127).max() <= 1


def test_difference_contrast_makes_the_threshold_sharper():
    soft, sharp = (paste(0.6, difference_contrast=contrast)[32, 32] for contrast in (1, 8))
    assert 127 < soft < 200 < sharp
    soft, sharp = (paste(0.4, difference_contrast=contrast)[32, 32] for contrast in (1, 8))
    assert sharp < 60 < soft < 127


def test_mask_influence_follows_the_drawn_mask():
    """Where it is drawn fully any change is pasted; at its rim a greater one is asked for."""
    free, bound = (paste(0.4, mask_influence=influence) for influence in (0, 1))
    assert free[32, 32] < 127
    assert bound[32, 32] > 250
    assert paste(0.5, mask_influence=1, preservation=4)[11, 32] < free[11, 32]


def test_a_lone_change_is_spread_and_a_lone_hole_closed():
    change = np.zeros((9, 9))
    change[4, 4] = 1
    grown = ranked_mean(change, 0.9, 1.0)
    assert grown[4, 4] == 1
    assert 0 < grown[4, 6] < grown[4, 5] < 1
    assert not grown[:2].any()
    assert not ranked_mean(change, 0.25, 0.75).any()
    assert (ranked_mean(1 - change, 0.25, 0.75) == 1).all()


def test_the_ranked_mean_is_a1111_s():
    """What A1111's own weighted histogram filter gave for these values."""
    values = np.arange(20).reshape(4, 5) * 7 % 20 / 10
    greatest = [1.44286, 1.50441, 1.52089, 1.56672, 1.40241]
    middle = [1.02656, 1.04127, 1.03774, 1.08596, 1.18154]
    assert ranked_mean(values, 0.9, 1.0)[0] == pytest.approx(greatest, abs=1e-5)
    assert ranked_mean(values, 0.25, 0.75)[2] == pytest.approx(middle, abs=1e-5)
