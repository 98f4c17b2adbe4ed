"""What goes wrong in an engine costs the regions it hits, and no other."""

import gc
import logging
import weakref

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.engines.resilient import FAILURES_TO_GIVE_UP, Resilient
from autofix.errors import EngineError, ModelError
from autofix.settings.recipe import Recipe
from autofix.values import Patch
from tests.build import crop, picture, region
from tests.engines import tiny
from tests.engines.misbehaving import Crashing, Sick, Small
from tests.pipeline.fakes import Painter

SEEN = picture(96, 64)
SETTINGS = Recipe()


@pytest.fixture(autouse=True)
def freed(monkeypatch):
    """Times the caches were freed, which is not done here: it takes long in a test's process."""
    times = []
    monkeypatch.setattr("autofix.engines.resilient.free_memory", lambda: times.append(1))
    return times


def crops(count, *, size=(32, 32), seen=SEEN, first=0):
    boxes = [(8 + n, 8, 24 + n, 24) for n in range(count)]
    return [
        crop(seen, region(box, index=first + n, seed=100 + first + n), box, size)
        for n, box in enumerate(boxes)
    ]


def sizes(engine):
    return [len(batch) for batch in engine.batches]


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def same(answers, batch):
    """Whether each answer is what a healthy engine makes of the crop, to the last bit."""
    healthy = Painter().inpaint(batch, SETTINGS)
    return [
        isinstance(a, Patch) and a.crop is b.crop and np.array_equal(a.pixels, b.pixels)
        for a, b in zip(answers, healthy, strict=True)
    ]


def test_a_healthy_engine_is_asked_once(caplog):
    engine, batch = Painter(), crops(4)
    resilient = Resilient(engine)
    assert same(resilient.inpaint_each(batch, SETTINGS), batch) == [True] * 4
    assert same(resilient.inpaint(batch, SETTINGS), batch) == [True] * 4
    assert sizes(engine) == [4, 4]
    assert resilient.info is engine.info
    assert warned(caplog) == []
    assert resilient.inpaint_each([], SETTINGS) == []


@pytest.mark.parametrize("values", [np.nan, np.inf, 0])
def test_one_broken_region_of_four_is_painted_again_and_the_others_are_not(values, caplog):
    engine, batch = Sick({2}, values=values), crops(4)
    answers = Resilient(engine).inpaint_each(batch, SETTINGS)
    assert same(answers, batch) == [True] * 4
    assert [[c.region.index for c in each] for each in engine.batches] == [[0, 1, 2, 3], [2]]
    assert engine.turns == ["vae"]
    (message,) = warned(caplog)
    assert message.endswith("; from now on the VAE computes in float32")
    assert ("all black" if values == 0 else "not numbers") in message


def test_the_precision_that_was_needed_stays_and_is_said_once(caplog):
    engine, batch = Sick({0, 3}, cure="float32"), crops(4)
    resilient = Resilient(engine)
    for _ in range(2):
        assert same(resilient.inpaint_each(batch, SETTINGS), batch) == [True] * 4
    assert engine.turns == ["vae", "float32"]
    assert sizes(engine) == [4, 2, 2, 4]
    (message,) = warned(caplog)
    assert message.endswith("from now on everything computes in float32")


def test_a_region_that_no_precision_mends_fails_alone_and_retries_end(caplog):
    engine, batch = Sick({1}, cure="nothing"), crops(4)
    resilient = Resilient(engine)
    for _ in range(FAILURES_TO_GIVE_UP + 2):
        answers = resilient.inpaint_each(batch, SETTINGS)
        assert same(answers, batch) == [True, False, True, True]
        assert "not numbers (NaN): try --dtype float32" in str(answers[1])
        assert engine.precision == "own"
    assert engine.turns == ["vae", "float32", "own"] * FAILURES_TO_GIVE_UP
    assert warned(caplog) == []
    with pytest.raises(EngineError, match="not numbers"):
        resilient.inpaint(batch, SETTINGS)


