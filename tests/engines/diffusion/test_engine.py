import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.diffusion.inputs import fill_masked, latent_mask, pipeline_inputs
from autofix.errors import EngineError, ModelError, RecipeError
from autofix.settings.recipe import Recipe
from autofix.settings.sampler_names import SAMPLERS
from autofix.values import Patch
from tests.engines import tiny
from tests.engines.face_crops import crops, feathered
from tests.recipes import recipe_of


def inpaint(folder, batch, **settings):
    settings = recipe_of(**{"steps": 4, **settings})
    engine = DiffusionEngine(folder, settings)
    try:
        return engine.inpaint(batch, settings)
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["sd", "inpainting", "sdxl", "promptless"])
def test_a_batch_is_repainted_in_order_with_one_seed_each(folders, kind):
    batch = crops()
    patches = inpaint(folders[kind], batch)
    assert [patch.crop for patch in patches] == batch
    assert [patch.seed for patch in patches] == [100, 101, 102]
    for patch, one in zip(patches, batch, strict=True):
        assert np.isfinite(patch.pixels).all()
        assert np.abs(patch.pixels * 255 - one.pixels).mean() > 1  # random weights do something


@pytest.mark.parametrize("kind", ["sd", "sdxl", "promptless"])
def test_a_face_does_not_depend_on_its_batch(folders, kind):
    batch = crops()
    together = [patch.pixels for patch in inpaint(folders[kind], batch)]
    backwards = [patch.pixels for patch in inpaint(folders[kind], batch[::-1])][::-1]
    alone = [inpaint(folders[kind], [one])[0].pixels for one in batch]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.abs(a - b).max() * 255 <= 1
        assert np.abs(a - c).max() * 255 <= 1


def test_the_same_seed_gives_the_same_patch_and_another_seed_another(folders):
    first, again = (inpaint(folders["sd"], crops(1))[0].pixels for _ in range(2))
    other = crops(2)[1:]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, inpaint(folders["sd"], other)[0].pixels)


def test_a_model_may_paint_detail_only_and_leave_light_and_colour_to_the_crop(folders, tmp_path):
    plain = inpaint(folders["promptless"], crops(1))[0]
    folder = tiny.promptless(tmp_path / "detail")
    with (folder / "autofix.toml").open("a", encoding="utf-8") as file:
        file.write("coarse_from_crop = 3\n")
    kept = inpaint(folder, crops(1))[0]
    shown = kept.crop.pixels.astype(np.float32) / 255
    assert np.abs(plain.pixels - shown).mean(axis=(0, 1)).max() > 0.1
    assert np.abs((kept.pixels - shown).mean(axis=(0, 1))).max() < 0.01
    detail = [np.abs(np.diff(p.pixels, axis=0)).mean() for p in (plain, kept)]
    assert detail[1] == pytest.approx(detail[0], rel=0.2)


@pytest.mark.parametrize("kind", ["sd", "promptless"])
def test_more_strength_moves_further_from_the_original(folders, kind):
    """Random weights give back noise, so the way is measured from strength 0.1."""
    origin, near, far = (
        inpaint(folders[kind], crops(1, strength=strength), steps=10)[0].pixels
        for strength in (0.1, 0.3, 0.9)
    )
    assert np.abs(near - origin).mean() < np.abs(far - origin).mean()


def test_the_lowest_strength_still_makes_one_step(folders):
    assert np.isfinite(inpaint(folders["sd"], crops(1, strength=0.01), steps=4)[0].pixels).all()


def test_a_size_that_is_not_square(folders):
    patches = inpaint(folders["sd"], crops(2, size=(96, 64)))
    assert patches[0].pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs(folders, name):
    patches = inpaint(folders["sd"], crops(1), sampler=name)
    assert np.isfinite(patches[0].pixels).all()


def test_pickled_weights_are_refused(tmp_path):
    folder = tiny.sd(tmp_path / "pickled")
    next(folder.glob("unet/*.safetensors")).rename(folder / "unet/diffusion_pytorch_model.bin")
    engine = DiffusionEngine(folder, Recipe())
    with pytest.raises(ModelError, match=r"cannot be loaded.*safetensors"):
        engine.inpaint(crops(1), Recipe())


