"""Rates come from a sweep on seeds that never score, and are read from a file that survives it."""

import math
from pathlib import Path

import pytest

from bench.engine import suite
from bench.lab import agenda, tuning
from bench.lab.training.run import Job
from bench.lab.tuning import SEEDS, Trial, choose, learning_rate, read, write
from suites.tasks import find

RECALL = find("mqar-T32")


def trial(rate: float, score: float, threshold: float = math.inf) -> Trial:
    return Trial(rate=rate, scores=(score,) * 2, thresholds=(threshold,) * 2)


@pytest.mark.parametrize(
    ("trials", "kept"),
    [
        ([trial(1e-3, 0.9, 500), trial(1e-2, 0.8, 400)], 1e-2),
        ([trial(1e-3, 0.9), trial(1e-2, 0.8)], 1e-3),
        ([trial(1e-2, 0.8), trial(1e-3, 0.8)], 1e-3),
        ([trial(1e-3, 0.99), trial(1e-2, 0.5, 400)], 1e-2),
    ],
    ids=["earlier threshold", "better score", "smaller rate", "reached at all"],
)
def test_the_rate_kept_is_the_one_with(trials: list[Trial], kept: float) -> None:
    assert choose(RECALL, trials).rate == kept


@pytest.mark.parametrize(
    "name", ["language_modelling-T64", "markov_chains-T64", "damped_modes-T96"]
)
def test_of_a_score_that_is_better_when_less_the_least_is_kept(name: str) -> None:
    assert choose(find(name), [trial(1e-3, 0.9), trial(1e-2, 0.8)]).rate == 1e-2


def test_a_sweep_is_read_back_and_spares_the_others(tmp_path: Path) -> None:
    file, task = tmp_path / "rates.toml", RECALL
    sweep = [trial(rate, 0.5, 64.0 if rate == 1e-2 else math.inf) for rate in task.rates]
    write(task, {"mixers.softmax": sweep}, file)
    write(task, {"mixers.deltanet(beta=2)": sweep[:1]}, file)
    assert learning_rate("mixers.softmax", task, file) == 1e-2
    assert learning_rate("mixers.deltanet(beta=2)", task, file) == 1e-3
    rows = read(file)[task.name]["mixers.softmax"]["sweep"]
    assert [row["rate"] for row in rows] == list(task.rates)
    assert rows[0]["thresholds"] == ["never", "never"]


def test_a_missing_rate_says_how_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tuning mqar-T32 'mixers\.ssd'"):
        learning_rate("mixers.ssd", find("mqar-T32"), tmp_path / "none.toml")


def test_tuning_seeds_never_score() -> None:
    for name in suite.names():
        for held in agenda.tryouts(name):
            assert not set(SEEDS) & set(held.seeds)


def test_committed_rates_follow_from_the_committed_sweeps() -> None:
    for task, mixers in read().items():
        for mixer, table in mixers.items():
            trials = [
                Trial(
                    rate=row["rate"],
                    scores=tuple(row["scores"]),
                    thresholds=tuple(math.inf if t == "never" else t for t in row["thresholds"]),
                )
                for row in table["sweep"]
            ]
            assert tuple(each.rate for each in trials) == find(task).rates, (task, mixer)
            assert all(len(each.scores) == len(SEEDS) for each in trials), (task, mixer)
            assert choose(find(task), trials).rate == table["rate"], (task, mixer)


def test_a_sweep_of_rates_never_sees_what_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    from suites.tasks.language_modelling import CHOOSING, text

    task = find("language_modelling-T64")
    asked: list[Job] = []

    def run_jobs(jobs: list[Job], **_: object) -> list[Exception]:
        asked.extend(jobs)
        return [OSError("enough was seen")]

    monkeypatch.setattr(tuning, "run_jobs", run_jobs)
    with pytest.raises(OSError, match="enough"):
        tuning.sweep(task, ["mixers.softmax"])
    for job in asked:
        batch = job.task.draw_of("test")(job.task.stream("test", job.seed), 4, 64)
        assert all(bytes(row) in text(CHOOSING) for row in batch.tokens.tolist())
