"""Changes: where a series has left its level, with the commit, the size and which way is worse.

A regression that was made good stays in the list, with the commit that made it good.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...engine.record import Measurement
from .points import Series, series


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step of one series."""

    series: Series
    commit: str
    """The first commit at the new level."""
    committed: str
    last: str
    """The last commit measured at the old level; what lies between was not measured."""
    before: float
    after: float
    """Levels, in the unit of the metric."""
    size: float
    """after / before, or after - before where ``difference``."""
    low: float
    high: float
    """Ends of the 99% interval of ``size``; of a figure that repeats exactly, ``size`` itself."""
    difference: bool
    """True for fractions, and where a level is zero or less."""
    worse: bool
    """Whether the step went the wrong way; False too for a figure that knows no wrong way."""
    recovered: str | None = None
    """Of a step for the worse, the first commit at which the level was back, if it is."""

    def facts(self) -> dict[str, Any]:
        """The change as one row of ``madbench history --json``."""
        row = {name: value for name, value in vars(self).items() if name != "series"}
        return self.series.facts() | row


def changes(known: Iterable[Measurement]) -> list[Change]:
    """Every change of every series, the newest commit first."""
    return [change for one in series(known) for change in of(one)]


def of(one: Series) -> list[Change]:
    """The changes of a series, oldest first."""
    raise NotImplementedError
