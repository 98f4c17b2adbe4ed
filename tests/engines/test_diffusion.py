import json

import numpy as np
import pytest

from autofix.engines.diffusion import DiffusionEngine, device_and_dtype
from autofix.engines.facts import identity, read_facts
from autofix.engines.samplers import SAMPLERS
from autofix.errors import EngineError, ModelError, RecipeError
from autofix.recipe import Inpaint
from tests.build import crop, region, smooth
from tests.engines import tiny

SEEN = smooth(80, 80)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": tiny.sd(root / "sd"),
        "inpainting": tiny.sd(root / "inpainting", channels=9),
        "sdxl": tiny.sdxl(root / "sdxl"),
        "promptless": tiny.promptless(root / "promptless"),
    }


def crops(count=3, *, strength=0.5, size=(64, 64)):
    return [
        crop(
            SEEN,
            region(
                (20 + n, 20, 44 + n, 44), index=n, seed=100 + n, strength=strength, prompt=f"f {n}"
            ),
            (10 + n, 10, 54 + n, 54),
            size,
        )
        for n in range(count)
    ]


def repaint(folder, batch, **settings):
    settings = Inpaint(**{"steps": 4, **settings})
    engine = DiffusionEngine(folder, settings)
    try:
        return engine.repaint(batch, settings)
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["sd", "inpainting", "sdxl", "promptless"])
def test_a_batch_is_repainted_in_order_with_one_seed_each(folders, kind):
    batch = crops()
    patches = repaint(folders[kind], batch)
    assert [patch.crop for patch in patches] == batch
    assert [patch.seed for patch in patches] == [100, 101, 102]
    for patch, one in zip(patches, batch, strict=True):
        assert np.isfinite(patch.pixels).all()
        assert np.abs(patch.pixels * 255 - one.pixels).mean() > 1  # random weights do something


@pytest.mark.parametrize("kind", ["sd", "sdxl", "promptless"])
def test_a_face_does_not_depend_on_its_batch(folders, kind):
    batch = crops()
    together = [patch.pixels for patch in repaint(folders[kind], batch)]
    backwards = [patch.pixels for patch in repaint(folders[kind], batch[::-1])][::-1]
    alone = [repaint(folders[kind], [one])[0].pixels for one in batch]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.abs(a - b).max() * 255 <= 1
        assert np.abs(a - c).max() * 255 <= 1


def test_the_same_seed_gives_the_same_patch_and_another_seed_another(folders):
    first, again = (repaint(folders["sd"], crops(1))[0].pixels for _ in range(2))
    other = crops(2)[1:]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, repaint(folders["sd"], other)[0].pixels)


def test_a_model_may_paint_detail_only_and_leave_light_and_colour_to_the_crop(folders, tmp_path):
    plain = repaint(folders["promptless"], crops(1))[0]
    folder = tiny.promptless(tmp_path / "detail")
    with (folder / "autofix.toml").open("a", encoding="utf-8") as file:
        file.write("coarse_from_crop = 3\n")
    kept = repaint(folder, crops(1))[0]
    shown = kept.crop.pixels.astype(np.float32) / 255
    assert np.abs(plain.pixels - shown).mean(axis=(0, 1)).max() > 0.1
    assert np.abs((kept.pixels - shown).mean(axis=(0, 1))).max() < 0.01
    detail = [np.abs(np.diff(p.pixels, axis=0)).mean() for p in (plain, kept)]
    assert detail[1] == pytest.approx(detail[0], rel=0.2)


@pytest.mark.parametrize("kind", ["sd", "promptless"])
def test_more_strength_moves_further_from_the_original(folders, kind):
    """Random weights give back noise, so the way is measured from strength 0.1."""
    origin, near, far = (
        repaint(folders[kind], crops(1, strength=strength), steps=10)[0].pixels
        for strength in (0.1, 0.3, 0.9)
    )
    assert np.abs(near - origin).mean() < np.abs(far - origin).mean()


def test_the_lowest_strength_still_makes_one_step(folders):
    assert np.isfinite(repaint(folders["sd"], crops(1, strength=0.01), steps=4)[0].pixels).all()


