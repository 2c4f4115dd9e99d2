"""Intervals over seeds keep their promise, and controls that misbehave are named."""

import dataclasses
import itertools
import statistics

import pytest

from bench.lab.seeds import (
    bootstrap_median,
    controls,
    judged,
    median_accuracy,
    paired_difference,
    success_rate,
    unequal,
)
from bench.lab.training.run import Run
from suites.tasks import find


def run(accuracy: float, *, seed: int = 0, mixer: str = "mixers.softmax", state: int = 64) -> Run:
    task = find("mqar-T32")
    return Run(
        mixer=mixer,
        task=task.name,
        seed=seed,
        rate=0.01,
        tokens=task.tokens,
        accuracy=accuracy,
        accuracy_trained=accuracy,
        normalised=task.normalised(accuracy),
        tokens_to_threshold=None,
        outcome="ok",
        losses=((task.tokens, 1.0),),
        accuracies=((task.tokens, accuracy),),
        parameters=1000,
        state_size=state,
        seconds=1.0,
        device="cpu",
    )


def seeds(*accuracies: float, mixer: str = "mixers.softmax") -> list[Run]:
    return [run(accuracy, seed=seed, mixer=mixer) for seed, accuracy in enumerate(accuracies)]


def test_success_rate_is_clopper_and_pearsons() -> None:
    # lower ends of an all-pass record at 95%: the tail (1 - rate)^n is 0.025
    for trials in (3, 6, 10):
        low, high = success_rate(trials, trials, 0.95)
        assert low == pytest.approx(0.025 ** (1 / trials))
        assert high == 1.0
    low, high = success_rate(5, 10, 0.95)
    assert (low, high) == (pytest.approx(0.187, abs=5e-4), pytest.approx(0.813, abs=5e-4))


def test_success_rate_covers_the_truth() -> None:
    from scipy.stats import binom

    for truth in (0.1, 0.5, 0.93):
        covered = sum(
            binom.pmf(k, 8, truth)
            for k in range(9)
            if success_rate(k, 8).low <= truth <= success_rate(k, 8).high
        )
        assert covered >= 0.99


@pytest.mark.parametrize(("successes", "trials"), [(4, 3), (-1, 3), (0, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} of {trials}"):
        success_rate(successes, trials)


def test_three_seeds_say_nothing_and_eight_are_bounded_by_their_extremes() -> None:
    assert median_accuracy(seeds(0.9, 0.91, 0.92)) == (0.0, 1.0)
    eight = seeds(*(0.1 * i for i in range(1, 9)))
    assert median_accuracy(eight) == (0.1, 0.8)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_the_bootstrap_is_that_of_every_resample(count: int, confidence: float) -> None:
    samples = [0.9, 0.2, 0.75, 0.2, 1.0, 0.4][:count]
    medians = sorted(map(statistics.median, itertools.product(samples, repeat=count)))
    cut = round((1 - confidence) / 2 * 10**4) * len(medians) // 10**4
    assert bootstrap_median(samples, confidence) == (medians[cut], medians[-1 - cut])


def test_a_bootstrap_of_five_seeds_is_their_range_and_of_many_is_narrower() -> None:
    assert bootstrap_median([0.1, 0.5, 0.2, 0.9, 0.3]) == (0.1, 0.9)
    low, high = bootstrap_median([i / 20 for i in range(21)])
    assert 0.0 < low < 0.5 < high < 1.0
    assert low == pytest.approx(1 - high)
    with pytest.raises(ValueError, match="want at least one number"):
        bootstrap_median([])


def test_difference_is_taken_seed_by_seed() -> None:
    worse = seeds(*(0.1 * i for i in range(1, 9)))
    better = seeds(*(0.1 * i + 0.05 for i in range(1, 9)))
    assert paired_difference(better, worse) == pytest.approx((0.05, 0.05))
    with pytest.raises(ValueError, match="want the same"):
        paired_difference(better, worse[::-1])


def test_controls_that_behave_are_ok_and_the_others_named() -> None:
    task = find("mqar-T32")
    good = {
        "mixers.softmax": seeds(1.0, 0.99, 0.3),
        "mixers.deltanet": seeds(1.0, 1.0, 1.0),
        "mixers.oscillator": seeds(0.25, 0.26, 0.2),
    }
    assert set(controls(task, good).values()) == {"ok"}
    bad = {"mixers.softmax": seeds(1.0, 0.3, 0.3), "mixers.oscillator": seeds(0.25, 0.25, 0.6)}
    assert controls(task, bad) == {
        "mixers.softmax": "must pass, solved 1 of 3 seeds",
        "mixers.deltanet": "not run",
        "mixers.oscillator": "must fail, above the floor on 1 of 3 seeds",
    }
    accuracies = {mixer: [each.accuracy for each in runs] for mixer, runs in bad.items()}
    assert judged(task, accuracies) == controls(task, bad)


def test_unequal_states_are_said() -> None:
    small, large = seeds(0.5), [dataclasses.replace(run(0.5), state_size=128)]
    assert unequal({"mixers.a": small, "mixers.b": small}) == {}
    assert unequal({"mixers.a": small, "mixers.b": large}) == {
        "state_size": "mixers.a 64 elements, mixers.b 128 elements"
    }
