"""How many pictures are in flight, in what order they come, and how they end."""

from __future__ import annotations

import threading

import pytest

from autofix.errors import BusyError
from autofix.pipeline.in_flight import LEAST_IN_FLIGHT, InFlight
from tests.waiting import until


def test_no_more_pictures_than_the_limit_are_in_flight():
    in_flight, go = InFlight(), threading.Event()
    most = []

    def fix(ticket):
        most.append(in_flight.count)
        return go.wait(20)

    futures = [in_flight.start_picture(fix) for _ in range(LEAST_IN_FLIGHT + 4)]
    until(lambda: in_flight.count == LEAST_IN_FLIGHT, what="a full house")
    assert in_flight.more_to_come is False
    go.set()
    assert all(future.result(20) for future in futures)
    assert max(most) == LEAST_IN_FLIGHT
    in_flight.close()


def test_futures_are_fed_in_order_and_no_further_ahead_than_there_is_room():
    in_flight, taken = InFlight(), []

    def numbers():
        for number in range(10):
            taken.append(number)
            yield number

    fed = in_flight.feed_pictures(
        lambda number: in_flight.start_picture(lambda ticket: number),
        numbers(),
        room=lambda: 3,
    )
    assert next(fed).result(20) == 0
    assert len(taken) <= 4
    assert [future.result(20) for future in fed] == [*range(1, 10)]
    in_flight.close()


def test_closing_the_feed_cancels_what_is_not_done():
    in_flight, go, ended = InFlight(), threading.Event(), []

    def fix(number, ticket):
        if number:
            go.wait(20)
        ended.append(number)
        ticket.raise_if_cancelled()
        return number

    futures = []

    def start(number):
        futures.append(in_flight.start_picture(lambda ticket: fix(number, ticket)))
        return futures[-1]

    fed = in_flight.feed_pictures(start, range(4), room=lambda: 4)
    assert next(fed).result(20) == 0
    fed.close()
    assert all(future.cancelled() for future in futures[1:])
    go.set()
    in_flight.close()


def test_after_closing_no_picture_can_start():
    in_flight = InFlight()
    in_flight.close()
    with pytest.raises(BusyError, match="is stopping"):
        in_flight.start_picture(lambda ticket: None)


def test_idle_time_is_counted_from_the_last_picture():
    idle = threading.Event()
    in_flight = InFlight(idle_seconds=0.05, on_idle=idle.set)
    in_flight.start_picture(lambda ticket: 1).result(20)
    assert idle.wait(20)
    in_flight.close()
