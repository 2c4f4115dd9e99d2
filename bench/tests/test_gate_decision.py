"""The decision keeps its promise of errors on noise of many kinds, and says when it cannot tell."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.gate.decision import POWER, Decision, decide
from bench.gate.finding import Answer

MARGIN, CONFIDENCE, SCATTER, ROUNDS, RUNS = math.log(1.03), 0.99, 0.025, 12, 300
Draw = Callable[[np.random.Generator], np.ndarray]


def judged(cells: Mapping[Any, Any], margin: float = MARGIN) -> dict[Any, Decision]:
    return decide(cells, margin, CONFIDENCE)


def normal(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, SCATTER, ROUNDS)


def heavy(rng: np.random.Generator) -> np.ndarray:
    return SCATTER * rng.standard_t(2, ROUNDS)


def spiked(rng: np.random.Generator) -> np.ndarray:
    wide = rng.random(ROUNDS) < 0.1
    return rng.normal(0, SCATTER, ROUNDS) * np.where(wide, 10, 1)


def two_states(rng: np.random.Generator) -> np.ndarray:
    states = rng.integers(0, 2, (2, ROUNDS))
    return rng.normal(0, SCATTER / 2, ROUNDS) + 2 * SCATTER * (states[0] - states[1])


def drifting(rng: np.random.Generator) -> np.ndarray:
    # a round takes each side's turns about one another, so that a drift leaves only its slope
    clock = np.cumsum(rng.normal(0, SCATTER / 2, ROUNDS + 1))
    return np.diff(clock) + rng.normal(0, SCATTER / 2, ROUNDS)


NOISES = [normal, heavy, spiked, two_states, drifting]


def share(answer: Answer, draw: Draw, size: float, seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    found = [judged({"one": draw(rng) + math.log1p(size)})["one"] for _ in range(RUNS)]
    return sum(each.answer is answer for each in found) / RUNS


@pytest.mark.parametrize("draw", NOISES)
def test_no_change_is_no_regression(draw: Draw) -> None:
    assert share(Answer.REGRESSION, draw, 0.0) <= 0.005


@pytest.mark.parametrize("draw", NOISES)
def test_at_the_margin_it_errs_as_often_as_it_says(draw: Draw) -> None:
    for answer in (Answer.REGRESSION, Answer.KEEP):
        wrong = round(RUNS * share(answer, draw, 0.03))
        assert binomtest(wrong, RUNS, 2 * (1 - CONFIDENCE), alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("draw", NOISES)
def test_a_tenth_slower_is_found(draw: Draw) -> None:
    assert share(Answer.REGRESSION, draw, 0.10) >= (0.99 if draw in (normal, drifting) else 0.85)


def test_a_speed_up_is_kept() -> None:
    assert share(Answer.KEEP, normal, -0.10) == 1.0


def test_processes_that_differ_widen_the_answer_instead_of_swaying_it() -> None:
    few, many = np.random.default_rng(1), np.random.default_rng(1)
    quiet = judged({"one": few.normal(0, 0.001, ROUNDS)})["one"]
    unequal = judged({"one": many.normal(0, 0.1, ROUNDS)})["one"]
    assert quiet.answer is Answer.KEEP
    assert unequal.answer is Answer.UNCLEAR
    assert unequal.smallest > 0.1 > quiet.smallest > MARGIN


def test_the_smallest_change_named_is_found_as_often_as_it_says() -> None:
    rng, found = np.random.default_rng(2), 0
    for _ in range(RUNS):
        grid = {cell: rng.normal(0, SCATTER, ROUNDS) for cell in range(10)}
        # as the run itself, with the true scatter instead of its guess of it
        smallest = np.mean([each.smallest for each in judged(grid).values()])
        grid[0] = grid[0] + smallest
        found += judged(grid)[0].answer is Answer.REGRESSION
    assert binomtest(found, RUNS, POWER).pvalue > 1e-3


def test_fifty_equal_cells_have_no_regression_and_one_slow_one_among_them_is_it() -> None:
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(100):
        grid = {cell: rng.normal(MARGIN, SCATTER, ROUNDS) for cell in range(50)}
        alarms += any(each.answer is Answer.REGRESSION for each in judged(grid).values())
    # at the margin itself, the worst place; uncorrected, 39 of 100 grids would have one
    assert binomtest(alarms, 100, 2 * (1 - CONFIDENCE), alternative="greater").pvalue > 1e-3
    grid = {cell: rng.normal(0, SCATTER, ROUNDS) for cell in range(50)}
    grid[7] = grid[7] + math.log(1.2)
    found = judged(grid)
    assert [cell for cell, each in found.items() if each.answer is Answer.REGRESSION] == [7]


@pytest.mark.parametrize("series", [[], [0.5], [0.5, 0.5], [0.5, 0.5, math.nan, math.inf]])
def test_too_few_rounds_prove_nothing(series: list[float]) -> None:
    found = judged({"few": series})["few"]
    kept = [each for each in series if math.isfinite(each)]
    assert found == Decision(answer=Answer.UNCLEAR, rounds=len(kept))
    assert math.isinf(found.smallest)


def test_a_round_without_a_figure_is_left_out() -> None:
    series = list(np.random.default_rng(4).normal(0, SCATTER, ROUNDS))
    whole = judged({"one": series})
    assert judged({"one": [*series, math.nan, -math.inf]}) == whole


def test_a_series_with_no_figure_costs_the_others_nothing() -> None:
    series = list(np.random.default_rng(5).normal(0, SCATTER, ROUNDS))
    alone = judged({"one": series})["one"]
    assert judged({"one": series, "none": []})["one"] == alone


def test_equal_rounds_are_no_proof_until_there_are_many() -> None:
    def answer(size: float, count: int) -> Answer:
        return judged({"one": [size] * count})["one"].answer

    assert answer(0.0, 3) is answer(0.5, 3) is Answer.UNCLEAR
    assert (answer(0.0, 8), answer(0.5, 8)) == (Answer.KEEP, Answer.REGRESSION)


def test_accuracies_are_judged_by_their_differences() -> None:
    rng = np.random.default_rng(6)
    loss = {"falls": rng.normal(0.2, 0.02, 8), "stays": rng.normal(0.0, 0.005, 8)}
    found = judged(loss, 0.02)
    assert found["falls"].answer is Answer.REGRESSION
    assert found["stays"].answer is Answer.KEEP
    assert found["falls"].low < 0.2 < found["falls"].high
