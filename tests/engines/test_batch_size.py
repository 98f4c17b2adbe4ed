import itertools

import pytest

from autofix.engines.batch_size import fastest_batch
from autofix.errors import EngineError
from autofix.settings.recipe import Recipe
from tests.pipeline.fakes import Painter


class Timed(Painter):
    """Takes the given seconds for a batch of each size, or raises the given error."""

    def __init__(self, **seconds):
        super().__init__()
        self.seconds = {int(size.strip("_")): cost for size, cost in seconds.items()}
        self.clock = 0.0

    def inpaint(self, crops, settings):
        cost = self.seconds[len(crops)]
        if isinstance(cost, Exception):
            raise cost
        self.clock += cost
        return super().inpaint(crops, settings)


FULL = EngineError("the model failed: CUDA out of memory", "less")


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({"_1": 1, "_2": 2, "_4": 4}, 1),  # no gain at all
        ({"_1": 1, "_2": 1.2, "_4": 1.6, "_8": 3.15}, 4),
        ({"_1": 1, "_2": 1, "_4": 1, "_8": 1, "_16": 1, "_32": 1, "_64": 1}, 64),
        ({"_1": 1, "_2": 1, "_4": 1, "_8": FULL}, 4),
        ({"_1": FULL}, 1),
        ({"_1": 1, "_2": RuntimeError("something else")}, 1),
    ],
)
def test_the_largest_batch_that_is_worth_it(seconds, best):
    engine = Timed(**seconds)
    assert fastest_batch(engine, (64, 64), Recipe(), now=lambda: engine.clock) == best


def test_batches_of_the_given_working_size_are_measured():
    engine = Painter()
    fastest_batch(engine, (96, 64), Recipe(), now=itertools.count().__next__)
    assert {crop.window.size_wh for batch in engine.batches for crop in batch} == {(96, 64)}
