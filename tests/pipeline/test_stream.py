"""Many pictures under way at once: order, limits, failures, and the same pixels in any batch."""

from pathlib import Path

import numpy as np
import pytest

from autofix.errors import DetectorSetupError
from autofix.imagefiles.files import read
from autofix.pipeline.in_flight import LEAST_IN_FLIGHT, MOST_IN_FLIGHT
from autofix.pipeline.pipeline import Pipeline
from autofix.pipeline.toolbox import Toolbox
from autofix.settings.recipe_toml import load_recipe
from tests.build import picture
from tests.pipeline.fakes import Boxes, Painter, pipeline

SAMPLES = Path(__file__).parents[2] / "samples"
APART = ((10, 10, 30, 34), (100, 20, 124, 44), (160, 90, 190, 120))


def pictures(count):
    return [picture(220, 140, seed=n, name=f"{n}.png") for n in range(count)]


class Taken:
    """Pictures that count how many of them were taken."""

    def __init__(self, count):
        self.count, self.taken = count, 0

    def __iter__(self):
        for each in range(self.count):
            self.taken += 1
            yield picture(220, 140, seed=each, name=f"{each}.png")


def test_answers_come_in_the_order_of_the_pictures():
    given = pictures(20)
    answers = list(pipeline(Boxes(*APART), Painter(), batch_size=7).stream(given))
    assert [answer.picture.name for answer in answers] == [each.name for each in given]
    assert all(answer.changed for answer in answers)


@pytest.mark.parametrize(("batch_size", "most"), [(1, LEAST_IN_FLIGHT), (1000, MOST_IN_FLIGHT)])
def test_pictures_are_taken_in_only_as_far_ahead_as_batches_need(batch_size, most):
    source = Taken(300)
    stream = pipeline(Boxes(APART[0]), Painter(), batch_size=batch_size).stream(source)
    ahead = [source.taken - done for done, _ in enumerate(stream)]
    assert max(ahead) <= most
    assert source.taken == len(ahead) == 300


def test_batches_are_full_though_no_picture_fills_one():
    engine = Painter()
    list(pipeline(Boxes(APART[0]), engine, batch_size=16).stream(pictures(50)))
    assert [len(batch) for batch in engine.batches] == [16, 16, 16, 2]


def test_where_asked_for_short_batches_are_filled_up():
    engine = Painter()
    plain = pipeline(Boxes(*APART), engine, batch_size=4).fix(pictures(2))
    filled = pipeline(Boxes(*APART), engine, batch_size=4, bulk=True).fix(pictures(2))
    assert [len(batch) for batch in engine.batches] == [4, 2, 4, 4]
    for one, other in zip(plain, filled, strict=True):
        assert np.array_equal(one.picture.pixels, other.picture.pixels)


class Moody(Boxes):
    """Cannot look at pictures of one width."""

    def detect(self, given, *, names=()):
        if any(each.shape[1] == 200 for each in given):
            raise RuntimeError("not this one")
        return super().detect(given, names=names)


def test_a_picture_that_cannot_be_looked_at_fails_alone():
    given = [picture(width, 140, seed=width) for width in (220, 200, 220, 220)]
    answers = list(pipeline(Moody(*APART), Painter()).stream(given))
    assert [isinstance(answer, RuntimeError) for answer in answers] == [False, True, False, False]


def test_what_is_wrong_with_the_run_ends_it():
    class Missing(Boxes):
        def detect(self, given, *, names=()):
            raise DetectorSetupError("no such detector", "name another")

    with pytest.raises(DetectorSetupError):
        list(pipeline(Missing(), Painter()).stream(pictures(3)))


def test_who_stops_listening_ends_it():
    engine = Painter()
    stream = pipeline(Boxes(*APART), engine, batch_size=1).stream(Taken(100))
    next(stream)
    stream.close()
    painted = len(engine.batches)
    assert painted < 100
    assert len(engine.batches) == painted


@pytest.fixture(scope="module")
def real():
    """Two real pictures with faces."""
    names = ("launch.png", "noticeboard.png")
    return [read(SAMPLES / name, name=name) for name in names]


def fixed(given, *, batch_size, bulk=False):
    recipe = load_recipe("face").override({"device.batch_size": batch_size, "device.name": "cpu"})
    with Toolbox(recipe) as toolbox, Pipeline(recipe, toolbox, bulk=bulk) as pipeline:
        return {each.picture.name: each.picture.pixels for each in pipeline.fix(given)}


@pytest.fixture(scope="module")
def one_by_one(real):
    return fixed(real, batch_size="auto", bulk=True)


def test_the_built_in_model_gives_the_same_at_any_batch_size_and_in_any_order(real, one_by_one):
    eight = fixed(real[::-1], batch_size=8)
    for given in real:
        difference = np.abs(one_by_one[given.name].astype(int) - eight[given.name])
        assert difference.max() <= 1
        assert difference.mean() < 0.01
        assert np.abs(one_by_one[given.name].astype(int) - given.pixels).max() > 10


def test_by_default_a_cpu_gives_the_same_bits_in_any_order_and_alone(real, one_by_one):
    back = fixed(real[::-1], batch_size="auto", bulk=True)
    alone = fixed(real[1:], batch_size="auto", bulk=True)
    for name, pixels in one_by_one.items():
        assert np.array_equal(pixels, back[name])
        assert np.array_equal(pixels, alone.get(name, pixels))
