"""Attached pipelines: tiny ones with random weights, and boxes from a file for a detector."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

import autofix
from autofix.errors import EngineError, ModelError, RecipeError
from autofix.metadata import read_generation
from autofix.pipeline.pipeline import Pipeline
from tests.engines import tiny

SIZE = 64
BOX = (8, 8, 32, 36)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {"sd": tiny.sd(root / "sd"), "sdxl": tiny.sdxl(root / "sdxl")}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A face in each of a batch's first four pictures."""
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    path.write_text(json.dumps({f"{n}.png": [BOX] for n in range(4)}), encoding="utf-8")
    return f"scripted:{path}"


@pytest.fixture
def load(folders):
    def loaded(kind="sd", **more):
        pipe = DiffusionPipeline.from_pretrained(folders[kind], **more)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return loaded


@pytest.fixture
def attach(boxes):
    def attached(pipe, **overrides):
        given = {"check__enabled": False, "detect__detectors": [boxes], **overrides}
        return autofix.attach(pipe, **given)

    return attached


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def call(pipe, count=4, **more):
    return pipe(
        **{
            "prompt": [f"face {n}" for n in range(count)],
            "negative_prompt": [f"bad {n}" for n in range(count)],
            "generator": generators(*range(10, 10 + count)),
            "num_inference_steps": 2,
            "height": SIZE,
            "width": SIZE,
            "output_type": "np",
            **more,
        }
    )


def allowed(outcome):
    (result,) = outcome.results
    return result.region.mask.within((0, 0, SIZE, SIZE)) > 0


def regions(output):
    return [outcome.results[0].region for outcome in output.outcomes]


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_batch_is_fixed_inside_the_masks_and_equal_outside(load, attach, kind):
    pipe = load(kind)
    plain = call(pipe)
    output = call(attach(pipe))
    assert type(output) is type(plain)
    assert [outcome.results[0].status for outcome in output.outcomes] == ["fixed"] * 4
    for before, after, outcome in zip(plain.images, output.images, output.outcomes, strict=True):
        inside = allowed(outcome)
        assert np.array_equal(before[~inside], after[~inside])
        assert (before[inside] != after[inside]).mean() > 0.5
        assert np.array_equal(np.rint(after * 255), outcome.picture.pixels)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_memory_holds_one_copy_of_the_weights(load, attach, kind):
    pipe = load(kind)
    before = pointers(pipe)
    call(attach(pipe), 1)
    engine = engine_of(pipe)
    inpainting = engine.load().pipe
    assert "Inpaint" in type(inpainting).__name__
    assert pointers(inpainting) == before == pointers(pipe)
    assert inpainting.scheduler is not pipe.scheduler


def engine_of(pipe):
    with attachment(pipe).fixer.pipeline.toolbox.engine() as engine:
        return engine.engine


def pointers(pipe):
    modules = {name: part for name, part in pipe.components.items() if hasattr(part, "parameters")}
    assert {"unet", "vae", "text_encoder"} <= modules.keys()
    return {
        (name, key): weight.data_ptr()
        for name, module in modules.items()
        for key, weight in module.named_parameters()
    }


def attachment(pipe):
    return type(pipe)._autofix_attachment


def test_output_types_agree(load, attach):
    pipe = attach(load())
    floats = call(pipe, 2).images
    pictures = call(pipe, 2, output_type="pil").images
    tensor = call(pipe, 2, output_type="pt").images
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    assert (type(tensor), tensor.shape, tensor.dtype) == (
        torch.Tensor,
        (2, 3, SIZE, SIZE),
        torch.float32,
    )
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), floats)
    assert np.array_equal(np.stack([np.asarray(p) for p in pictures]), np.rint(floats * 255))


def test_latents_pass_untouched(load, attach):
    pipe = load()
    plain = call(pipe, 2, output_type="latent").images
    output = call(attach(pipe), 2, output_type="latent")
    assert torch.equal(output.images, plain)
    assert output.outcomes == []


def test_a_tuple_is_a_tuple_with_outcomes(load, attach):
    pipe = load()
    plain = call(pipe, 1, return_dict=False)
    output = call(attach(pipe), 1, return_dict=False)
    images, flagged = output
    assert isinstance(output, tuple)
    assert (len(output), flagged) == (len(plain), plain[1])
    assert output.outcomes[0].changed
    assert not np.array_equal(images, plain[0])


