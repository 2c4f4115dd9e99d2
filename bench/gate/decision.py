"""What paired differences prove: worse by more than a margin, not worse by more, or neither.

A cell is a series of differences, one a round (or a seed), above 0 for the worse. Two one-sided tests
of its centre d against the margin m:

    regression   d <= m is rejected
    keep         d >= m is rejected: equivalence, not the mere absence of proof
    unclear      neither

The test is Student's on the mean without the tenth at either end (Tukey and McLaughlin, Sankhya A 25,
1963): with fewer than 10 rounds that is the plain t test. It has no floor, as Wilcoxon's p of 2**-n
has against a grid, and one wild round in ten costs it little. Simulated at 12 rounds of 2.5 % scatter
and a margin of 3 %, each kind of noise 4000 times: share of regressions at d = m and at d = 0 (want
1 % and less), and of slow-downs of 10 % found, all at a level of 1 %:

    ====================================  ======  =====  =============  ==============
    noise of a round                      d = m   d = 0  10 % found     plain t finds
    ====================================  ======  =====  =============  ==============
    normal                                1.3 %   0 %    100 %          100 %
    Student, 2 degrees of freedom         0.6 %   0 %     96 %           86 %
    normal, one in ten 10 times as wide   0.9 %   0 %     92 %           72 %
    two clock states a process            1.2 %   0 %    100 %          100 %
    correlated with the round before      4.8 %   0 %    100 %          100 %
    ====================================  ======  =====  =============  ==============

Rounds that hang together make it too sure at the margin, not at d = 0: a run whose machine changes
slowly is judged by the margin as much as by the test.

Over the cells of a run the p-values of either test are corrected after Benjamini and Hochberg, so at
most 1 - confidence of the regressions that are named are none, and of the keeps likewise. The rounds
are never counted while they come: no stopping when it looks good is corrected for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .finding import Answer

TRIM = 0.1
"""Share of the rounds left out at either end."""
POWER = 0.95
"""How surely the smallest change named would have been found."""
FEWEST = 3
"""Rounds below which scatter says nothing."""

Cell = TypeVar("Cell")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is known of one cell, in the terms of its differences."""

    answer: Answer
    rounds: int
    """Differences that it rests on."""
    estimate: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    """Ends of the interval of the centre, of this cell alone."""
    smallest: float = math.inf
    """The worsening that would have been found in ``POWER`` of such runs, were it the only one."""


@dataclass(frozen=True)
class _Centre:
    mean: float
    error: float
    """Standard error of the mean."""
    freedom: int
    rounds: int


def decide(
    differences: Mapping[Cell, Sequence[float]], margin: float, confidence: float
) -> dict[Cell, Decision]:
    """An answer for every cell, corrected over all of them; what is not finite is left out."""
    from scipy.stats import false_discovery_control

    known = {
        cell: [each for each in series if math.isfinite(each)]
        for cell, series in differences.items()
    }
    tested = {cell: _centre(series) for cell, series in known.items() if len(series) >= FEWEST}
    if not tested:
        return {cell: Decision(answer=Answer.UNCLEAR, rounds=len(known[cell])) for cell in known}
    chances = [_chances(each, margin) for each in tested.values()]
    slower, kept = (false_discovery_control(each) for each in zip(*chances, strict=True))
    found = {
        cell: _decision(centre, up, down, margin, confidence, len(tested))
        for (cell, centre), up, down in zip(tested.items(), slower, kept, strict=True)
    }
    return {
        cell: found.get(cell, Decision(answer=Answer.UNCLEAR, rounds=len(series)))
        for cell, series in known.items()
    }


def _centre(series: Sequence[float]) -> _Centre:
    import numpy as np
    from scipy.stats import trim_mean

    count = len(series)
    cut = int(TRIM * count)
    ordered = np.sort(np.asarray(series, dtype=float))
    drawn_in = np.clip(ordered, ordered[cut], ordered[count - 1 - cut])
    error = drawn_in.std(ddof=1) / ((1 - 2 * cut / count) * math.sqrt(count))
    return _Centre(float(trim_mean(ordered, TRIM)), float(error), count - 2 * cut - 1, count)


def _chances(centre: _Centre, margin: float) -> tuple[float, float]:
    """P-values of "no worse than the margin" and of "worse by at least the margin"."""
    from scipy.special import stdtr

    if centre.error == 0:
        # all rounds alike: nothing is known of the scatter, only on which side all of them fell
        alike = 0.5**centre.rounds
        return (alike if centre.mean > margin else 1.0), (alike if centre.mean < margin else 1.0)
    statistic = (centre.mean - margin) / centre.error
    return float(stdtr(centre.freedom, -statistic)), float(stdtr(centre.freedom, statistic))


def _decision(
    centre: _Centre, slower: float, kept: float, margin: float, confidence: float, cells: int
) -> Decision:
    from scipy.special import nctdtrinc, stdtrit

    level = 1 - confidence
    answer = Answer.UNCLEAR
    if slower <= level:
        answer = Answer.REGRESSION
    elif kept <= level:
        answer = Answer.KEEP
    half = -float(stdtrit(centre.freedom, level / 2)) * centre.error
    # the only one that is worse must pass the strictest step of the correction
    needed = -float(stdtrit(centre.freedom, level / cells))
    reach = float(nctdtrinc(centre.freedom, 1 - POWER, needed)) * centre.error
    return Decision(
        answer=answer,
        rounds=centre.rounds,
        estimate=centre.mean,
        low=centre.mean - half,
        high=centre.mean + half,
        smallest=margin + reach,
    )
