import logging

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
)

from autofix.engines.diffusion.control import ControlNets
from autofix.engines.diffusion.control_preprocess import control_image
from autofix.engines.diffusion.engine import DiffusionEngine, PipelineEngine
from autofix.errors import ModelError, RecipeError
from autofix.settings.model_sections import Control
from autofix.settings.recipe import Recipe
from tests.engines.controlled import (
    far,
    inpaint,
    one_thread,
    photo_crops,
    recorded,
    settings_of,
    stacked,
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("cfg", [1, 7])
def test_a_tile_controlnet_is_shown_the_crops(folders, nets, kind, cfg):
    batch = photo_crops(3, size=(96, 64))
    with recorded() as asked:
        inpaint(
            folders[kind], batch, Control(model=str(nets[kind]), module="tile_resample"), cfg=cfg
        )
    assert len(asked) == 2  # strength 0.5 of 4 steps
    shown = np.stack([one.pixels for one in batch]).transpose(0, 3, 1, 2) / 255
    for one in asked:
        cond = one.controlnet_cond.numpy()
        assert cond.shape == (3 if cfg == 1 else 6, 3, 64, 96)
        assert 0 <= cond.min() < 0.1 < 0.9 < cond.max() <= 1
        assert all(np.abs(half - shown).max() < 1e-6 for half in np.split(cond, len(cond) // 3))
        assert one.conditioning_scale == 1


@pytest.mark.parametrize(
    "control",
    [
        {"module": "canny", "low": 80, "high": 160},
        {"module": "tile_resample", "down_sampling": 4},
        {"module": "inpaint_only"},
    ],
)
def test_a_controlnet_is_shown_the_control_image_of_each_crop(folders, nets, control):
    batch = photo_crops()
    control = Control(model=str(nets["sd"]), **control)
    with recorded() as asked:
        inpaint(folders["sd"], batch, control)
    wanted = np.stack([control_image(one, control) for one in batch]).transpose(0, 3, 1, 2)
    assert np.array_equal(asked[0].controlnet_cond.numpy(), np.concatenate([wanted, wanted]))


def test_a_module_that_is_none_is_refused_with_the_nearest(folders, nets):
    control = Control(model=str(nets["sd"]), module="tile_resampel")
    with pytest.raises(RecipeError, match=r"no control module 'tile_resampel'.*tile_resample"):
        DiffusionEngine(folders["sd"], settings_of(control))


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("count", [1, 2])
def test_controlnets_act_as_in_the_controlnet_pipelines_of_diffusers(folders, nets, kind, count):
    plain, steered = {
        "sd": (StableDiffusionInpaintPipeline, StableDiffusionControlNetInpaintPipeline),
        "sdxl": (StableDiffusionXLInpaintPipeline, StableDiffusionXLControlNetInpaintPipeline),
    }[kind]
    batch = photo_crops()
    controls = [
        Control(model=str(nets[kind]), module="none", weight=0.8),
        Control(model=str(nets[kind]), module="canny", weight=0.5, start=0.4),
    ][:count]
    shown = [stacked([control_image(one, each) for one in batch]) for each in controls]

    def denoise(pipe, **more):
        pipe.set_progress_bar_config(disable=True)
        return pipe(
            prompt=["a", "b"],
            image=stacked([one.pixels / np.float32(255) for one in batch]),
            mask_image=torch.ones(2, 1, 64, 64),
            strength=0.9,
            num_inference_steps=6,
            guidance_scale=5.0,
            generator=[torch.Generator().manual_seed(n) for n in range(2)],
            width=64,
            height=64,
            output_type="np",
            **more,
        ).images

    pipe = plain.from_pretrained(folders[kind])
    with (
        torch.inference_mode(),
        ControlNets().apply_controlnets(pipe, batch, settings_of(*controls)),
    ):
        ours = denoise(pipe)
    unsteered = denoise(pipe)
    net = ControlNetModel.from_pretrained(nets[kind])
    if count == 1:
        theirs = steered.from_pipe(pipe, controlnet=net)
        wanted = denoise(theirs, control_image=shown[0], controlnet_conditioning_scale=0.8)
    else:
        theirs = steered.from_pipe(pipe, controlnet=[net, net])
        arguments = {
            "controlnet_conditioning_scale": [0.8, 0.5],
            "control_guidance_start": [0.0, 0.4],
        }
        wanted = denoise(theirs, control_image=shown, **arguments)
    assert np.abs(ours - wanted).max() * 255 < 0.5
    assert np.abs(ours - unsteered).max() * 255 > 2


def test_weight_0_changes_nothing_and_more_weight_more(folders, nets):
    batch = photo_crops()
    without = inpaint(folders["sd"], batch)
    by_weight = [
        far(without, inpaint(folders["sd"], batch, Control(model=str(nets["sd"]), weight=weight)))
        for weight in (0, 0.3, 1)
    ]
    assert by_weight[0] == 0
    assert 1 < by_weight[1] < by_weight[2]


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [(0, 1, [0, 1, 2, 3]), (0.5, 1, [2, 3]), (0, 0.5, [0, 1, 2]), (0.25, 0.25, [1]), (1, 1, [])],
)
def test_a_controlnet_steers_from_start_to_end(folders, nets, start, end, steps):
    batch = photo_crops(1, strength=1.0)
    with recorded() as always:
        inpaint(folders["sd"], batch, Control(model=str(nets["sd"])))
    with recorded() as asked:
        inpaint(folders["sd"], batch, Control(model=str(nets["sd"]), start=start, end=end))
    order = [one.timestep for one in always]
    assert order == sorted(order, reverse=True)
    assert len(order) == 4
    assert [order.index(one.timestep) for one in asked] == steps


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("tile", {"model": "tile"}),
        ("tile:0.5", {"model": "tile", "weight": 0.5}),
        ("tile:canny", {"model": "tile", "module": "canny"}),
        ("tile [a371b31b]:inpaint:1", {"model": "tile [a371b31b]", "module": "inpaint"}),
        ("C:\\n\\t.pth:none:0.6", {"model": "C:\\n\\t.pth", "module": "none", "weight": 0.6}),
        ("/n/t.pth", {"model": "/n/t.pth"}),
    ],
)
def test_a_controlnet_in_a_few_words(text, control):
    assert Recipe().override({"inpaint.control": [text]}).inpaint.control == (Control(**control),)