def test_pictures_without_faces_are_unchanged(load, attach, tmp_path):
    (tmp_path / "none.json").write_text("{}", encoding="utf-8")
    pipe = load()
    plain = call(pipe, 1)
    output = call(attach(pipe, detect__detectors=[f"scripted:{tmp_path / 'none.json'}"]), 1)
    assert output.outcomes[0].results == ()
    assert np.array_equal(output.images, plain.images)


def test_prompts_and_seeds_are_those_of_the_call(load, attach):
    output = call(attach(load()), prompt=["a, b\nc", "d", "e", "f"])
    assert [region.prompt for region in regions(output)] == ["a, b\nc", "d", "e", "f"]
    assert [region.negative_prompt for region in regions(output)] == [f"bad {n}" for n in range(4)]
    assert [region.seed for region in regions(output)] == [10, 11, 12, 13]


def test_prompt_and_generator_hold_for_every_picture(load, attach):
    (generator,) = generators(7)
    output = attach(load())(
        ["x", "y"],
        num_images_per_prompt=2,
        generator=generator,
        num_inference_steps=2,
        height=SIZE,
        width=SIZE,
        output_type="np",
    )
    assert [region.prompt for region in regions(output)] == ["x", "x", "y", "y"]
    assert [region.seed for region in regions(output)] == [7] * 4


def test_embeddings_alone_leave_the_prompt_to_the_label_and_keep_the_seed(load, attach):
    pipe = attach(load())
    embeds, negative = pipe.encode_prompt("x", "cpu", 1, True)
    output = call(pipe, 1, prompt=None, negative_prompt=None, prompt_embeds=embeds,
        negative_prompt_embeds=negative)  # fmt: skip
    (region,) = regions(output)
    assert region.prompt.startswith("face, clear eyes")
    assert region.seed == 10


def test_recipe_comes_before_the_call(load, attach):
    output = call(attach(load(), prompt__positive="[PROMPT], smiling", seed=5), 1)
    (region,) = regions(output)
    assert (region.prompt, region.seed) == ("face 0, smiling", 5)


def asked(monkeypatch):
    """The settings that pictures are fixed with."""
    seen = []
    submit = Pipeline.submit
    monkeypatch.setattr(
        Pipeline,
        "submit",
        lambda self, picture, recipe: seen.append(recipe) or submit(self, picture, recipe),
    )
    return seen


def test_guidance_and_steps_are_those_of_the_call_unless_the_recipe_sets_them(
    load, attach, monkeypatch
):
    seen = asked(monkeypatch)
    pipe = load()
    call(attach(pipe), 1, guidance_scale=3.0)
    call(attach(pipe), 1)
    call(attach(pipe, sampling__cfg=7.0, sampling__steps=3), 1, guidance_scale=3.0)
    assert [(each.sampling.cfg, each.sampling.steps) for each in seen] == [(3, 2), (7.5, 2), (7, 3)]


def test_the_outcomes_picture_says_how_it_was_made_and_fixed(load, attach):
    (outcome,) = call(attach(load()), 1).outcomes
    said = read_generation(outcome.picture.source)
    assert (said.prompt, said.seed) == ("face 0", 10)
    assert dict(said.settings)["Steps"] == "2"
    assert "autofix" in dict(outcome.picture.source.text)


def test_an_img2img_pipeline_is_attached_as_well(load, attach):
    pipe = AutoPipelineForImage2Image.from_pipe(load())
    pipe.set_progress_bar_config(disable=True)
    image = Image.new("RGB", (SIZE, SIZE), "tan")
    arguments = {"image": image, "strength": 0.9, "num_inference_steps": 4, "output_type": "np"}
    plain = pipe("x", generator=generators(3), **arguments)
    output = attach(pipe)("x", generator=generators(3), **arguments)
    inside = allowed(output.outcomes[0])
    assert output.outcomes[0].changed
    assert np.array_equal(plain.images[0][~inside], output.images[0][~inside])


