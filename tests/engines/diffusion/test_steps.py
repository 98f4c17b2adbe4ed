import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionInpaintPipeline

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.diffusion.samplers import make_scheduler
from autofix.engines.diffusion.steps import Plan, apply_step_plan, make_plan, plan_of
from autofix.engines.model_info import read_folder_info
from autofix.settings.model_sections import Sampling
from tests.engines import tiny
from tests.engines.face_crops import face_crop
from tests.recipes import recipe_of


def crops(*strengths):
    return [face_crop(seed=7, strength=strength, prompt="a b") for strength in strengths]


def shown(folder, batch, **settings):
    """What the UNet was shown at each call, and the patches."""
    settings = recipe_of(**{"cfg": 1.0, "sampler": "DPM++ 2M Karras", **settings})
    engine = DiffusionEngine(folder, settings)
    seen = []
    unet = engine.load().pipe.unet
    unet.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    patches = engine.inpaint(batch, settings)
    assert not {"get_timesteps", "prepare_latents"} & set(vars(engine.load().pipe))
    return seen, patches


@pytest.mark.parametrize(
    ("steps", "strength", "a1111", "diffusers"),
    [
        (28, 0.4, Plan(28, 12), Plan(28, 11)),
        (20, 0.75, Plan(20, 16), Plan(20, 15)),
        (20, 0.05, Plan(20, 2), Plan(20, 1)),
        (28, 0.01, Plan(28, 1), Plan(100, 1)),
        (28, 0.0, Plan(28, 1), Plan(1000, 1)),
        (100, 0.29, Plan(100, 29), Plan(100, 28)),  # 28.999999999999996 in floating point
        (28, 0.999, Plan(28, 28), Plan(28, 27)),
        (28, 1.0, Plan(28, 28), Plan(28, 28, pure=True)),
        (1, 0.4, Plan(1, 1), Plan(3, 1)),
        (1000, 1.0, Plan(1000, 1000), Plan(1000, 1000, pure=True)),
    ],
)
def test_a_strength_s_share_of_the_steps(steps, strength, a1111, diffusers):
    assert make_plan(steps, strength, "a1111") == a1111
    assert make_plan(steps, strength, "diffusers") == diffusers


@pytest.mark.parametrize(
    ("steps", "strength", "expected"),
    [
        (28, 0.4, Plan(70, 28)),
        (20, 1.0, Plan(20, 20)),
        (28, 0.02, Plan(1000, 28)),  # A1111 would make a schedule of 1400
        (28, 0.0, Plan(1000, 28)),
    ],
)
def test_exactly_the_steps_that_were_asked_for(steps, strength, expected):
    assert make_plan(steps, strength, "exact") == expected


def test_strengths_that_mean_the_same_have_equal_plans():
    info = SimpleNamespace(steps=28, step_count="a1111")
    settings = Sampling()
    assert plan_of(0.40, settings, info) == plan_of(0.4001, settings, info) == Plan(28, 12)
    assert plan_of(0.43, settings, info) != plan_of(0.40, settings, info)
    assert plan_of(0.4, Sampling(steps=10, step_count="exact"), info) == Plan(25, 10)


def test_a_model_says_how_its_strengths_are_counted(folders):
    """One that is shown the whole crop was tuned by diffusers' count, unless it says otherwise."""
    assert read_folder_info(folders["sd"]).step_count == "a1111"
    own = read_folder_info(folders["promptless"])
    assert own.step_count == "diffusers"
    assert plan_of(0.5, Sampling(), own) == Plan(6, 3)
    assert plan_of(0.5, Sampling(step_count="a1111"), own) == Plan(6, 4)


def test_a_model_s_own_file_has_the_last_word(tmp_path):
    folder = tiny.promptless(tmp_path / "model")
    with (folder / "autofix.toml").open("a") as file:
        file.write('step_count = "exact"\n')
    assert plan_of(0.5, Sampling(), read_folder_info(folder)) == Plan(12, 6)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({}, 12),
        ({"step_count": "diffusers"}, 11),
        ({"step_count": "exact", "steps": 5}, 5),
        ({"sampler": "Heun"}, 23),
        ({"sampler": "DPM2"}, 23),
        ({"sampler": "DPM++ SDE Karras"}, 23),
        ({"sampler": "PLMS"}, 13),
        ({"sampler": "UniPC"}, 12),
        ({"sampler": "LCM"}, 12),
        ({"sampler": "Euler a", "steps": 1}, 1),
    ],
)
def test_the_denoiser_is_asked_so_often(folders, settings, calls):
    seen, patches = shown(folders["sd"], crops(0.4), **{"steps": 28, **settings})
    assert len(seen) == calls
    assert np.isfinite(patches[0].pixels).all()


@pytest.mark.parametrize("kind", ["inpainting", "sdxl", "promptless"])
def test_every_kind_of_pipeline_does_the_plan(folders, kind):
    settings = {} if kind != "promptless" else {"sampler": "auto"}
    for count, calls in (("a1111", 4), ("diffusers", 3), ("exact", 6)):
        seen, _ = shown(folders[kind], crops(0.5), steps=6, step_count=count, **settings)
        assert len(seen) == calls


