"""What the denoiser and the VAE did in a run, and how long they take for it with nothing else."""

from __future__ import annotations

import functools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from autofix.engines.diffusion.engine import DiffusionEngine

METHODS = (
    ("denoiser", UNet2DConditionModel, "forward"),
    *(
        ("VAE", kind, name)
        for kind in (AutoencoderKL, AutoencoderTiny)
        for name in ("encode", "decode")
    ),
)
BLOCK = 3
"""Bare calls one after the other in one measurement."""

Key = tuple[str, str, tuple[int, ...]]
"""Part, method, and the shape of one row of what it is given."""


@dataclass
class _Call:
    """One call as it was made, to be made again."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    more: dict[str, Any]
    rows: int

    def of(self, rows: int) -> Callable[[], Any]:
        """The same call with so many rows, its own repeated."""
        args, more = self._repeated(self.args, rows), self._repeated(self.more, rows)
        return lambda: self.make(*args, **more)

    def _repeated(self, value: Any, rows: int) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == self.rows:
            return torch.cat([value] * -(-rows // self.rows))[:rows]
        if isinstance(value, dict):
            return {key: self._repeated(each, rows) for key, each in value.items()}
        if isinstance(value, tuple):
            return tuple(self._repeated(each, rows) for each in value)
        return value


class Recorder:
    """The calls of every denoiser and VAE while `recording`: their rows and their seconds.

    Crops that only fill up a batch are counted out again. On a GPU times are taken by events in
    its own queue, so that the run is not held up by being watched.
    """

    def __init__(self) -> None:
        self.rows: Counter[Key] = Counter()
        self.wanted = 0
        self._decoded = 0
        self._largest: dict[Key, _Call] = {}
        self._spans: list[tuple[str, Any, Any]] = []

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Record whatever is called inside."""
        originals = [(kind, name, getattr(kind, name)) for _, kind, name in METHODS]
        inpaint = DiffusionEngine.inpaint
        for part, kind, name in METHODS:
            setattr(kind, name, self._watched(part, name, getattr(kind, name)))

        @functools.wraps(inpaint)
        def counted(engine: DiffusionEngine, crops: Any, *args: Any, **more: Any) -> Any:
            self.wanted += len({id(crop) for crop in crops})
            return inpaint(engine, crops, *args, **more)

        setattr(DiffusionEngine, "inpaint", counted)  # noqa: B010, mypy wants it so
        try:
            yield self
        finally:
            setattr(DiffusionEngine, "inpaint", inpaint)  # noqa: B010
            for kind, name, original in originals:
                setattr(kind, name, original)

    def seconds(self, part: str) -> float:
        """How long the part's calls took inside the run."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return sum(_between(start, end) for each, start, end in self._spans if each == part)

    @torch.inference_mode()
    def bare_seconds(self) -> float:
        """How long the same rows take, called in full batches with nothing between them.

        A full batch has as many rows as the largest that was seen of the denoiser, and as many
        crops as the largest that was seen of the VAE, which may have been called for each crop.
        """
        batch = max(call.rows for (part, _, _), call in self._largest.items() if part == "VAE")
        needed = self.wanted / self._decoded
        total = 0.0
        for key, call in self._largest.items():
            rows = max(call.rows, batch)
            total += self.rows[key] * needed * _timed(call.of(rows)) / rows
        return total

    def _watched(self, part: str, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def watched(module: Any, *args: Any, **more: Any) -> Any:
            given = args[0] if args else next(iter(more.values()))
            key = part, name, tuple(given.shape[1:])
            known = self._largest.get(key)
            if known is None or len(given) > known.rows:
                make = functools.partial(original, module)
                self._largest[key] = _Call(make, args, more, len(given))
            self.rows[key] += len(given)
            self._decoded += len(given) if name == "decode" else 0
            start = _now(given.device)
            answer = original(module, *args, **more)
            self._spans.append((part, start, _now(given.device)))
            return answer

        return watched


def _now(device: torch.device) -> Any:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(start: Any, end: Any) -> float:
    return end - start if isinstance(start, float) else start.elapsed_time(end) / 1000


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, the median of three blocks of them after a warm-up."""
    on_gpu = torch.cuda.is_available()
    call()
    taken = []
    for _ in range(3):
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(BLOCK):
            call()
        if on_gpu:
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - started) / BLOCK)
    return statistics.median(taken)