@pytest.mark.parametrize("detach", [autofix.detach, lambda pipe: pipe.detach()])
def test_detaching_makes_it_what_it_was(load, attach, detach):
    pipe = load()
    plain = call(pipe, 1)
    assert attach(pipe) is pipe
    assert detach(pipe) is pipe
    assert type(pipe) is StableDiffusionPipeline
    assert not hasattr(pipe, "detach")
    again = call(pipe, 1)
    assert np.array_equal(again.images, plain.images)
    assert not hasattr(again, "outcomes")
    autofix.detach(pipe)  # nothing more to undo


def test_attaching_again_replaces_the_recipe(load, attach):
    pipe = attach(attach(load(), prompt__positive="one"), prompt__positive="two")
    output = call(pipe, 1)
    assert [region.prompt for region in regions(output)] == ["two"]
    assert len(output.outcomes[0].results) == 1
    assert type(autofix.detach(pipe)) is StableDiffusionPipeline


def test_to_diffusers_and_to_people_it_is_the_pipeline_it_was(load, attach, tmp_path):
    plain, pipe = load("sdxl"), attach(load("sdxl"))
    assert isinstance(pipe, StableDiffusionXLPipeline)
    assert repr(type(pipe)) == repr(type(plain))
    assert inspect.signature(pipe.__call__) == inspect.signature(plain.__call__)
    other = AutoPipelineForImage2Image.from_pipe(pipe)
    assert type(other).__name__ == "StableDiffusionXLImg2ImgPipeline"
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusionXLPipeline"


def test_changes_to_the_pipeline_hold_for_the_fix(load, attach):
    pipe = attach(load())
    engine = engine_of(pipe)
    assert type(engine.load().pipe.scheduler) is DDIMScheduler
    made = engine.load().pipe
    assert engine.load().pipe is made  # nothing changed
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    assert type(engine.load().pipe.scheduler) is EulerDiscreteScheduler
    pipe.vae = load().vae
    assert engine.load().pipe.vae is pipe.vae
    assert call(pipe, 1).outcomes[0].changed


def test_a_sampler_that_the_recipe_names_is_taken(load, attach):
    pipe = attach(load(), sampling__sampler="Euler a")
    call(pipe, 1)
    engine = engine_of(pipe)
    assert type(engine.model.pipe.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    assert type(pipe.scheduler) is DDIMScheduler


def test_soft_inpainting_works_with_an_attached_pipeline(load, attach):
    assert call(attach(load(), soft__enabled=True), 1).outcomes[0].changed


def test_a_picture_that_cannot_be_fixed_comes_as_it_was(load, attach, monkeypatch):
    pipe = load()
    plain = call(pipe, 1)
    attach(pipe)

    def broken(self, *_):
        raise EngineError("the card fell out", "put it back")

    monkeypatch.setattr(Pipeline, "fix_picture", broken)
    with pytest.warns(UserWarning, match="picture 0 as it is: the card fell out") as said:
        output = call(pipe, 1)
    assert said[0].filename == __file__
    assert output.outcomes == [None]
    assert np.array_equal(output.images, plain.images)


def test_bad_settings_are_refused_and_the_pipeline_left_alone(load, attach):
    pipe = load()
    for wrong, error in (
        ({"inpaint__strenght": 1}, RecipeError),
        ({"model__name": "null"}, RecipeError),
        ({"sampling__sampler": "none such"}, RecipeError),
        ({"detect__detectors": ["none such"]}, autofix.AutofixError),
    ):
        with pytest.raises(error):
            attach(pipe, **wrong)
        assert type(pipe) is StableDiffusionPipeline

    class UnknownPipeline(StableDiffusionPipeline):
        """A kind that diffusers has no inpainting for."""

    with pytest.raises(ModelError, match="cannot inpaint with a UnknownPipeline"):
        attach(UnknownPipeline(**load().components, requires_safety_checker=False))
    with pytest.raises(ModelError, match="a dict is no latent diffusion pipeline"):
        attach({})


def test_a_safety_checker_and_a_controlnet_do_not_take_part(load, attach):
    from autofix.engines.diffusion.load import inpainting_of

    pipe = load()
    checker = torch.nn.Identity()
    pipe.register_modules(safety_checker=checker)
    made = inpainting_of(pipe)
    assert made.safety_checker is None
    assert pipe.safety_checker is checker
