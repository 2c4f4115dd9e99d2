"""Intervals for medians: by order statistics, so that no distribution of the noise is assumed.

Between the k-th smallest and the k-th largest of n independent samples lies the true median unless
fewer than k samples fell on one side of it, which is a fair coin's tail:

    P(x[k] <= median <= x[n+1-k]) >= 1 - 2 * sum_{i<k} C(n, i) / 2**n

``median_interval`` takes the largest k that keeps the promise. No k does when n is small (n < 8 at
99%), and the interval is then the whole line: too few samples prove nothing. Samples of one process
share its drift, so two calls are compared by the ratio of samples taken in the same round.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

CONFIDENCE = 0.99


class Interval(NamedTuple):
    """Both ends are included; infinite ends mean that the samples are too few."""

    low: float
    high: float


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the middle two. ValueError when there is none."""
    if not samples:
        raise ValueError("no samples, want at least 1")
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Ends between which the true median lies in at least ``confidence`` of all repetitions."""
    _refuse_nan(samples)
    rank = symmetric_rank(len(samples), confidence)
    if not rank:
        return Interval(-math.inf, math.inf)
    ordered = sorted(samples)
    return Interval(ordered[rank - 1], ordered[-rank])


def paired_ratio(
    a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Interval of the median of a[i] / b[i]; ``a`` and ``b`` are paired by round and positive."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} samples against {len(b)}, want one of each in every round")
    _refuse_nan([*a, *b])
    if min([*a, *b], default=1.0) <= 0:
        raise ValueError(f"sample {min([*a, *b])}, want positive samples for a ratio")
    ratios = [math.log(x) - math.log(y) for x, y in zip(a, b, strict=True)]
    low, high = median_interval(ratios, confidence)
    # exp(-inf) is 0: nothing is known of a positive ratio
    return Interval(math.exp(low), math.exp(high))


def symmetric_rank(count: int, confidence: float = CONFIDENCE) -> int:
    """Largest k for which the k-th smallest and largest of ``count`` samples keep the promise, or 0.

    Exact: the binomial tail is an integer, compared without rounding.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}, want between 0 and 1")
    rank, below, allowed = 0, 0, (1 - Fraction(confidence)) * 2**count
    while rank < count:
        below += math.comb(count, rank)
        if 2 * below > allowed:
            break
        rank += 1
    return rank


def samples_needed(confidence: float = CONFIDENCE) -> int:
    """Fewest samples whose interval has ends: 8 at 99%."""
    count = 1
    while not symmetric_rank(count, confidence):
        count += 1
    return count


def _refuse_nan(samples: Sequence[float]) -> None:
    if any(math.isnan(sample) for sample in samples):
        raise ValueError("a sample is nan, want numbers")