def test_crops_of_one_plan_share_a_batch_and_keep_their_strengths(folders):
    """At 28 steps 0.40 and 0.41 are the same 12 steps."""
    seen, patches = shown(folders["sd"], crops(0.40, 0.41), steps=28)
    assert {len(each) for each in seen} == {2}
    assert [patch.strength for patch in patches] == [0.40, 0.41]
    assert np.abs(patches[0].pixels - patches[1].pixels).max() * 255 <= 1


def test_diffusers_count_is_that_of_the_pipeline_itself():
    made = make_scheduler("Heun", {"beta_schedule": "scaled_linear"})
    pipe = SimpleNamespace(scheduler=made)
    for steps, strength in ((10, 0.3), (10, 0.2), (28, 0.4), (7, 1.0)):
        made.set_timesteps(steps)
        own = StableDiffusionInpaintPipeline.get_timesteps(pipe, steps, strength, None)
        begin = made.begin_index
        with apply_step_plan(pipe, make_plan(steps, strength, "diffusers")) as arguments:
            timesteps, count = pipe.get_timesteps(steps, arguments["strength"], None)
        assert torch.equal(timesteps, own[0])
        assert (count, made.begin_index) == (own[1], begin)
        assert arguments["num_inference_steps"] == steps
        assert (arguments["strength"] == 1) == (strength == 1)


def test_plms_asks_twice_at_the_second_of_the_steps_done():
    """diffusers asks twice at the second of the schedule, which inpainting leaves out."""
    made = PNDMScheduler(skip_prk_steps=True, beta_schedule="scaled_linear")
    pipe = SimpleNamespace(scheduler=made)
    made.set_timesteps(10)
    for done, expected in ((4, [300, 200, 200, 100, 0]), (1, [0]), (10, made.timesteps.tolist())):
        with apply_step_plan(pipe, Plan(10, done)):
            assert pipe.get_timesteps()[0].tolist() == expected


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [
        ("sd", "DPM++ 2M Karras"),
        ("sd", "Euler"),
        ("inpainting", "DDIM"),
        ("sdxl", "Heun"),
    ],
)
def test_the_noise_multiplier_scales_the_noise_of_the_start(folders, kind, sampler):
    """What the UNet is shown first is a sum of the picture and so many times the noise."""
    starts = {}
    for multiplier in (0.0, 0.5, 1.0, 1.5):
        seen, patches = shown(
            folders[kind], crops(0.5), sampler=sampler, steps=4, noise_multiplier=multiplier
        )
        starts[multiplier] = seen[0][:, :4]
        assert np.isfinite(patches[0].pixels).all()
    noise = starts[1.0] - starts[0.0]
    assert noise.std() > 0.3
    for multiplier in (0.5, 1.5):
        wanted = starts[0.0] + multiplier * noise
        torch.testing.assert_close(starts[multiplier], wanted, rtol=1e-3, atol=1e-4)


def test_full_strength_keeps_some_of_the_picture_in_a1111_s_start_alone(folders):
    """A1111 adds the greatest noise to the picture; diffusers starts from noise alone."""
    for count, stays in (("a1111", True), ("diffusers", False)):
        seen, _ = shown(folders["sd"], crops(1.0), steps=4, noise_multiplier=0.0, step_count=count)
        assert len(seen) == 4
        assert bool(seen[0].abs().max() > 1e-3) == stays


@pytest.mark.parametrize("kind", ["sd3", "flux", "z-image"])
def test_flow_matching_models_do_the_plan_too(folders, kind):
    """Their pipelines round up themselves; the noise of their start is scaled all the same."""
    starts = []
    for multiplier in (1.0, 0.0, 0.5):
        settings = recipe_of(cfg=1.0, steps=6, sampler="Euler Karras", noise_multiplier=multiplier)
        engine = DiffusionEngine(folders[kind], settings)
        seen = []
        engine.load().pipe.transformer.register_forward_pre_hook(
            lambda _, args, given, seen=seen: seen.append(
                given["hidden_states"] if "hidden_states" in given else torch.stack(args[0])
            ),
            with_kwargs=True,
        )
        patches = engine.inpaint(crops(0.5), settings)
        assert len(seen) == 4
        assert np.isfinite(patches[0].pixels).all()
        starts.append(seen[0].float().clone())
    whole, none, half = starts
    assert (whole - none).std() > 0.1
    torch.testing.assert_close(half, (whole + none) / 2, rtol=1e-2, atol=1e-2)


def test_the_pipeline_is_given_back_after_a_failure():
    class Pipe:
        def prepare_latents(self):
            """As a pipeline's."""

    pipe = Pipe()
    with apply_step_plan(pipe, Plan(4, 2), 0.5):
        assert set(vars(pipe)) == {"get_timesteps", "prepare_latents"}
    assert not vars(pipe)
    with contextlib.suppress(RuntimeError), apply_step_plan(pipe, Plan(4, 2), 0.5):
        raise RuntimeError
    assert not vars(pipe)
