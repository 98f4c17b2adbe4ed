"""An engine that survives failures of another: too little memory, broken values, crashes."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from autofix.engines.base import Engine, ModelInfo, cancellations_of, context_of, owns_memory
from autofix.engines.devices import PRECISIONS, Precision
from autofix.engines.memory import error_chain, free_memory, out_of_memory
from autofix.errors import EngineError, UsageError
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Patch

PatchOrError = Patch | EngineError
"""The result of one crop."""

BLACK_LEVEL = 2
"""No level of a black patch is above this, of 255."""

LIT_LEVEL = 16
"""A crop's levels above this, of 255, are lit: no dark picture, whose patch may be black."""

LIT_SHARE = 0.01
"""A patch is called black only where more than this share of its crop's levels is lit."""

FAILURES_TO_GIVE_UP = 2
"""Stop retrying in higher precision, which is slow, after this many failures in a row."""

_LACKS_HALF = re.compile(
    r"\bc10::(Half|BFloat16)|'(Half|BFloat16)'|scalar type|same dtype|bfloat16 is (only|not)"
    r"|CUBLAS_STATUS_NOT_SUPPORTED",
    re.IGNORECASE,
)
_PARTS_IN_FLOAT32: dict[Precision, str] = {"vae": "the VAE", "float32": "everything"}
_log = logging.getLogger("autofix")


@runtime_checkable
class Adjustable(Protocol):
    """What an engine may offer beside inpainting, so that a failed batch is worth a retry."""

    def with_precision(self, precision: Precision) -> bool:
        """Compute in this precision from now on. False, and no change, where it is no gain."""
        ...

    def step_down(self) -> str:
        """Need less memory from now on, and take longer: how, for people; empty where it cannot."""
        ...


class _HalfError(EngineError):
    """The device cannot compute in half precision."""


class Resilient:
    """Wraps an engine: a failure costs the regions it hits and no other.

    Out of memory: the batch is halved until it fits, and later batches of this working size stay
    that small; where one crop alone is too much, the engine steps down to a frugal mode, if it has
    one. Values that are not finite, or a black patch: that region alone is inpainted again with
    the VAE in float32, then with everything in float32; the precision that helped stays. A crash:
    the batch's regions are inpainted again one by one. Each change is logged once.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._owns_memory = owns_memory(engine)
        self._fatal: tuple[type[BaseException], ...] = (UsageError, *cancellations_of(engine))
        self._limits: dict[tuple[int, int], int] = {}
        self._precision: Precision = "own"
        self._failures_in_a_row = 0

    @property
    def info(self) -> ModelInfo:
        """The engine's own."""
        return self.engine.info

    def check(self, recipe: Recipe) -> None:
        """See `Engine.check`."""
        self.engine.check(recipe)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """See `Engine.inpaint`; raises the error of the first crop that failed."""
        patches = []
        for answer in self.inpaint_each(crops, recipe):
            if isinstance(answer, EngineError):
                raise answer
            patches.append(answer)
        return patches

    def inpaint_each(self, crops: Sequence[Crop], recipe: Recipe) -> list[PatchOrError]:
        """A Patch a Crop, finite and not black, or the error instead; in order.

        Crops have one size and strength. Raises UsageError for settings or a model that cannot
        work at all.
        """
        answers = self._inpaint_all(crops, recipe)
        answers = self._retry_in_precision(answers, crops, recipe)
        return [_checked_answer(answer) for answer in answers]

    def _retry_in_precision(
        self, answers: list[PatchOrError], crops: Sequence[Crop], recipe: Recipe
    ) -> list[PatchOrError]:
        """The answers, each broken one replaced where a higher precision gave a sound Patch."""
        before, helped = self._precision, ""
        for precision in PRECISIONS[PRECISIONS.index(before) + 1 :]:
            poor = [n for n, answer in enumerate(answers) if _may_be_helped(answer, precision)]
            if (
                not poor
                or self._failures_in_a_row >= FAILURES_TO_GIVE_UP
                or not self._set_precision(precision)
            ):
                continue
            reason = _failure_reason(answers[poor[0]])
            again = self._inpaint_all([crops[n] for n in poor], recipe)
            for n, answer in zip(poor, again, strict=True):
                if isinstance(answer, Patch) and not _patch_fault(answer):
                    answers[n] = answer
                    before, helped = precision, reason
        if helped:
            self._failures_in_a_row = 0
            _log.warning(
                "%s; from now on %s computes in float32", helped, _PARTS_IN_FLOAT32[before]
            )
        elif self._precision != before:
            self._failures_in_a_row += 1
        if self._precision != before:
            self._set_precision(before)
        return answers

    def _set_precision(self, precision: Precision) -> bool:
        """Make the engine compute in this precision, if it can and it makes a difference."""
        if not isinstance(self.engine, Adjustable) or not self.engine.with_precision(precision):
            return False
        self._precision = precision
        self._free_memory()
        return True

    def _free_memory(self) -> None:
        if not self._owns_memory:
            free_memory()

    def _inpaint_all(
        self, crops: Sequence[Crop], recipe: Recipe, *, alone: bool = False
    ) -> list[PatchOrError]:
        """An answer a crop, in batches as large as memory allows."""
        answers: list[PatchOrError] = []
        halved = False
        while rest := crops[len(answers) :]:
            size_wh = rest[0].window.size_wh
            batch = rest[: self._limits.get(size_wh, len(rest))]
            inpainted = self._try_batch(batch, recipe, alone=alone)
            if inpainted is not None:
                answers += inpainted
                if halved:
                    _log.warning(
                        "out of memory: from now on %d at once at %dx%d", len(batch), *size_wh
                    )
                halved = False
                continue
            self._free_memory()
            if len(batch) > 1:
                self._limits[size_wh] = len(batch) // 2
                halved = True
            elif not self._step_down():
                answers.append(_no_memory(size_wh))
        return answers

    def _step_down(self) -> bool:
        """Make the engine need less memory, if it can. Batches start at full size again."""
        done = self.engine.step_down() if isinstance(self.engine, Adjustable) else ""
        if not done:
            return False
        self._free_memory()
        self._limits.clear()
        _log.warning("out of memory even with one at a time: %s", done)
        return True

    def _try_batch(
        self, batch: Sequence[Crop], recipe: Recipe, *, alone: bool
    ) -> list[PatchOrError] | None:
        """An answer a crop; None where memory does not suffice.

        No exception leaves this method: its traceback would keep the batch's memory in use.
        """
        try:
            with context_of(self.engine):
                patches = self.engine.inpaint(batch, recipe)
            if len(patches) != len(batch):
                raise EngineError(
                    f"{self.info.name} gave {len(patches)} patches for {len(batch)} crops",
                    "report it to the engine's maker",
                )
            return list(patches)
        except self._fatal:
            raise
        except Exception as error:
            _log.debug("a batch of %d failed", len(batch), exc_info=True)
            if out_of_memory(error):
                return None
            answer = _as_engine_error(error)
        if alone or isinstance(answer, _HalfError):
            return [answer for _ in batch]
        return [self._inpaint_all([crop], recipe, alone=True)[0] for crop in batch]


