"""A ladder finds the last rate that is learned at, of every seed, and says why where there is none."""

import dataclasses
from collections.abc import Sequence

import pytest

from bench.engine import suite
from bench.lab import agenda
from bench.lab.ladder import RUNGS, SHARE, STEP, largest_rates
from bench.lab.training.run import Job, Run
from bench.tests.test_seeds import run
from suites.tasks import find

TASK = find("mqar-T32")
MIXER = "mixers.cosformer"
HELD = agenda.Tryout(task=TASK, mixers=(MIXER,), seeds=(0, 1), tokens=TASK.tokens, ladder=(MIXER,))


def learning_up_to(*rates: float, then: str = "flat", asked: list[Job]):
    """Training that ends well up to the rate of each seed, and as ``then`` above."""

    def train(jobs: Sequence[Job]) -> list[Run | Exception]:
        asked.extend(jobs)
        ends = ["ok" if job.rate <= rates[job.seed] else then for job in jobs]
        return [
            dataclasses.replace(run(0.9, seed=job.seed, mixer=job.mixer), outcome=end)
            for job, end in zip(jobs, ends, strict=True)
        ]

    return train


@pytest.mark.parametrize("then", ["flat", "chance", "diverged"])
def test_a_seed_climbs_until_it_does_not_learn(then: str) -> None:
    asked: list[Job] = []
    found = largest_rates(HELD, {MIXER: 0.01}, learning_up_to(0.021, 0.1, then=then, asked=asked))
    assert found[MIXER] == pytest.approx((0.01 * STEP**2, 0.01 * STEP**6))
    assert [job.seed for job in asked].count(0) == 4
    assert {job.tokens for job in asked} == {int(SHARE * TASK.tokens)}


def test_a_seed_that_does_not_learn_goes_down_until_it_does() -> None:
    asked: list[Job] = []
    found = largest_rates(HELD, {MIXER: 0.01}, learning_up_to(0.1, 0.006, asked=asked))
    assert found[MIXER] == pytest.approx((0.01 * STEP**6, 0.01 / STEP**2))
    assert [job.rate for job in asked if job.seed == 1] == pytest.approx(
        [0.01, 0.01 / STEP, 0.01 / STEP**2]
    )


def test_what_no_rate_trains_has_no_largest() -> None:
    found = largest_rates(HELD, {MIXER: 0.01}, learning_up_to(0.1, 0, asked=[]))
    lowest = 0.01 / STEP ** (RUNGS - 1)
    assert f"seed 1 does not learn at the last rate tried, {lowest:.2g}" in found[MIXER]


def test_a_ladder_that_ends_first_has_no_largest() -> None:
    asked: list[Job] = []
    found = largest_rates(HELD, {MIXER: 0.01}, learning_up_to(0.1, 1e9, asked=asked))
    assert f"seed 1 learns at the last rate tried, {0.01 * STEP ** (RUNGS - 1):.2g}" in found[MIXER]
    assert len(asked) < 2 * RUNGS


def test_a_run_that_is_lost_is_told() -> None:
    found = largest_rates(HELD, {MIXER: 0.01}, lambda jobs: [OSError("lost") for _ in jobs])
    assert "lost" in found[MIXER]


def test_a_ladder_adds_its_metric_and_no_other_version() -> None:
    plain = dataclasses.replace(HELD, ladder=())
    assert set(HELD.tracked) - set(plain.tracked) == {"largest_rate"}
    assert HELD.version == plain.version


def test_only_contestants_can_climb(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"mixers": [MIXER], "seeds": 1, "ladder": ["mixers.gla"]}
    one = dataclasses.replace(suite.load("tasks"), tasks={TASK.name: table})
    monkeypatch.setattr(suite, "load", lambda _: one)
    with pytest.raises(ValueError, match=r"ladder has mixers\.gla, want some of its mixers"):
        list(agenda.tryouts("tasks"))
