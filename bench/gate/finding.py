"""What the gate finds of one figure, and how findings add up to an answer. Plain values, no torch."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Answer(IntEnum):
    """What the gate says of a figure, and of the whole change as its exit status."""

    KEEP = 0
    REGRESSION = 1
    UNCLEAR = 2
    """The figures lie on both sides of the margin: could not tell."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure of one plugin on one problem, at the base and at the head of a change."""

    plugin: str
    metric: str
    unit: str
    answer: Answer
    why: str
    """One clause that a reader can act on: ``unchanged: identical binary``, ``new, no base`` ..."""
    sizes: str = ""
    dtype: str = ""
    target: str = ""
    """``sm_90`` for what was compiled, ``cpu`` or the GPU's key for what was timed."""
    base: float | None = None
    head: float | None = None
    change: float | None = None
    """head / base, or head - base where ``difference``; above 1, or 0, is more, not yet worse."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval of ``change``; None for a figure that repeats exactly."""
    difference: bool = False
    smallest: float | None = None
    """The smallest change for the worse that this run would have found, in the terms of ``change``."""
    against: str = ""
    """The baseline, where the figure is a speed-up over it."""
    modelled: bool = False

    def facts(self) -> dict[str, Any]:
        """The finding as one row of ``madbench gate --json``."""
        row = dict(vars(self)) | {"answer": self.answer.name.lower()}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }


def overall(findings: Iterable[Finding]) -> Answer:
    """A regression anywhere is a regression; else what is unclear anywhere is unclear."""
    answers = {each.answer for each in findings}
    for answer in (Answer.REGRESSION, Answer.UNCLEAR):
        if answer in answers:
            return answer
    return Answer.KEEP