def test_an_engine_without_other_precisions_fails_its_broken_region():
    engine, batch = Painter(), crops(2)
    engine.patch = Sick({1}).patch
    answers = Resilient(engine).inpaint_each(batch, SETTINGS)
    assert same(answers, batch) == [True, False]
    assert isinstance(answers[1], EngineError)


def test_black_where_the_picture_is_black_is_no_failure():
    dark = picture(96, 64).with_pixels((SEEN.pixels * 0.05).astype(np.uint8))
    batch = crops(2, seen=dark)
    engine = Sick({0}, values=0)
    answers = Resilient(engine).inpaint_each(batch, SETTINGS)
    assert all(isinstance(answer, Patch) for answer in answers)
    assert not answers[0].pixels.any()
    assert engine.turns == []


@pytest.mark.parametrize(
    "trouble",
    [
        "\"slow_conv2d_cpu\" not implemented for 'Half'",
        "expected scalar type Half but found Float",
        "Input type (c10::Half) and bias type (float) should be the same",
        "BFloat16 is not supported on MPS",
    ],
)
def test_a_card_without_half_support_gives_pictures(trouble, caplog):
    class NoHalf(Sick):
        def inpaint(self, crops, settings):
            if self.precision != "float32":
                raise EngineError("the model failed", "no") from RuntimeError(trouble)
            return super().inpaint(crops, settings)

    engine, batch = NoHalf(set()), crops(4)
    assert same(Resilient(engine).inpaint_each(batch, SETTINGS), batch) == [True] * 4
    assert engine.turns == ["float32"]  # the VAE alone would not help
    assert sizes(engine) == [4]
    (message,) = warned(caplog)
    assert message == "the model failed; from now on everything computes in float32"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
    ids=repr,
)
def test_out_of_memory_halves_the_batch_and_remembers_what_worked(error, caplog, freed):
    engine, batch = Small(3, error=error), crops(8)
    resilient = Resilient(engine)
    assert same(resilient.inpaint_each(batch, SETTINGS), batch) == [True] * 8
    assert sizes(engine) == [8, 4, 2, 2, 2, 2]
    assert len(freed) == 2
    assert warned(caplog) == ["out of memory: from now on 2 at once at 32x32"]
    assert same(resilient.inpaint_each(batch[:4], SETTINGS), batch[:4]) == [True] * 4
    assert sizes(engine)[6:] == [2, 2]
    assert len(warned(caplog)) == 1
    engine.room = 8
    large = crops(4, size=(48, 48))
    resilient.inpaint_each(large, SETTINGS)
    assert sizes(engine)[8:] == [4]  # another working size, another limit


def test_out_of_memory_with_one_crop_steps_down_and_starts_large_again(caplog):
    engine, batch = Small(0, rungs=1), crops(4)
    resilient = Resilient(engine)
    assert same(resilient.inpaint_each(batch, SETTINGS), batch) == [True] * 4
    assert sizes(engine) == [4, 2, 1, 4, 2, 2]
    assert warned(caplog) == [
        "out of memory even with one at a time: now layer by layer",
        "out of memory: from now on 2 at once at 32x32",
    ]


def test_a_region_fails_only_where_no_rung_is_left():
    engine = Small(0)
    answers = Resilient(engine).inpaint_each(crops(2), SETTINGS)
    assert [str(answer) for answer in answers] == [
        "out of memory even with one crop of 32x32 at a time: use a smaller --size, or --device cpu"
    ] * 2
    assert sizes(engine) == [2, 1, 1]


def test_the_memory_of_a_failed_batch_is_free_before_the_retry():
    held = []

    class Greedy(Painter):
        def inpaint(self, crops, settings):
            gone = [ref() is None for ref in held]
            assert all(gone)
            latents = np.zeros(1000).view(Latents)
            held.append(weakref.ref(latents))
            if len(crops) > 1:
                raise EngineError("failed", "x") from torch.OutOfMemoryError("out of memory")
            return super().inpaint(crops, settings)

    class Latents(np.ndarray):
        pass

    gc.disable()  # it must not be the collector's luck
    try:
        batch = crops(4)
        assert same(Resilient(Greedy()).inpaint_each(batch, SETTINGS), batch) == [True] * 4
    finally:
        gc.enable()
    assert len(held) == 6


