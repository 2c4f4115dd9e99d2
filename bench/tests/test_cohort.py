"""Models trained together learn what each learns alone, but for rounding, and say so."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import pytest

from bench.lab.training import cohort, examination, trainer
from bench.lab.training.cohort import Models, gain, train_cohort, train_together
from bench.lab.training.run import Job, Run
from bench.lab.training.trainer import alike, run_jobs, train_job
from bench.lab.workers import LIMIT_S
from suites.tasks import find

TASK = dataclasses.replace(find("mqar-T32"), batch=8, tokens=4 * 8 * 32, lengths=(48,))
JOBS = [
    Job(mixer="mixers.diagonal", task=TASK, seed=seed, rate=rate)
    for seed, rate in ((0, 1e-2), (1, 1e-2), (0, 3e-3))
]


@pytest.fixture(autouse=True)
def few_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "CHECKED", 8)
    monkeypatch.setattr(examination, "SCORED", 32)


@pytest.fixture
def in_float64() -> Iterator[None]:
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def curve(run: Run, name: str) -> list[float]:
    return [value for pair in getattr(run, name) for value in pair]


@pytest.mark.parametrize(
    "mixer",
    [
        "mixers.diagonal",
        "mixers.deltanet",
        "transitions.dense",
        # draws numbers that are not trained
        "feature_maps.favor_plus",
        # changes as it trains
        "semirings.tropical",
    ],
)
def test_a_run_of_a_cohort_is_the_single_run_but_for_rounding(mixer: str, in_float64: None) -> None:
    # four steps in float64: AdamW follows signs at first, and a dense transition multiplies them
    jobs = [dataclasses.replace(job, mixer=mixer) for job in JOBS]
    for job, together in zip(jobs, train_together(jobs), strict=True):
        alone = train_job(job)
        assert (together.seed, together.rate) == (alone.seed, alone.rate)
        for name in ("losses", "gradients"):
            assert curve(together, name) == pytest.approx(curve(alone, name), rel=1e-7)
        assert [tokens for tokens, _ in together.by_length] == [32, 48, 64]
        assert together.flops == alone.flops
        assert together.cohort == ((0, 1e-2), (1, 1e-2), (0, 3e-3))
        assert alone.cohort == ()


def test_a_signal_trains_in_a_cohort_too(in_float64: None) -> None:
    task = dataclasses.replace(find("damped_modes-T96"), batch=4, tokens=4 * 4 * 96, lengths=())
    jobs = [dataclasses.replace(job, task=task) for job in JOBS]
    for job, together in zip(jobs, train_together(jobs), strict=True):
        alone = train_job(job)
        for name in ("losses", "gradients"):
            assert curve(together, name) == pytest.approx(curve(alone, name), rel=1e-7)


def test_a_cohort_repeats_to_the_bit() -> None:
    first, second = (train_together(JOBS) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert dataclasses.replace(one, seconds=0.0) == dataclasses.replace(other, seconds=0.0)


def test_one_that_diverges_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = [*JOBS[:1], dataclasses.replace(JOBS[1], rate=float("inf")), *JOBS[2:]]
    first, lost, last = train_together(wild)
    assert lost.outcome == "diverged"
    calm = train_together(JOBS)
    assert (first.losses, last.losses) == (calm[0].losses, calm[2].losses)


@pytest.mark.parametrize(("faster", "named"), [(2.0, 3), (1.0, 0)])
def test_a_cohort_trains_together_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, faster: float, named: int
) -> None:
    monkeypatch.setattr(cohort, "gain", lambda _: faster)
    assert {len(run.cohort) for run in train_cohort(JOBS)} == {named}


def test_plain_gradients_train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "gain", lambda _: 2.0)
    plain = dataclasses.replace(TASK, optimizer="sgd")
    jobs = [dataclasses.replace(job, task=plain) for job in JOBS]
    assert all(run.cohort == () for run in train_cohort(jobs))


def test_what_cannot_or_does_not_do_the_same_together_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gain(JOBS) > 0
    step = Models.descend

    def refused(*_: object) -> None:
        raise RuntimeError("vmap: not here")

    monkeypatch.setattr(Models, "descend", refused)
    assert gain(JOBS) == 0
    monkeypatch.setattr(Models, "descend", functools.partialmethod(_twice, step))
    assert gain(JOBS) == 0


def _twice(
    models: Models, step: Callable[..., list[tuple[float, float]]], *given: object
) -> list[tuple[float, float]]:
    return [(2 * loss, norm) for loss, norm in step(models, *given)]


def test_jobs_that_differ_in_more_than_seed_and_rate_stay_apart() -> None:
    other = dataclasses.replace(JOBS[0], mixer="mixers.deltanet")
    jobs = [JOBS[0], other, JOBS[1], JOBS[2]]
    assert alike(jobs, 8) == [[0, 2, 3], [1]]
    assert alike(jobs, 2) == [[0, 2], [1], [3]]
    with pytest.raises(ValueError, match="want one for a cohort"):
        train_cohort(jobs)


def test_a_cohort_has_the_time_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def each_apart(*_: object, limit_s: float, **__: object) -> Iterator[tuple[int, Run]]:
        given.append(limit_s)
        yield from ()

    monkeypatch.setattr(trainer, "each_apart", each_apart)
    for cohort_size in (1, 3):
        with pytest.raises(KeyError):
            run_jobs(JOBS, cohort=cohort_size)
    assert given == [LIMIT_S, 3 * LIMIT_S]


def test_runs_of_cohorts_come_back_in_the_order_of_the_jobs() -> None:
    told: list[int] = []
    runs = run_jobs(JOBS, workers=1, cohort=2, progress=lambda done, *_: told.append(done))
    assert told == [1, 2, 3]
    assert [(run.seed, run.rate) for run in runs if isinstance(run, Run)] == [
        (job.seed, job.rate) for job in JOBS
    ]
