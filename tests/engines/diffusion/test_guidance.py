import numpy as np
import pytest

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.diffusion.guidance import check_guidance, noise_level
from autofix.engines.diffusion.samplers import make_scheduler
from autofix.errors import RecipeError
from autofix.settings.model_sections import Sampling
from tests.engines.face_crops import face_crop
from tests.recipes import recipe_of

KINDS = ["sd", "sd2", "inpainting", "sdxl", "sdxl-inpainting"]


def crops(count=2):
    return [
        face_crop(seed=n, strength=1.0, prompt="a b", negative_prompt="c") for n in range(count)
    ]


def inpaint(folder, batch, **settings):
    """The rows that the UNet worked on at each call, and the pixels."""
    settings = recipe_of(**{"steps": 6, "sampler": "DPM++ 2M Karras", "cfg": 7.0, **settings})
    engine = DiffusionEngine(folder, settings)
    unet = engine.load().pipe.unet
    rows, forward = [], unet.forward
    unet.forward = lambda *args, **given: rows.append(len(args[0])) or forward(*args, **given)
    patches = engine.inpaint(batch, settings)
    assert not unet._forward_pre_hooks
    assert not unet._forward_hooks
    return rows, [patch.pixels for patch in patches]


@pytest.mark.parametrize("kind", KINDS)
def test_every_second_evaluation_is_half_the_work(folders, kind):
    """With 9 channels too, where A1111 fails for tensor sizes that do not match."""
    rows, pixels = inpaint(folders[kind], crops(2), min_guidance_sigma=100)
    assert rows == [4, 2, 4, 2, 4, 2]
    assert np.isfinite(pixels).all()
    _, whole = inpaint(folders[kind], crops(2))
    assert np.abs(pixels[0] - whole[0]).max() > 1e-3


def test_the_negative_prompt_is_left_out_only_below_the_noise_level(folders):
    """Sigmas of Karras' 6 steps: 14.6, 6.5, 2.5, 0.83, 0.21, 0.03."""
    assert inpaint(folders["sd"], crops(1), min_guidance_sigma=1.0)[0] == [2, 2, 2, 1, 2, 1]
    assert inpaint(folders["sd"], crops(1), min_guidance_sigma=0.5)[0] == [2, 2, 2, 2, 2, 1]
    assert inpaint(folders["sd"], crops(1), min_guidance_sigma=0.01)[0] == [2] * 6


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        (0.5, 1, [1, 1, 1, 2, 2, 2]),
        (0, 0.5, [2, 2, 2, 1, 1, 1]),
        (0.3, 0.7, [1, 1, 2, 2, 1, 1]),
        (0, 0, [1] * 6),
        (0, 1, [2] * 6),
    ],
)
def test_guidance_holds_for_a_share_of_the_steps(folders, start, end, rows):
    assert inpaint(folders["sd"], crops(1), guidance_start=start, guidance_end=end)[0] == rows


def test_noise_level_and_share_of_the_steps_work_together(folders):
    both = {"guidance_end": 0.9, "min_guidance_sigma": 1.0}
    assert inpaint(folders["sd"], crops(1), **both)[0] == [2, 2, 2, 1, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_at_no_step_is_a_cfg_scale_of_1(folders, kind):
    rows, never = inpaint(folders[kind], crops(2), guidance_end=0)
    assert rows == [2] * 6
    _, one = inpaint(folders[kind], crops(2), cfg=1.0)
    assert np.abs(np.subtract(never, one)).max() * 255 <= 1


def test_a_cfg_scale_of_1_has_nothing_to_leave_out(folders):
    rows, pixels = inpaint(folders["sd"], crops(2), cfg=1.0, min_guidance_sigma=100)
    assert rows == [2] * 6
    assert np.array_equal(pixels, inpaint(folders["sd"], crops(2), cfg=1.0)[1])


@pytest.mark.parametrize("sampler", ["Heun", "DPM2 a", "Euler a"])
def test_a_face_does_not_depend_on_its_batch(folders, sampler):
    settings = {"min_guidance_sigma": 100, "sampler": sampler}
    _, together = inpaint(folders["inpainting"], crops(2), **settings)
    _, alone = inpaint(folders["inpainting"], crops(2)[1:], **settings)
    assert np.abs(together[1] - alone[0]).max() * 255 <= 1


def test_the_soft_mask_works_on(folders):
    rows, pixels = inpaint(folders["inpainting"], crops(1), min_guidance_sigma=100, soft=True)
    assert rows == [2, 1, 2, 1, 2, 1]
    assert np.isfinite(pixels).all()


def test_other_kinds_of_models_refuse():
    check_guidance(Sampling(), "flux", has_unet=False)
    check_guidance(Sampling(min_guidance_sigma=1), "sd", has_unet=True)
    for settings in ({"min_guidance_sigma": 1}, {"guidance_start": 0.1}, {"guidance_end": 0.9}):
        with pytest.raises(RecipeError, match=r"flux cannot leave out .*min_guidance_sigma to 0"):
            check_guidance(Sampling(**settings), "flux", has_unet=False)


def test_the_noise_level_of_a_timestep():
    """Stable Diffusion's own: from 0.0292 to 14.61, and log-linear between."""
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    made = make_scheduler("Euler", config)
    assert noise_level(made, 0) == pytest.approx(0.0292, abs=1e-4)
    assert noise_level(made, 999) == pytest.approx(14.6146, abs=1e-3)
    between = (noise_level(made, 500) * noise_level(made, 501)) ** 0.5
    assert noise_level(made, 500.5) == pytest.approx(between)
