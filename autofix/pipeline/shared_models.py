"""Opened models: each shared by all recipes that need it, used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from typing import Generic, TypeVar

from autofix.engines.base import Engine
from autofix.engines.memory import free_memory
from autofix.engines.resilient import Resilient
from autofix.engines.restoration.upscaler import Upscaler
from detectors.base import Detector

Tool = TypeVar("Tool")


class Lender(Generic[Tool]):
    """Some copies of one tool, each opened at its first use and used by one thread at a time."""

    def __init__(
        self, open_tool: Callable[[], Tool], close_tool: Callable[[Tool], object], count: int
    ) -> None:
        self._open = open_tool
        self._close = close_tool
        # The last copy given back is used first: no more are opened than work at the same time.
        self._copies: LifoQueue[Tool | None] = LifoQueue()
        for _ in range(count):
            self._copies.put(None)  # not opened yet

    @contextmanager
    def lend(self) -> Iterator[Tool]:
        """A copy that no other thread has meanwhile; waits for one."""
        tool = self._copies.get()
        try:
            if tool is None:
                tool = self._open()
            yield tool
        finally:
            self._copies.put(tool)

    def close(self) -> None:
        """Close the copies that no thread uses; the next use opens them again."""
        idle: list[Tool | None] = []
        with suppress(Empty):
            while True:
                idle.append(self._copies.get_nowait())
        for tool in idle:
            if tool is not None:
                self._close(tool)
            self._copies.put(None)


class Lenders(Generic[Tool]):
    """The lenders of one kind of tool, by what tells the tools apart. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lenders: dict[Hashable, Lender[Tool]] = {}

    def lend(
        self,
        key: Hashable,
        open_tool: Callable[[], Tool],
        close_tool: Callable[[Tool], object],
        *,
        count: int = 1,
    ) -> AbstractContextManager[Tool]:
        """One of `count` copies of the tool with this key."""
        with self._lock:
            if key not in self._lenders:
                self._lenders[key] = Lender(open_tool, close_tool, count)
            return self._lenders[key].lend()

    def close(self) -> None:
        """Close all tools that no thread uses."""
        with self._lock:
            for lender in self._lenders.values():
                lender.close()


@dataclass(eq=False)
class SharedModels:
    """What the toolboxes of several recipes have opened. `lock` guards the plain dictionaries."""

    detectors: Lenders[tuple[Detector, ...]] = field(default_factory=Lenders)
    engines: Lenders[Resilient] = field(default_factory=Lenders)
    upscalers: Lenders[Upscaler] = field(default_factory=Lenders)
    probes: dict[Hashable, Engine] = field(default_factory=dict)
    batch_sizes: dict[Hashable, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Close all, and give their memory back, a card's too."""
        self.detectors.close()
        self.engines.close()
        self.upscalers.close()
        free_memory()