@pytest.mark.parametrize("error", [KeyError("unet"), ZeroDivisionError(), TypeError("a\nb")])
def test_a_crash_costs_the_region_that_crashes_alone_too(error):
    engine, batch = Crashing({1}, error), crops(4)
    answers = Resilient(engine).inpaint_each(batch, SETTINGS)
    assert same(answers, batch) == [True, False, True, True]
    assert sizes(engine) == [4, 1, 1, 1, 1]
    assert str(answers[1]).startswith(f"the engine crashed with {type(error).__name__}: ")
    assert "\n" not in str(answers[1])


def test_a_crash_that_comes_of_the_batch_costs_nothing():
    engine, batch = Crashing(set(), IndexError("odd"), batches=True), crops(4)
    assert same(Resilient(engine).inpaint_each(batch, SETTINGS), batch) == [True] * 4


def test_an_engine_s_own_words_are_kept():
    engine = Crashing({0}, EngineError("the model failed: so", "do that"))
    answers = Resilient(engine).inpaint_each(crops(2), SETTINGS)
    assert str(answers[0]) == "the model failed: so: do that"


def test_an_engine_that_loses_a_patch_is_not_trusted_with_the_batch():
    class Losing(Painter):
        def inpaint(self, crops, settings):
            return super().inpaint(crops, settings)[: max(1, len(crops) - 1)]

    batch = crops(3)
    assert same(Resilient(Losing()).inpaint_each(batch, SETTINGS), batch) == [True] * 3


def test_a_model_or_setting_that_cannot_work_is_not_forgiven():
    engine = Crashing({0}, ModelError("no such model", "name another"))
    with pytest.raises(ModelError, match="no such model"):
        Resilient(engine).inpaint_each(crops(2), SETTINGS)
    assert sizes(engine) == [2]


def overflowing(folder, part):
    """A tiny model that overflows in float16: in its VAE's decoder, or in its UNet."""
    tiny.sd(folder)
    kind = {"vae": AutoencoderKL, "unet": UNet2DConditionModel}[part]
    model = kind.from_pretrained(folder / part)
    first = model.decoder.conv_in if part == "vae" else model.conv_in
    with torch.no_grad():
        first.weight *= 1e5 if part == "vae" else 1e6
    model.save_pretrained(folder / part)
    return folder


@pytest.mark.parametrize(("part", "mended"), [("vae", "the VAE"), ("unet", "everything")])
def test_a_real_overflow_in_half_precision_is_mended(tmp_path, part, mended, caplog):
    folder = overflowing(tmp_path / "model", part)
    settings = Recipe(sampling={"steps": 2}, device={"dtype": "float16"}, inpaint={"strength": 0.5})
    batch = crops(2, size=(64, 64))
    engine = DiffusionEngine(folder, settings)
    assert not any(np.isfinite(p.pixels).all() for p in engine.inpaint(batch, settings))
    resilient = Resilient(engine)
    patches = resilient.inpaint(batch, settings)
    assert f"from now on {mended} computes in float32" in warned(caplog)[0]
    in_full = DiffusionEngine(
        folder, Recipe(sampling={"steps": 2}, device={"dtype": "float32"})
    ).inpaint(batch, settings)
    for patch, expected in zip(patches, in_full, strict=True):
        assert np.abs(patch.pixels - expected.pixels).max() * 255 < 6
        assert np.abs(patch.pixels - expected.pixels).mean() * 255 < 1
    again = resilient.inpaint(batch, settings)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(patches, again, strict=True))
    assert len(warned(caplog)) == 1


def test_infinite_latents_are_not_hidden_by_the_vae(tmp_path):
    """The decoder of a tiny VAE begins with a tanh, which turns infinity into 3."""
    engine = DiffusionEngine(tiny.promptless(tmp_path / "model"), Recipe())
    pipe = engine.load().pipe
    latents = torch.zeros(2, 4, 8, 8)
    latents[1, 0, 3, 3] = torch.inf
    with torch.inference_mode():
        first, second = pipe.vae.decode(latents).sample
    assert first.isfinite().all()
    assert not second.isfinite().all()
