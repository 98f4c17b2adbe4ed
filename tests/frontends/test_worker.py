import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from autofix.errors import BusyError, DetectorSetupError
from autofix.frontends.worker import Worker
from tests.build import picture
from tests.frontends.tools import fake_pipeline
from tests.pipeline.fakes import Painter


class Noting:
    """A work that notes what it is given together; equal to those of its kind."""

    def __init__(self, kind, done, gate=None):
        self.kind, self.done, self.gate = kind, done, gate

    def __eq__(self, other):
        return isinstance(other, Noting) and self.kind == other.kind

    __hash__ = None

    def do(self, pipeline, items):
        if self.gate is not None:
            self.gate.wait(10)
        self.done.append((self.kind, list(items)))
        return [ValueError(item) if item == "bad" else f"{item}!" for item in items]


@pytest.fixture
def held():
    """A worker that is kept busy until the gate opens, and what it does."""
    gate, done = threading.Event(), []
    with Worker(fake_pipeline(), waiting=4) as worker:
        first = worker.submit(Noting("gate", done, gate), 0)
        while not first.running():
            time.sleep(0.001)
        yield worker, gate, done
        gate.set()


def test_waiting_items_of_equal_work_are_done_together_and_the_oldest_first(held):
    worker, gate, done = held
    answers = [
        worker.submit(Noting(kind, done), number)
        for number, kind in enumerate(["a", "b", "a", "b"], start=1)
    ]
    gate.set()
    assert [answer.result(10) for answer in answers] == ["1!", "2!", "3!", "4!"]
    assert done == [("gate", [0]), ("a", [1, 3]), ("b", [2, 4])]


def test_no_more_wait_than_may(held):
    worker, gate, done = held
    answers = [worker.submit(Noting("a", done), number) for number in range(4)]
    assert (worker.waiting, worker.full) == (4, True)
    with pytest.raises(BusyError, match="4 pictures wait already"):
        worker.submit(Noting("a", done), 4)
    late = []
    patient = threading.Thread(
        target=lambda: late.append(worker.submit(Noting("a", done), 4, wait=True).result(10))
    )
    patient.start()
    gate.set()
    patient.join(10)
    assert late == ["4!"]
    assert [answer.result(10) for answer in answers] == ["0!", "1!", "2!", "3!"]


def test_one_that_fails_fails_alone_and_the_worker_goes_on(held):
    worker, gate, done = held
    good, bad = (worker.submit(Noting("a", done), item) for item in ("good", "bad"))
    gate.set()
    assert good.result(10) == "good!"
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)
    assert worker.submit(Noting("b", done), 1).result(10) == "1!"


def test_what_nobody_waits_for_any_more_is_not_done(held):
    worker, gate, done = held
    given_up, other = (worker.submit(Noting("a", done), number) for number in (1, 2))
    given_up.cancel()
    gate.set()
    assert other.result(10) == "2!"
    assert ("a", [2]) in done


def test_stopping_finishes_what_is_in_hand_and_refuses_the_rest():
    gate, done = threading.Event(), []
    worker = Worker(fake_pipeline()).__enter__()
    first = worker.submit(Noting("gate", done, gate), 1)
    while not first.running():
        time.sleep(0.001)
    second = worker.submit(Noting("b", done), 2)
    threading.Timer(0.1, gate.set).start()
    worker.stop()
    assert first.result(0) == "1!"
    with pytest.raises(BusyError, match="stopping"):
        second.result(0)
    with pytest.raises(BusyError, match="stopping"):
        worker.submit(Noting("b", done), 3)
    assert not worker.alive


def test_a_missing_detector_is_said_at_the_start():
    pipeline = fake_pipeline()

    def missing():
        raise DetectorSetupError("no detector", "get one")

    pipeline.prepare = missing
    worker = Worker(pipeline)
    with pytest.raises(DetectorSetupError, match="get one"):
        worker.__enter__()
    assert not worker.alive


def test_models_are_dropped_after_a_while_without_work_and_it_goes_on():
    pipeline, done = fake_pipeline(), []
    with Worker(pipeline, idle_seconds=0.02) as worker:
        for _ in range(1000):
            if pipeline.closed:
                break
            time.sleep(0.01)
        time.sleep(0.1)
        assert pipeline.closed == ["face"]  # once, not again and again
        assert worker.submit(Noting("a", done), 1).result(10) == "1!"


def test_who_borrows_the_pipeline_waits_for_the_worker():
    busy = threading.Lock()

    class Alone(Painter):
        def repaint(self, crops, settings):
            assert busy.acquire(blocking=False)
            time.sleep(0.05)
            busy.release()
            return super().repaint(crops, settings)

    pipeline = fake_pipeline(Alone())
    seen = [picture(160, 120, name="a.png")]
    with Worker(pipeline) as worker, ThreadPoolExecutor(4) as borrowers:
        assert worker.lent.recipe is pipeline.recipe
        for outcomes in borrowers.map(lambda _: worker.lent.fix(seen), range(4)):
            assert [outcome.changed for outcome in outcomes] == [True]
