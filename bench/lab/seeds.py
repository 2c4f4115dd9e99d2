"""What seeds prove: a success rate, a difference of two mixers, and whether the controls behaved.

Scores of trained models are bimodal, so no mean and no standard deviation: a rate has the exact
binomial interval of Clopper and Pearson (Biometrika 26(4), 1934), a difference is taken seed by seed,
since a seed gives both mixers the same sequences. Beside the interval of order statistics, which
keeps its promise and therefore says nothing below 8 seeds, stands the bootstrap's, which keeps it
only when seeds are many: of 5 seeds it is their range, which holds the median 94% of the time.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from ..engine.metrics import METRICS
from ..engine.noise import CONFIDENCE, Interval, median_interval
from ..engine.ruler import from_tree
from .training.run import FAILED, SOLVED, Run

if TYPE_CHECKING:
    from suites.tasks import Task

QUORUM = 2 / 3
"""Share of its seeds that a control must solve; one that must fail may solve none."""


def success_rate(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper-Pearson interval of a rate: covers it at least ``confidence`` of the time."""
    from scipy.stats import beta

    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials}, want between 0 and a positive number of trials")
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = float(beta.ppf(tail, successes, failures + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, failures)) if failures else 1.0
    return Interval(low, high)


def median_accuracy(runs: Sequence[Run], confidence: float = CONFIDENCE) -> Interval:
    """Interval of the median score over seeds, of accuracies within 0 and 1; too few say nothing."""
    low, high = median_interval([run.accuracy for run in runs], confidence)
    if METRICS[from_tree("suites.tasks").find(runs[0].task).metric].unit != "fraction":
        return Interval(low, high)
    return Interval(max(low, 0.0), min(high, 1.0))


def bootstrap_median(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Percentile interval of the bootstrap's medians, over all resamples: exact, none is drawn.

    With an odd number n of samples the median of a resample is at most x[k] when at least (n + 1) / 2
    of its n draws are, a binomial of rate k / n; with an even one it is the mean of two neighbours.
    """
    if not samples or any(math.isnan(sample) for sample in samples):
        raise ValueError(f"samples {list(samples)}, want at least one number")
    weights = _resampled_medians(sorted(samples))
    total = len(samples) ** len(samples)
    tail = (1 - Fraction(str(confidence))) / 2 * total
    return Interval(_quantile(weights, tail), -_quantile([(-v, w) for v, w in weights], tail))


def _resampled_medians(ordered: Sequence[float]) -> list[tuple[float, int]]:
    """Medians of the n^n resamples of n samples, and how many resamples have each."""
    count = len(ordered)
    half, odd = divmod(count, 2)

    def at_most(k: int, wanted: int) -> int:
        """Resamples with at least ``wanted`` draws among the ``k`` smallest samples."""
        return sum(
            math.comb(count, i) * k**i * (count - k) ** (count - i)
            for i in range(wanted, count + 1)
        )

    if odd:
        steps = [at_most(k, half + 1) for k in range(count + 1)]
        return [(x, steps[k + 1] - steps[k]) for k, x in enumerate(ordered)]
    found: list[tuple[float, int]] = []
    for i, low in enumerate(ordered):
        # the lower middle draw is sample i, the upper one j: half the draws on each side
        lower = (i + 1) ** half - i**half
        apart = [
            math.comb(count, half) * lower * ((count - j) ** half - (count - j - 1) ** half)
            for j in range(i + 1, count)
        ]
        both = at_most(i + 1, half) - at_most(i, half) - sum(apart)
        middles = [low, *((low + high) / 2 for high in ordered[i + 1 :])]
        found += zip(middles, [both, *apart], strict=True)
    return found


def _quantile(weights: Sequence[tuple[float, int]], tail: Fraction) -> float:
    """Smallest value up to which lies more weight than ``tail``."""
    below = 0
    for value, weight in sorted(weights):
        below += weight
        if below > tail:
            return value
    raise ValueError(f"tail {float(tail)}, want less than all weight")


def paired_difference(
    a: Sequence[Run], b: Sequence[Run], confidence: float = CONFIDENCE
) -> Interval:
    """Interval of the median over seeds of ``a``'s accuracy minus ``b``'s on the same seed."""
    if [run.seed for run in a] != [run.seed for run in b]:
        raise ValueError(
            f"seeds {[r.seed for r in a]} against {[r.seed for r in b]}, want the same"
        )
    gains = [x.accuracy - y.accuracy for x, y in zip(a, b, strict=True)]
    low, high = median_interval(gains, confidence)
    if METRICS[from_tree("suites.tasks").find(a[0].task).metric].unit != "fraction":
        return Interval(low, high)
    return Interval(max(low, -1.0), min(high, 1.0))


def controls(task: "Task", runs: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """``ok``, or what is wrong, for each mixer that must pass or must fail this task.

    Anything but ``ok`` makes the task's scores evidence of nothing: its verdicts are DEBUG.
    """
    return judged(task, {mixer: [run.accuracy for run in each] for mixer, each in runs.items()})


def judged(task: "Task", accuracies: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """``controls`` from accuracies at the scored length, which is all that a result file keeps."""
    scores = {mixer: [task.normalised(a) for a in each] for mixer, each in accuracies.items()}
    outcomes = {mixer: _passes(scores.get(mixer, ())) for mixer in task.must_pass}
    return outcomes | {mixer: _fails(scores.get(mixer, ())) for mixer in task.must_fail}


def _passes(scores: Sequence[float]) -> str:
    solved = sum(score >= SOLVED for score in scores)
    if not scores:
        return "not run"
    if solved >= QUORUM * len(scores):
        return "ok"
    return f"must pass, solved {solved} of {len(scores)} seeds"


def _fails(scores: Sequence[float]) -> str:
    above = sum(score > FAILED for score in scores)
    if not scores:
        return "not run"
    return f"must fail, above the floor on {above} of {len(scores)} seeds" if above else "ok"


def unequal(runs: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """What of these mixers' models is not equal, so that a reader sees it beside the scores."""
    first = {mixer: each[0] for mixer, each in runs.items() if each}
    found = {}
    for what, unit in (("parameters", "numbers"), ("state_size", "elements")):
        sizes = {mixer: getattr(run, what) for mixer, run in first.items()}
        if len(set(sizes.values())) > 1:
            found[what] = ", ".join(f"{mixer} {size} {unit}" for mixer, size in sizes.items())
    return found