def test_a_size_that_is_not_square(folders):
    patches = repaint(folders["sd"], crops(2, size=(96, 64)))
    assert patches[0].pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs(folders, name):
    patches = repaint(folders["sd"], crops(1), sampler=name)
    assert np.isfinite(patches[0].pixels).all()


def test_facts_are_read_without_loading_weights(folders):
    facts = read_facts(folders["sd"])
    assert (facts.name, facts.size.native, facts.size.multiple) == ("sd", 64, 16)
    assert (facts.strength, facts.steps, facts.sampler) == (0.4, 28, "DPM++ 2M Karras")
    assert facts.reads_prompt
    assert facts.paints("anything")
    own = read_facts(folders["promptless"])
    assert (own.name, own.size.native, own.steps, own.strength) == ("tiny", 64, 6, 0.5)
    assert not own.reads_prompt
    assert own.paints("anime_Face")
    assert not own.paints("hand")


@pytest.mark.parametrize(
    ("asked", "given"), [("auto", (64, 64)), ((512, 300), (512, 304)), ((65, 65), (80, 80))]
)
def test_the_size_rule_rounds_up(folders, asked, given):
    assert read_facts(folders["sd"]).size.size_for(asked) == given


def test_the_identity_changes_with_the_weights(folders, tmp_path):
    folder = tiny.sd(tmp_path / "copy")
    before = identity(folder)
    weights = next(folder.glob("unet/*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert identity(folder) != before
    assert identity(folders["sd"]) != identity(folders["sdxl"])


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no diffusers model: it has no model_index\.json"):
        DiffusionEngine(tmp_path, Inpaint())
    (tmp_path / "model_index.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"model_index\.json cannot be read"):
        DiffusionEngine(tmp_path, Inpaint())
    (tmp_path / "model_index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match="holds no JSON object"):
        DiffusionEngine(tmp_path, Inpaint())


def test_pickled_weights_are_refused(tmp_path):
    folder = tiny.sd(tmp_path / "pickled")
    next(folder.glob("unet/*.safetensors")).rename(folder / "unet/diffusion_pytorch_model.bin")
    engine = DiffusionEngine(folder, Inpaint())
    with pytest.raises(ModelError, match=r"cannot be loaded.*safetensors"):
        engine.repaint(crops(1), Inpaint())


def test_a_pipeline_that_inpainting_does_not_cover_is_refused(tmp_path):
    folder = tiny.sd(tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = "DDPMPipeline"
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded"):
        DiffusionEngine(folder, Inpaint()).repaint(crops(1), Inpaint())


def test_an_unknown_sampler_names_the_nearest(folders):
    with pytest.raises(RecipeError, match=r"'DPM\+\+ 2m karas' does not exist.*DPM\+\+ 2M Karras"):
        DiffusionEngine(folders["sd"], Inpaint(sampler="DPM++ 2m karas"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_a_model_that_predicts_the_picture_a_sampler_runs_or_is_refused(tmp_path, name):
    folder = tiny.promptless(tmp_path / "sample", prediction="sample")
    if name.startswith(("Euler", "Heun")):
        with pytest.raises(RecipeError, match=r"does not work with this model.*DDIM"):
            DiffusionEngine(folder, Inpaint(sampler=name))
    else:
        assert np.isfinite(repaint(folder, crops(1), sampler=name)[0].pixels).all()


def test_an_unknown_device_is_refused():
    with pytest.raises(ModelError, match="no device 'gpu'"):
        device_and_dtype(Inpaint(device="gpu"))


def test_the_library_s_failure_is_an_engine_error(folders):
    engine = DiffusionEngine(folders["sd"], Inpaint(steps=4))
    engine.repaint(crops(1), Inpaint(steps=4))

    def out_of_memory(*args, **kwargs):
        raise RuntimeError("out of memory\nand a long trace")

    engine._pipe.unet.forward = out_of_memory
    with pytest.raises(EngineError, match="model failed: out of memory: try a smaller --batch"):
        engine.repaint(crops(1), Inpaint(steps=4))