def test_an_end_before_the_start_is_refused():
    with pytest.raises(ValueError, match="must not be less than start"):
        Control(model="m", start=0.6, end=0.5)


def test_two_controlnets_add_up(folders, nets):
    batch = photo_crops()
    name = str(nets["sd"])
    once = inpaint(folders["sd"], batch, Control(model=name, weight=1.0))
    halves = [Control(model=name, weight=0.4), Control(model=name, weight=0.6)]
    assert far(once, inpaint(folders["sd"], batch, *halves)) < 0.5
    unlike = [halves[0], Control(model=name, module="canny", weight=0.6)]
    assert far(once, inpaint(folders["sd"], batch, *unlike)) > 1


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_face_does_not_depend_on_its_batch(folders, nets, kind):
    batch = photo_crops(3)
    control = Control(model=str(nets[kind]))
    together = inpaint(folders[kind], batch, control)
    alone = [inpaint(folders[kind], [one], control)[0] for one in batch]
    assert far(together, alone) <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"soft": True},
        {"masked_content": "latent-noise"},
        {"masked_content": "fill"},
        {"sampler": "Euler a"},
        {"sampler": "DPM++ 2M Karras"},
        {"vram": "low"},
        {"vram": "min"},
        {"guidance_start": 0.5},
    ],
    ids=str,
)
def test_a_controlnet_works_with_other_settings(folders, nets, settings):
    batch = photo_crops()
    with recorded() as asked:
        steered = inpaint(folders["sd"], batch, Control(model=str(nets["sd"])), **settings)
    assert [len(one.sample) for one in asked] == [2 if "guidance_start" in settings else 4, 4]
    assert np.isfinite(steered).all()
    assert far(steered, inpaint(folders["sd"], batch, **settings)) > 1


def test_beside_an_inpainting_checkpoint_it_works_and_warns_once(folders, nets, caplog):
    controls = [Control(model=str(nets["sd"])), Control(model=str(nets["sd"]), module="canny")]
    with caplog.at_level(logging.WARNING, "autofix"):
        steered = [inpaint(folders["inpainting"], photo_crops(), *controls) for _ in range(2)][-1]
    assert [record.getMessage().count("9 channels") for record in caplog.records] == [1]
    assert far(steered, inpaint(folders["inpainting"], photo_crops())) > 1


def test_a_pipeline_of_its_owner_is_steered_while_it_inpaints_and_left_as_it_was(folders, nets):
    pipe = StableDiffusionPipeline.from_pretrained(folders["sd"], safety_checker=None)
    asked = settings_of(Control(model=str(nets["sd"])))
    borrowed = PipelineEngine(pipe, asked)
    steered = [patch.pixels for patch in borrowed.inpaint(photo_crops(), asked)]
    assert far(steered, inpaint(folders["sd"], photo_crops(), *asked.inpaint.control)) < 0.01
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        ControlNets().apply_controlnets(pipe, photo_crops(), asked),
    ):
        raise RuntimeError("on purpose")
    assert not pipe.unet._forward_pre_hooks


def test_a_model_without_controlnets_and_a_missing_one_are_refused_at_once(folders, nets):
    with pytest.raises(ModelError, match="ControlNets do not work with tiny"):
        DiffusionEngine(folders["promptless"], settings_of(Control(model=str(nets["sd"]))))
    with pytest.raises(ModelError, match="no controlnet 'nowhere'"):
        DiffusionEngine(folders["sd"], settings_of(Control(model="nowhere")))