def _as_engine_error(error: Exception) -> EngineError:
    """The same as an EngineError without a traceback."""
    if isinstance(error, EngineError):
        problem, advice = error.problem, error.advice
    else:
        message = (str(error).strip() or "no message").splitlines()[0]
        problem = f"the engine crashed with {type(error).__name__}: {message}"
        advice = "try another --model; if it is the same with all, report it"
    if any(_LACKS_HALF.search(str(cause)) for cause in error_chain(error)):
        return _HalfError(problem, "use --dtype float32")
    return EngineError(problem, advice)


def _no_memory(size_wh: tuple[int, int]) -> EngineError:
    wide, high = size_wh
    return EngineError(
        f"out of memory even with one crop of {wide}x{high} at a time",
        "use a smaller --size, or --device cpu",
    )


def _may_be_helped(answer: PatchOrError, precision: Precision) -> bool:
    """Whether this precision may help; the VAE's helps against broken values alone."""
    if isinstance(answer, EngineError):
        return precision == "float32" and isinstance(answer, _HalfError)
    return bool(_patch_fault(answer))


def _checked_answer(answer: PatchOrError) -> PatchOrError:
    """The answer; an error where the Patch holds no picture."""
    if isinstance(answer, Patch) and (fault := _patch_fault(answer)):
        return EngineError(fault, "try --dtype float32, another --vae or another --model")
    return answer


def _failure_reason(answer: PatchOrError) -> str:
    return answer.problem if isinstance(answer, EngineError) else _patch_fault(answer)


def _patch_fault(patch: Patch) -> str:
    """Why a patch is no picture at all; empty where it is one."""
    if not np.isfinite(patch.pixels).all():
        return "the model's picture has values that are not numbers (NaN)"
    lit_share = float((patch.crop.pixels > LIT_LEVEL).mean())
    if lit_share > LIT_SHARE and float(patch.pixels.max()) * 255 <= BLACK_LEVEL:
        return "the model's picture is all black"
    return ""