def test_a_pipeline_that_inpainting_does_not_cover_is_refused(tmp_path):
    folder = tiny.sd(tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = "DDPMPipeline"
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded"):
        DiffusionEngine(folder, Recipe()).inpaint(crops(1), Recipe())


def test_an_unknown_sampler_names_the_nearest(folders):
    with pytest.raises(RecipeError, match=r"'DPM\+\+ 2m karas' does not exist.*DPM\+\+ 2M Karras"):
        DiffusionEngine(folders["sd"], Recipe(sampling={"sampler": "DPM++ 2m karas"}))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_runs_or_is_refused_with_a_model_that_predicts_the_picture(tmp_path, name):
    folder = tiny.promptless(tmp_path / "sample", prediction="sample")
    if name.startswith(("Euler", "Heun", "DPM2", "PLMS")):
        with pytest.raises(RecipeError, match="does not work with this model: --sampler takes"):
            DiffusionEngine(folder, Recipe(sampling={"sampler": name}))
    else:
        assert np.isfinite(inpaint(folder, crops(1), sampler=name)[0].pixels).all()


def test_the_library_s_failure_is_an_engine_error(folders):
    engine = DiffusionEngine(folders["sd"], Recipe(sampling={"steps": 4}))
    engine.inpaint(crops(1), Recipe(sampling={"steps": 4}))

    def out_of_memory(*args, **kwargs):
        raise RuntimeError("out of memory\nand a long trace")

    engine.load().pipe.unet.forward = out_of_memory
    with pytest.raises(EngineError, match="model failed: out of memory: try a smaller --batch"):
        engine.inpaint(crops(1), Recipe(sampling={"steps": 4}))


KINDS = ["sd", "sd2", "inpainting", "sdxl", "sdxl-inpainting"]


@pytest.fixture
def watched(folders):
    """An engine of a kind, and what its UNet and its text encoder were given."""
    engines = []

    def watch(kind, **settings):
        engine = DiffusionEngine(folders[kind], recipe_of(**{"steps": 4, **settings}))
        engines.append(engine)
        pipe, seen = engine.load().pipe, []
        pipe.unet.register_forward_pre_hook(
            lambda _, given, more: seen.append((given[0], more["encoder_hidden_states"])),
            with_kwargs=True,
        )
        return engine, seen

    yield watch
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"masked_content": "fill"},
        {"masked_content": "latent-noise"},
        {"masked_content": "latent-nothing"},
        {"soft": True},
        {"soft": True, "masked_content": "latent-noise", "sampler": "Euler a"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_masked_contents_and_soft_masks_do_not_let_a_face_depend_on_its_batch(
    folders, kind, settings
):
    engine = DiffusionEngine(folders[kind], recipe_of(steps=4, **settings))
    batch = feathered()
    together = engine.inpaint(batch, recipe_of(steps=4, **settings))
    alone = [engine.inpaint([one], recipe_of(steps=4, **settings))[0] for one in batch]
    original = engine.inpaint(batch, Recipe(sampling={"steps": 4}))
    for a, b, c in zip(together, alone, original, strict=True):
        assert np.abs(a.pixels - b.pixels).max() * 255 <= 1
        assert np.abs(a.pixels - c.pixels).max() * 255 > 1
        assert (a.mask is None) == (not settings.get("soft"))
        if a.mask is not None:
            assert np.abs(a.mask.astype(int) - b.mask).max() <= 2
            assert a.mask[a.crop.mask > 250].min() > 0
            assert not a.mask[a.crop.mask == 0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_masked_contents_and_soft_masks_work_in_half_precision(folders, kind):
    settings = {"soft": True, "masked_content": "latent-noise", "dtype": "bfloat16"}
    for patch in inpaint(folders[kind], feathered(), **settings):
        assert np.isfinite(patch.pixels).all()
        assert patch.mask.max() > 127


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", ["fill", "latent-noise", "latent-nothing"])
def test_a_batch_starts_from_the_masked_content(folders, kind, content):
    pipe = DiffusionEngine(folders[kind], Recipe()).load().pipe
    batch = feathered()
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    with torch.inference_mode():
        start, soft = pipeline_inputs(
            pipe, batch, seeds, Recipe(inpaint={"masked_content": content}), whole=False
        )
    assert soft is None
    if content == "fill":
        for one, filled in zip(batch, start["image"], strict=True):
            assert np.array_equal(np.asarray(filled), fill_masked(one.pixels, one.mask))
        return
    latents, masked = start["image"], start["masked_image_latents"]
    assert latents.shape == masked.shape == (2, 4, 8, 8)
    assert masked.any() == kind.endswith("inpainting")
    for n, one in enumerate(batch):
        inside = latent_mask(one.mask, (8, 8), soft=False) == 1
        assert latents[n][:, ~inside].abs().min() > 0
        expected = 0 if content == "latent-nothing" else 1
        assert latents[n][:, inside].std() == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("kind", ["inpainting", "sdxl-inpainting"])
def test_an_inpainting_model_is_shown_a_soft_mask_as_it_is(watched, kind):
    batch = feathered()
    for soft in (False, True):
        engine, seen = watched(kind, soft=soft)
        engine.inpaint(batch, Recipe(sampling={"steps": 4}, soft={"enabled": soft}))
        for given, _ in seen:
            assert given.shape == (4, 9, 8, 8)  # twice, for the guidance
            for n, one in enumerate([*batch, *batch]):
                expected = latent_mask(one.mask, (8, 8), soft=soft)
                assert np.allclose(given[n, 4].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "promptless"])
def test_softly_masked_by_nothing_the_original_stays(folders, kind):
    settings = Recipe(sampling={"steps": 4, "sampler": "DPM++ 2M"}, soft={"enabled": True})
    engine = DiffusionEngine(folders[kind], settings)
    one = replace(crops(1)[0], mask=np.zeros((64, 64), np.uint8))
    other = replace(one, region=replace(one.region, strength=0.9, prompt="other"))
    (first,), (second,) = (engine.inpaint([each], settings) for each in (one, other))
    assert np.abs(first.pixels - second.pixels).max() < 1e-3
    assert not first.mask.any()
    masked = (replace(each, mask=np.full((64, 64), 255, np.uint8)) for each in (one, other))
    (first,), (second,) = (engine.inpaint([each], settings) for each in masked)
    assert np.abs(first.pixels - second.pixels).max() > 0.1


def test_the_model_shown_the_whole_crop_takes_a_soft_mask(folders):
    (patch,) = inpaint(folders["promptless"], feathered(1), soft=True)
    assert np.isfinite(patch.pixels).all()
    assert patch.mask.max() > 127


def test_the_model_shown_the_whole_crop_cannot_start_from_other_content(folders):
    with pytest.raises(ModelError, match=r"tiny is always shown.*'fill': set inpaint\.masked_con"):
        DiffusionEngine(folders["promptless"], Recipe(inpaint={"masked_content": "fill"}))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({"soft": True}, "soft inpainting"), ({"masked_content": "latent-noise"}, "'latent-noise'")],
)
def test_settings_that_work_on_latents_are_refused_by_other_families(tmp_path, settings, wanted):
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{wanted} does not work with .*: set soft\.enabled"):
        DiffusionEngine(tmp_path, recipe_of(**settings))
    DiffusionEngine(tmp_path, Recipe(inpaint={"masked_content": "fill"}))


