"""Models that several recipes share: opened once, used by one thread at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from autofix.pipeline.shared_models import Lenders


class Opened:
    def __init__(self):
        self.made, self.closed = [], []

    def open(self):
        self.made.append(object())
        return self.made[-1]


def test_a_tool_is_opened_at_its_first_use_and_once_for_a_key():
    opened, lenders = Opened(), Lenders()
    for key in ("a", "a", "b"):
        with lenders.lend(key, opened.open, opened.closed.append):
            pass
    assert len(opened.made) == 2


def test_one_thread_waits_for_another_to_be_done():
    opened, lenders, inside = Opened(), Lenders(), []

    def use(_):
        with lenders.lend("a", opened.open, opened.closed.append) as tool:
            inside.append(tool)
            assert len(inside) == 1
            inside.pop()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(200)))
    assert len(opened.made) == 1


def test_no_more_copies_are_opened_than_work_at_the_same_time():
    opened, lenders = Opened(), Lenders()

    def lend():
        return lenders.lend("a", opened.open, opened.closed.append, count=3)

    for _ in range(5):
        with lend() as one, lend() as other:
            assert one is not other
    assert len(opened.made) == 2


def test_closing_closes_what_is_idle_and_a_later_use_opens_again():
    opened, lenders = Opened(), Lenders()
    with lenders.lend("a", opened.open, opened.closed.append) as busy:
        lenders.close()
        assert opened.closed == []
    lenders.close()
    lenders.close()
    assert opened.closed == [busy]
    with lenders.lend("a", opened.open, opened.closed.append) as again:
        assert again is not busy


def test_a_tool_that_cannot_be_opened_can_be_tried_again():
    lenders, tries = Lenders(), []

    def open_tool():
        tries.append(threading.current_thread())
        if len(tries) == 1:
            raise OSError("no such file")
        return "tool"

    with pytest.raises(OSError, match="no such file"), lenders.lend("a", open_tool, tries.append):
        pass
    with lenders.lend("a", open_tool, tries.append) as tool:
        assert tool == "tool"
