"""The intervals cover what they promise, whatever the noise looks like."""

import math
import random
import statistics

import pytest

from ..engine import noise


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda r: r.gauss(1.0, 0.1), 1.0),
        (lambda r: 1.0 + r.expovariate(5.0), 1.0 + math.log(2) / 5.0),
        (lambda r: 1.0 + (r.random() < 0.2) * r.paretovariate(0.5) + r.random(), None),
    ],
    ids=["gaussian", "exponential", "bursts-without-a-mean"],
)
@pytest.mark.parametrize("count", [8, 15, 40])
def test_median_is_covered_as_often_as_promised(draw, truth, count):
    r = random.Random(count)
    if truth is None:
        truth = statistics.median(draw(r) for _ in range(200_001))
    trials, promised = 3000, 0.95
    hits = 0
    for _ in range(trials):
        low, high = noise.median_interval([draw(r) for _ in range(count)], promised)
        hits += low <= truth <= high
    # four standard errors of the simulation: a wrong rank is off by far more at n = 8 and 15
    assert hits / trials >= promised - 4 * math.sqrt(promised * (1 - promised) / trials)


@pytest.mark.parametrize("count", [8, 15, 40, 101])
def test_coverage_is_the_binomial_tail_and_the_next_rank_would_break_it(count):
    def coverage(rank):
        return 1 - 2 * sum(math.comb(count, i) for i in range(rank)) / 2**count

    rank = noise.symmetric_rank(count, 0.99)
    assert coverage(rank) >= 0.99 > coverage(rank + 1)


def test_interval_is_not_wider_than_needed():
    r = random.Random(3)
    covered = sum(
        low <= 0.0 <= high
        for low, high in (
            noise.median_interval([r.gauss(0, 1) for _ in range(101)], 0.9) for _ in range(3000)
        )
    )
    assert 0.88 <= covered / 3000 <= 0.95


def test_too_few_samples_prove_nothing():
    assert noise.samples_needed() == 8
    assert noise.median_interval([1.0] * 7) == (-math.inf, math.inf)
    assert noise.median_interval([1.0] * 8) == (1.0, 1.0)
    assert noise.paired_ratio([1.0] * 7, [2.0] * 7) == (0.0, math.inf)
    assert noise.median_interval([]) == (-math.inf, math.inf)


def test_drift_shared_by_a_round_cancels_in_the_ratio():
    r = random.Random(4)
    drift = [1.0 + 0.5 * i / 15 for i in range(15)]
    a = [1.03 * d * math.exp(r.gauss(0, 0.002)) for d in drift]
    b = [1.00 * d * math.exp(r.gauss(0, 0.002)) for d in drift]
    low, high = noise.paired_ratio(a, b)
    assert 1.02 < low <= 1.03 <= high < 1.04
    # unpaired intervals of the same samples overlap: they could not tell
    assert noise.median_interval(a).low < noise.median_interval(b).high


def test_ratio_of_a_call_with_itself_rarely_leaves_one_out():
    r = random.Random(5)
    trials, outside = 2000, 0
    for _ in range(trials):
        a, b = ([math.exp(r.gauss(0, 0.02)) for _ in range(15)] for _ in range(2))
        low, high = noise.paired_ratio(a, b)
        outside += not low <= 1.0 <= high
    assert outside / trials <= 0.01 + 4 * math.sqrt(0.01 * 0.99 / trials)


def test_ratio_inverts_when_its_sides_are_swapped():
    a, b = [1.0 + 0.01 * i for i in range(12)], [2.0 - 0.03 * i for i in range(12)]
    low, high = noise.paired_ratio(a, b)
    assert noise.paired_ratio(b, a) == pytest.approx((1 / high, 1 / low))


@pytest.mark.parametrize(
    ("a", "b", "wish"),
    [
        ([1.0], [1.0, 2.0], "1 samples against 2"),
        ([1.0, 0.0], [1.0, 1.0], "sample 0.0, want positive"),
        ([math.nan] * 9, [1.0] * 9, "nan"),
    ],
)
def test_unusable_samples_are_refused(a, b, wish):
    with pytest.raises(ValueError, match=wish):
        noise.paired_ratio(a, b)


def test_median_of_nothing_is_refused():
    assert noise.median([3.0, 1.0, 2.0]) == 2.0
    assert noise.median([4.0, 1.0, 2.0, 3.0]) == 2.5
    with pytest.raises(ValueError, match="no samples"):
        noise.median([])