@pytest.mark.parametrize("kind", ["sd", "inpainting", "sdxl"])
@pytest.mark.parametrize(("cfg", "times"), [(1.0, 1), (0.0, 1), (1.5, 2)])
def test_a_guidance_scale_of_1_or_less_asks_for_no_negative_prompt(watched, kind, cfg, times):
    engine, seen = watched(kind, cfg=cfg)
    batch = crops(2)
    other = [
        replace(one, region=replace(one.region, negative_prompt="hands " * 20)) for one in batch
    ]
    plain, negated = (
        engine.inpaint(each, Recipe(sampling={"steps": 4, "cfg": cfg})) for each in (batch, other)
    )
    assert {len(given) for given, _ in seen} == {2 * times}
    same = np.array_equal(plain[0].pixels, negated[0].pixels)
    assert same == (times == 1)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_long_prompt_does_not_change_the_faces_beside_it(watched, kind):
    engine, seen = watched(kind)
    batch = crops()
    batch[1] = replace(batch[1], region=replace(batch[1].region, prompt="(long:1.3) " * 40))
    together = engine.inpaint(batch, Recipe(sampling={"steps": 4}))
    assert {tuple(prompts.shape[:2]) for _, prompts in seen} == {(4, 77), (2, 3 * 77)}
    for one, patch in zip(batch, together, strict=True):
        assert patch.crop is one
        alone = engine.inpaint([one], Recipe(sampling={"steps": 4}))[0]
        assert np.abs(patch.pixels - alone.pixels).max() * 255 <= 1


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_prompts_that_are_not_clip_s_alone_are_left_to_the_pipeline(folders, kind, cfg):
    """Here they are CLIP's alone, so both ways lead to the same picture."""
    batch = crops(2)
    batch = [replace(one, region=replace(one.region, negative_prompt="bad")) for one in batch]
    engine = DiffusionEngine(folders[kind], Recipe(sampling={"steps": 4, "cfg": cfg}))
    ours = engine.inpaint(batch, Recipe(sampling={"steps": 4, "cfg": cfg}))
    engine.load().encoder = None
    theirs = engine.inpaint(batch, Recipe(sampling={"steps": 4, "cfg": cfg}))
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.pixels - b.pixels).max() * 255 <= 1


def test_attention_weights_change_the_picture(folders):
    plain = crops(1)[0]
    strong = replace(plain, region=replace(plain.region, prompt="(f 0:1.8)"))
    spelt = replace(plain, region=replace(plain.region, prompt="(f 0:1.0)"))
    a, b, c = (inpaint(folders["sd"], [one])[0].pixels for one in (plain, strong, spelt))
    assert np.array_equal(a, c)
    assert not np.allclose(a, b, atol=1e-3)


def test_a_patch_s_mask_is_as_large_as_its_crop_s():
    one = crops(1)[0]
    pixels = np.zeros((64, 64, 3), np.float32)
    with pytest.raises(ValueError, match=r"mask must be uint8 of its crop's shape \(64, 64\)"):
        Patch(one, pixels, seed=0, strength=1, mask=np.zeros((8, 8), np.uint8))
