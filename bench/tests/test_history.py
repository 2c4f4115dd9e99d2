"""Series and their changes: the right commit, the right way round, and nothing out of noise."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.engine.metrics import METRICS
from bench.record.measurement import Measurement
from bench.verdict.history import changes, points, segments
from bench.verdict.history.changes import Change

SAMPLES = (0.99, 1.0, 1.01, 0.995, 1.005, 1.0, 0.992, 1.008, 1.0)


def measured(day: int, value: float, metric: str = "time", **more: object) -> Measurement:
    exact = METRICS[metric].exact
    made = Measurement(
        plugin="ours",
        metric=metric,
        unit=METRICS[metric].unit,
        sizes="B1-T64-D8",
        dtype="float32",
        machine="a-cpu",
        kind="cpu",
        samples=(value,) if exact else tuple(value * each for each in SAMPLES),
        low=value,
        high=value,
        modelled=METRICS[metric].modelled,
        contract="ok",
        commit=f"c{day:02}",
        committed=f"2026-01-{day + 1:02}",
        suite="smoke",
        stack={"torch": "2.13.0"},
    )
    return replace(made, **more)


def history(values: Sequence[float], metric: str = "time", **more: object) -> list[Measurement]:
    return [measured(day, value, metric, **more) for day, value in enumerate(values)]


def noise(count: int, sigma: float, seed: int) -> list[float]:
    random_ = random.Random(seed)
    return [math.exp(random_.gauss(0, sigma)) for _ in range(count)]


def only(known: Sequence[Measurement]) -> Change:
    (change,) = changes.changes(known)
    return change


def test_a_series_has_one_point_a_commit_in_order_and_the_newest_measurement_speaks() -> None:
    known = [
        measured(1, 3.0),
        measured(0, 1.0, date="2026-02-01"),
        measured(0, 2.0, date="2026-02-02"),
    ]
    for order in (known, known[::-1]):
        (one,) = points.series(order)
        assert [(point.commit, round(point.value, 9)) for point in one.points] == [
            ("c00", 2.0),
            ("c01", 3.0),
        ]


@pytest.mark.parametrize(
    "other",
    [
        {"stack": {"torch": "2.14.0"}},
        {"machine": "b-cpu"},
        {"kind": "h200"},
        {"suite": "core"},
        {"sizes": "B2-T64-D8"},
        {"dtype": "float64"},
        {"settings": "another budget"},
    ],
)
def test_what_differs_in_anything_else_is_another_series_and_no_change(
    other: dict[str, object],
) -> None:
    later = [replace(measured(day, 9.0), **other) for day in range(6, 12)]
    known = [*history([1.0] * 6), *later]
    assert len(points.series(known)) == 2
    assert changes.changes(known) == []


def test_a_step_at_the_last_commit_is_found() -> None:
    values = noise(12, 0.015, seed=1)
    values[-1] *= 1.10
    change = only(history(values))
    assert (change.commit, change.last, change.worse, change.recovered) == (
        "c11",
        "c10",
        True,
        None,
    )
    assert change.low < 1.10 < change.high
    assert change.size == pytest.approx(change.after / change.before)


def test_a_step_in_the_middle_is_found() -> None:
    values = [
        value * (1.05 if day >= 6 else 1) for day, value in enumerate(noise(12, 0.01, seed=2))
    ]
    change = only(history(values))
    assert change.commit == "c06" and change.low < 1.05 < change.high


def test_a_change_below_the_threshold_decides_nothing() -> None:
    values = [
        value * (1.02 if day >= 10 else 1) for day, value in enumerate(noise(20, 0.001, seed=3))
    ]
    assert changes.changes(history(values)) == []


def test_a_recovered_loss_stays_and_names_the_commit_that_made_it_good() -> None:
    values = noise(14, 0.01, seed=4)
    slow = [value * (2.0 if 4 <= day < 8 else 1) for day, value in enumerate(values)]
    gain, loss = changes.changes(history(slow))
    assert (loss.commit, loss.worse, loss.recovered) == ("c04", True, "c08")
    assert (gain.commit, gain.worse, gain.recovered) == ("c08", False, None)


def test_a_loss_that_only_noise_keeps_from_its_old_level_has_recovered() -> None:
    # microseconds of a scan on a busy machine, which at one commit slept
    values = [541.0, 564, 3147, 620, 784, 758, 839, 867, 537, 792, 515]
    _, loss = changes.changes(history(values))
    assert (loss.commit, loss.worse, loss.recovered) == ("c02", True, "c03")
    slower = [value * (1.0 if day <= 2 else 3.0) for day, value in enumerate(values)]
    _, *losses = changes.changes(history([*slower[:2], 9 * slower[2], *slower[3:]]))
    assert [one.recovered for one in losses if one.commit == "c02"] == [None]


def test_half_of_a_loss_made_good_is_no_recovery() -> None:
    values = [2.0 if day == 4 else 1.5 if day > 4 else 1.0 for day in range(10)]
    found = changes.changes(history(values, "traffic"))
    assert [(one.commit, one.worse, one.recovered) for one in found] == [
        ("c05", False, None),
        ("c04", True, None),
    ]


def test_tokens_a_second_that_fall_are_a_loss_and_that_rise_are_none() -> None:
    values = noise(12, 0.01, seed=5)
    falls = [value * (0.5 if day >= 6 else 1) for day, value in enumerate(values)]
    assert only(history(falls, "tokens_per_s")).worse
    rises = [value * (2.0 if day >= 6 else 1) for day, value in enumerate(values)]
    assert not only(history(rises, "tokens_per_s")).worse


def test_an_exact_figure_changes_wherever_it_differs() -> None:
    change = only(history([4096.0, 4096.0, 4097.0], "traffic"))
    assert (change.commit, change.low, change.high) == ("c02", change.size, change.size)
    assert change.worse and change.size == pytest.approx(4097 / 4096)


def test_a_level_of_zero_is_left_by_a_difference() -> None:
    change = only(history([0.0, 0.0, 16.0], "spills"))
    assert change.difference and change.size == 16.0 and change.worse


def test_a_figure_without_a_wrong_way_is_never_worse() -> None:
    found = changes.changes(history([8.0, 4.0, 8.0], "mma"))
    assert len(found) == 2 and not any(one.worse for one in found)


def test_a_contract_that_breaks_and_recovers_is_a_change_and_hides_the_figures() -> None:
    broken = {"contract": "wrong"}
    known = [
        *history([0.0, 3.0, 0.0], "contract"),
        measured(0, 1.0),
        measured(1, 9.0, **broken),
        measured(2, 1.0),
    ]
    _, loss = changes.changes(known)
    assert (loss.series.metric, loss.commit, loss.recovered) == ("contract", "c01", "c02")
    times = next(one for one in points.series(known) if one.metric == "time")
    assert [point.commit for point in times.points] == ["c00", "c02"]


def accuracies(*levels: float, seeds: int = 8) -> list[Measurement]:
    random_ = random.Random(6)
    spread = [random_.gauss(0, 0.02) for _ in range(seeds)]
    return [
        measured(day, level, "accuracy", samples=tuple(level + each for each in spread))
        for day, level in enumerate(levels)
    ]


def test_a_drop_in_accuracy_is_a_loss_of_so_many_points() -> None:
    gain, loss = changes.changes(accuracies(0.9, 0.9, 0.5, 0.5, 0.9))
    assert (loss.commit, loss.worse, loss.recovered) == ("c02", True, "c04")
    assert loss.difference and loss.size == pytest.approx(-0.4)
    assert (gain.commit, gain.worse) == ("c04", False)


def test_seeds_that_only_scatter_are_no_change() -> None:
    random_ = random.Random(7)
    known = [
        measured(
            day, 0.8, "accuracy", samples=tuple(0.8 + random_.gauss(0, 0.05) for _ in range(8))
        )
        for day in range(12)
    ]
    assert changes.changes(known) == []


def test_two_commits_of_a_noisy_figure_show_no_change() -> None:
    assert changes.changes(history([1.0, 1.3])) == []


def test_order_of_the_files_changes_nothing() -> None:
    values = noise(12, 0.01, seed=8)
    known = [
        *history([value * (2 if day > 5 else 1) for day, value in enumerate(values)]),
        *history([1.0, 2.0, 1.0], "traffic"),
    ]
    shuffled = random.Random(9).sample(known, len(known))
    told = [one.facts() for one in changes.changes(known)]
    assert told == [one.facts() for one in changes.changes(shuffled)] and len(told) == 3


def found(make: Callable[[random.Random], list[float]], draws: int) -> list[list[int]]:
    """Where changes of 3% or more are seen in series of logarithms."""
    random_ = random.Random(0)
    series = [make(random_) for _ in range(draws)]
    return [
        [step.at for step in segments.steps(each, [1e-6] * len(each), math.log(1.03))]
        for each in series
    ]


@pytest.mark.parametrize(("commits", "sigma"), [(8, 0.015), (12, 0.05), (30, 0.05)])
def test_noise_alone_shows_a_change_in_two_of_a_hundred_series_at_most(
    commits: int, sigma: float
) -> None:
    seen = found(lambda random_: [random_.gauss(0, sigma) for _ in range(commits)], 200)
    assert sum(map(bool, seen)) <= 0.02 * 200


@pytest.mark.parametrize(
    ("step", "sigma", "first", "power"),
    [(0.10, 0.015, 11, 0.80), (0.10, 0.015, 10, 0.95), (0.05, 0.01, 6, 0.90), (1.0, 0.05, 5, 0.95)],
)
def test_a_planted_step_is_found_as_often_as_is_said(
    step: float, sigma: float, first: int, power: float
) -> None:
    def make(random_: random.Random) -> list[float]:
        values = [random_.gauss(0, sigma) for _ in range(12)]
        return [v + math.log1p(step) * (day >= first) for day, v in enumerate(values)]

    seen = found(make, 100)
    assert sum(first in each for each in seen) >= power * 100


def test_without_the_test_of_both_sides_noise_would_show_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "ERROR", 1.0)
    seen = found(lambda random_: [random_.gauss(0, 0.05) for _ in range(12)], 200)
    assert sum(map(bool, seen)) > 0.02 * 200
