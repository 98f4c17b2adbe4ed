"""Batches: what shares one, when a batch that is not full goes out, and what a failure costs."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from autofix.pipeline.batcher import Batcher
from autofix.pipeline.in_flight import InFlight, Ticket
from tests.waiting import until


class BadError(Exception):
    pass


@pytest.fixture
def making():
    """Make `count` pictures' items in batches: batcher options -> the results, and the batches."""

    def run(items_of, *, size=4, make=None, **options):
        batches, started = [], []

        def record(batch):
            batches.append(list(batch))
            return make(batch) if make else [given * 10 for given in batch]

        in_flight = InFlight()
        batcher = Batcher(record, in_flight, name="test", size=lambda _: size, **options)

        def fix(number, items, ticket):
            started.append(number)
            return batcher.make_all(ticket, items)[0]

        with in_flight.expect_more():
            futures = [
                in_flight.start_picture(lambda ticket, n=n, items=items: fix(n, items, ticket))
                for n, items in enumerate(items_of)
            ]
            until(lambda: len(started) == len(futures), what="pictures")
        made = [future.exception(20) or future.result() for future in futures]
        in_flight.close()
        batcher.close()
        return made, batches

    return run


def test_results_come_back_to_their_pictures_in_order(making):
    made, _ = making([[("a", 1), ("a", 2)], [("a", 3)], [], [("b", 4), ("a", 5)]])
    assert made == [[10, 20], [30], [], [40, 50]]


def test_a_patient_batcher_fills_its_batches_over_pictures(making):
    made, batches = making([[("a", n)] for n in range(8)], patient=True)
    assert made == [[n * 10] for n in range(8)]
    assert sorted(map(sorted, batches)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_short_batch_goes_out_when_no_picture_can_join_it(making):
    made, batches = making([[("a", 1)], [("b", 2)], [("a", 3)]], patient=True)
    assert made == [[10], [20], [30]]
    assert sorted(map(sorted, batches)) == [[1, 3], [2]]


def test_kinds_do_not_share_a_batch(making):
    _, batches = making([[("a", 1), ("b", 2), ("a", 3)]], patient=True)
    assert sorted(map(sorted, batches)) == [[1, 3], [2]]


def test_a_bad_item_fails_alone(making):
    def make(batch):
        if 2 in batch:
            raise BadError
        return [given * 10 for given in batch]

    made, batches = making([[("a", n)] for n in range(4)], make=make, patient=True)
    assert made[0] == [0]
    assert isinstance(made[2], BadError)
    assert made[3] == [30]
    assert [2] in batches


def test_after_a_fatal_failure_no_item_is_made_alone(making):
    def make(batch):
        raise BadError

    made, batches = making(
        [[("a", n)] for n in range(4)], make=make, patient=True, fatal=(BadError,)
    )
    assert all(isinstance(each, BadError) for each in made)
    assert sum(map(len, batches)) == 4


def test_a_wrong_number_of_results_fails_the_picture_and_not_the_worker(making):
    made, _ = making(
        [[("a", 1)], [("a", 2)], [("b", 3)]], size=1, make=lambda batch: batch * (batch[0] % 2 + 1)
    )
    assert [str(made[0]), made[1], str(made[2])] == [
        "test gave 2 results for 1",
        [2],
        "test gave 2 results for 1",
    ]


def test_a_size_that_cannot_be_found_fails_the_picture_that_waits():
    in_flight = InFlight()

    def size(given):
        raise BadError

    batcher = Batcher(list, in_flight, name="test", size=size)
    future = in_flight.start_picture(lambda ticket: batcher.make_all(ticket, [("a", 1)]))
    with pytest.raises(BadError):
        future.result(20)
    in_flight.close()
    batcher.close()


def test_closing_cancels_what_waits():
    in_flight, never = InFlight(), threading.Event()
    batcher = Batcher(
        lambda batch: never.wait(20) and list(batch), in_flight, name="test", size=lambda _: 1
    )
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(batcher.make_all, Ticket(0), [("a", 1)])
        until(waiting.running, what="a call")
        batcher.close(wait=False)
        with pytest.raises(CancelledError):
            waiting.result(20)
        never.set()
    with pytest.raises(CancelledError):
        batcher.make_all(Ticket(1), [("a", 1)])
    in_flight.close()


def test_a_cancelled_picture_waits_for_nothing():
    in_flight = InFlight()
    batcher = Batcher(list, in_flight, name="test", size=lambda _: 1)
    ticket = Ticket(0)
    ticket.future.cancel()
    with pytest.raises(CancelledError):
        batcher.make_all(ticket, [("a", 1)])
    in_flight.close()
    batcher.close()
