import functools
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.diffusion.samplers import make_scheduler
from autofix.engines.diffusion.steps import Plan, apply_step_plan, make_plan
from autofix.errors import RecipeError
from autofix.settings.recipe import Recipe
from autofix.settings.sampler_names import NAMES, SAMPLERS, SCHEDULES, check_sampler
from tests.engines.face_crops import face_crop
from tests.recipes import recipe_of

OLD_NAMES = [
    "DPM++ 2M Karras", "DPM++ SDE Karras", "DPM++ 2M SDE Exponential", "DPM++ 2M SDE Karras",
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE",
    "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2M SDE Heun Karras",
    "DPM++ 2M SDE Heun Exponential", "DPM++ 3M SDE", "DPM++ 3M SDE Karras",
    "DPM++ 3M SDE Exponential", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras",
    "DDIM", "PLMS", "UniPC", "LCM",
]  # fmt: skip
"""A1111 1.8's list, in its order, without those that diffusers has no counterpart of."""

CONFIG = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "steps_offset": 1, "prediction_type": "epsilon", "clip_sample": True,
}  # fmt: skip
GOOD_FOR_SAMPLE = [
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE", "DPM++ 2S a",
    "LMS", "DDIM", "UniPC", "LCM",
]  # fmt: skip
SIGMA_MIN, SIGMA_MAX = 0.0291675, 14.614642


@pytest.fixture(scope="module")
def inpaints(folders):
    """By what a tiny SD predicts: inpaints crops, by one sampler after the other."""

    def inpaint(engine, batch, **settings):
        return [patch.pixels for patch in engine.inpaint(batch, recipe_of(steps=6, **settings))]

    kinds = {"epsilon": "sd", "v_prediction": "sd2"}
    return {
        prediction: functools.partial(inpaint, DiffusionEngine(folders[kind], Recipe()))
        for prediction, kind in kinds.items()
    }


def crops(*seeds):
    return [face_crop(seed=seed, strength=0.5) for seed in seeds]


@pytest.mark.parametrize("name", OLD_NAMES)
def test_every_name_of_a1111_runs_and_a_face_depends_on_its_seed_alone(inpaints, name):
    together = inpaints["epsilon"](crops(1, 2), sampler=name)
    assert np.isfinite(together).all()
    assert np.abs(together[0] - together[1]).mean() > 0.01
    alone = inpaints["epsilon"](crops(2), sampler=name)
    assert np.abs(together[1] - alone[0]).max() * 255 <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs_with_v_prediction(inpaints, name):
    one = inpaints["v_prediction"](crops(1), sampler=name)
    assert np.isfinite(one).all()


def test_a1111_s_names_are_all_known():
    assert set(OLD_NAMES) <= set(NAMES)
    for name in OLD_NAMES:
        assert check_sampler(name) == name


def denoised(name, *, prediction="epsilon", steps=12, strength=0.5):
    """How far a denoiser that knows the clean latents leads from them, and the sigmas it met."""
    made = make_scheduler(name, {**CONFIG, "prediction_type": prediction})
    clean, noise = (torch.randn(2, 4, 8, 8, generator=seeded(n)) for n in (1, 2))
    pipe = SimpleNamespace(scheduler=made)
    done = make_plan(steps, strength, "a1111")
    made.set_timesteps(done.steps)
    with apply_step_plan(pipe, done):
        timesteps, _ = pipe.get_timesteps()
    latents = made.add_noise(clean, noise, timesteps[:1].repeat(2))
    takes_seed = "generator" in inspect.signature(made.step).parameters
    more = {"generator": [seeded(3), seeded(4)]} if takes_seed else {}
    sigmas = []
    for timestep in timesteps:
        shown = float(made.scale_model_input(torch.ones(1, dtype=torch.double), timestep))
        zero, one, at = torch.zeros(1), torch.ones(1), timestep.reshape(1)
        variance = (
            (1, shown**-2 - 1)
            if shown < 1
            else tuple(float(made.add_noise(*each, at)) ** 2 for each in ((one, zero), (zero, one)))
        )
        a, b = (value**0.5 for value in variance)
        sigmas.append(b / a)
        found = (latents - a * clean) / b
        length = (a**2 + b**2) ** 0.5
        output = {
            "epsilon": found,
            "v_prediction": (a * found - b * clean) / length,
            "sample": clean,
        }[prediction]
        latents = made.step(output, timestep, latents, **more, return_dict=False)[0]
    return float((latents - clean).abs().max()), sigmas


def seeded(number):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_perfect_denoiser_is_followed_to_the_clean_picture(name, prediction):
    """From the middle of a schedule on, where diffusers' own LMS and PLMS lose their way.

    DDIM and PLMS end, as A1111's do, at the first trained noise level and not at none. PLMS mixes
    the outputs of several steps, which change with v-prediction: it needs not too few of them.
    """
    if prediction == "sample" and name not in GOOD_FOR_SAMPLE:
        with pytest.raises(RecipeError, match="does not work with this model"):
            check_sampler(name, prediction=prediction)
        return
    coarse = [(2, 0.5), (7, 1.0)] if (name, prediction) != ("PLMS", "v_prediction") else []
    for steps, strength in [(12, 0.5), *coarse]:
        error, _ = denoised(name, prediction=prediction, steps=steps, strength=strength)
        assert error < (0.12 if name in ("DDIM", "PLMS") else 1e-3)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SAMPLERS)))
def test_a_perfect_denoiser_is_followed_with_every_schedule_type(name):
    assert denoised(name)[0] < 1e-3


def a1111_sigmas(schedule, steps):
    """The formulas of A1111's schedule types, from k-diffusion and sd_schedulers."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.double) ** 2
    clean = torch.cumprod(1 - betas, 0)
    trained = (((1 - clean) / clean) ** 0.5).numpy()
    share = np.linspace(0, 1, steps)

    def at(timesteps):
        return np.exp(np.interp(timesteps, np.arange(1000), np.log(trained)))

    low, high = SIGMA_MIN ** (1 / 7), SIGMA_MAX ** (1 / 7)
    return {
        "Karras": lambda: (high + share * (low - high)) ** 7,
        "Exponential": lambda: np.exp(np.log(SIGMA_MAX) + share * np.log(SIGMA_MIN / SIGMA_MAX)),
        "Uniform": lambda: at(999 * (1 - share)),
        "SGM Uniform": lambda: at(np.linspace(999, 0, steps + 1)[:-1]),
        "Simple": lambda: trained[[-1 - int(n * 1000 / steps) for n in range(steps)]],
        "DDIM": lambda: trained[1 :: 1000 // steps][::-1][-steps:],
    }[schedule]()


@pytest.mark.parametrize("schedule", ["Karras", "Exponential", "Uniform", "Simple", "DDIM"])
@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ SDE", "Euler", "Heun", "DPM2", "LMS"])
def test_inpainting_meets_the_noise_levels_of_a1111(sampler, schedule):
    """28 steps at strength 0.4: the last 12 of the schedule, from its sigma number 16."""
    _, met = denoised(f"{sampler} {schedule}", steps=28, strength=0.4)
    each = 2 if sampler in ("DPM++ SDE", "Heun", "DPM2") else 1
    assert len(met) == 12 * each - (each - 1)
    if sampler == "Heun":
        met = met[:1] + met[1::2]
        each = 1
    assert met[::each] == pytest.approx(a1111_sigmas(schedule, 28)[16:], rel=0.03)


def test_the_first_noise_level_of_the_field_s_default():
    """DPM++ 2M Karras, 28 steps, strength 0.4."""
    assert denoised("DPM++ 2M Karras", steps=28, strength=0.4)[1][0] == pytest.approx(0.7259, 1e-3)


def test_the_checkpoint_s_own_sampler_leaves_no_setting_behind():
    own = {**CONFIG, "use_exponential_sigmas": True, "algorithm_type": "sde-dpmsolver++",
           "solver_order": 3, "timestep_spacing": "trailing", "prediction_type": "v_prediction",
           "rescale_betas_zero_snr": True}  # fmt: skip
    made = make_scheduler("DPM++ 2M Karras", own).config
    assert (made.use_karras_sigmas, made.use_exponential_sigmas) == (True, False)
    assert (made.algorithm_type, made.solver_order) == ("dpmsolver++", 2)
    assert (made.prediction_type, made.rescale_betas_zero_snr) == ("v_prediction", True)
    assert make_scheduler("Euler", own).config.timestep_spacing == "linspace"
    assert not make_scheduler("DDIM", own).config.clip_sample


def test_flow_matching_models_take_euler_alone():
    config = FlowMatchEulerDiscreteScheduler(shift=3.0).config
    plain, karras, beta = (
        make_scheduler(f"Euler{each}", config) for each in ("", " Karras", " Beta")
    )
    assert (plain.config.shift, karras.config.shift) == (3.0, 3.0)
    for made in (plain, karras, beta):
        made.set_timesteps(8)
        assert made.sigmas[0] == 1
        assert made.sigmas[-1] == 0
        assert (made.sigmas.diff() < 0).all()
    assert not torch.equal(plain.sigmas, karras.sigmas)
    simple = make_scheduler("euler simple", config)
    simple.set_timesteps(8)
    assert torch.equal(simple.sigmas, plain.sigmas)
    with pytest.raises(RecipeError, match=r"does not work with this model: .*Euler"):
        make_scheduler("DPM++ 2M Karras", config)


def test_lcm_does_more_steps_than_it_was_distilled_for():
    made = make_scheduler("LCM", CONFIG)
    made.set_timesteps(4)
    assert made.timesteps.tolist() == [999, 759, 499, 259]
    made.set_timesteps(80)
    assert len(made.timesteps.unique()) == 80


def test_every_schedule_type_is_in_the_table():
    assert {schedule for _, schedule in NAMES.values()} == {"", *SCHEDULES}
    assert Plan(28, 12).count_evaluations(make_scheduler("DPM++ SDE", CONFIG).order) == 23
