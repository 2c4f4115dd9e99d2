"""A run repeats to the bit, is paired by seed and model size, and has a name for every way to fail."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from bench.lab import training
from bench.lab.training import Job, Run, build, contestant, run_jobs, schedule, train
from suites.tasks import Task, find

STEPS = 20


@pytest.fixture(autouse=True)
def few_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKED", 8)
    monkeypatch.setattr(training, "SCORED", 32)


def short(name: str = "mqar-T32") -> Task:
    task = find(name)
    return dataclasses.replace(task, tokens=STEPS * 8 * task.length, batch=8)


def test_a_run_repeats_to_the_bit() -> None:
    first, second = (train("mixers.cosformer", short(), seed=3, rate=1e-2) for _ in range(2))
    assert dataclasses.replace(first, seconds=0.0) == dataclasses.replace(second, seconds=0.0)
    other = train("mixers.cosformer", short(), seed=4, rate=1e-2)
    assert first.losses != other.losses


def test_a_run_says_what_it_did() -> None:
    task = dataclasses.replace(short(), tokens=3 * short().tokens)
    told: list[tuple[int, float]] = []
    run = train(
        "mixers.cosformer", task, seed=0, rate=1e-2, progress=lambda *each: told.append(each)
    )
    assert told == list(run.losses)
    assert len(run.accuracies) == training.CHECKS
    assert run.losses[-1][0] == run.tokens == task.tokens
    assert run.losses[-1][1] < run.losses[0][1] < 1.1 * math.log(task.classes)
    assert run.normalised == task.normalised(run.accuracy)
    assert run.state_size == 2 * (2 * 32 * 33 + 1)
    assert run.tokens_to_threshold is None
    assert run.outcome == "ok"


def test_every_mixer_gets_the_same_parameters() -> None:
    task = find("mqar-T32")
    mixers = ["mixers.softmax", "mixers.diagonal", "mixers.gated_cosformer", "mixers.ssd"]
    built = [build(mixer, task, seed=0) for mixer in mixers]
    one_hidden_unit = task.layers * (2 * task.width + 1)
    for network in built:
        assert abs(network.trunk_size() - task.parameters) <= one_hidden_unit / 2


def test_building_leaves_the_global_generator_alone() -> None:
    import torch

    before = torch.get_rng_state()
    build("mixers.softmax", find("mqar-T32"), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def scaled_by(weight: float, *, at_first: float) -> Callable[..., Any]:
    """A mixer that multiplies by a parameter and adds a constant far above any input."""
    from torch import full_like, nn, ones

    class Scales(nn.Module):
        def __init__(self, width: int, *, heads: int = 1) -> None:
            super().__init__()
            self.scale = nn.Parameter(weight * ones(width))

        def forward(self, x: Any) -> Any:
            return x * self.scale + full_like(x, at_first)

        def state_size(self, length: int) -> int:
            return 0

    return Scales


@pytest.mark.parametrize(
    ("weight", "constant", "outcome"),
    [(math.inf, 0.0, "diverged"), (0.0, 1e9, "flat")],
)
def test_a_failure_has_its_name(
    monkeypatch: pytest.MonkeyPatch, weight: float, constant: float, outcome: str
) -> None:
    mixer = scaled_by(weight, at_first=constant)
    plugin = dataclasses.replace(training.load("mixers.softmax"), run=mixer)
    monkeypatch.setattr(training, "load", lambda _: plugin)
    run = train("mixers.softmax", short(), seed=0, rate=1e-9)
    assert run.outcome == outcome
    if outcome == "diverged":
        assert run.accuracy == find("mqar-T32").floor


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [schedule(step, 100) for step in range(1, 101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(rates[5:80]) == {1.0}
    assert rates[-1] == pytest.approx(0.05)
    assert schedule(1, 1) > 0


def test_jobs_come_back_in_order_and_as_if_run_here() -> None:
    task = short()
    mixers = ("mixers.softmax", "mixers.cosformer")
    jobs = [Job(mixer=mixer, task=task, seed=0, rate=1e-2) for mixer in mixers]
    told: list[int] = []
    runs = run_jobs(jobs, progress=lambda done, total, run: told.append(done))
    assert told == [1, 2]
    for job, run in zip(jobs, runs, strict=True):
        assert isinstance(run, Run)
        here = train(job.mixer, task, seed=0, rate=1e-2)
        assert (run.mixer, run.seed, run.losses) == (job.mixer, job.seed, here.losses)


def test_a_job_that_cannot_run_costs_only_itself() -> None:
    jobs = [
        Job(mixer=mixer, task=short(), seed=0, rate=1e-2, tokens=1)
        for mixer in ("mixers.cosformer(horizon=9)", "mixers.softmax")
    ]
    refused, run = run_jobs(jobs, workers=1)
    assert isinstance(refused, Exception)
    assert "horizon=9, want (128, 1024)" in str(refused)
    assert isinstance(run, Run)


@pytest.mark.parametrize(
    ("spec", "wish"),
    [
        ("mixers.sofmax", "mixers.softmax"),
        ("mixers.deltanet(beta=3)", r"beta=3, want \(1, 2\)"),
        ("mixers.deltanet(alpha=1)", "one of the knobs beta"),
        ("mixers.gated_cosformer(position=after,gate=half)", "spelled .*gate=half,position=after"),
        ("mixers.deltanet(", "want something like"),
    ],
)
def test_a_contestant_nobody_knows_is_refused(spec: str, wish: str) -> None:
    with pytest.raises(ValueError, match=wish):
        contestant(spec)


def test_a_contestant_is_its_id_and_knobs() -> None:
    assert contestant("mixers.softmax") == ("mixers.softmax", {})
    knobs = {"gate": "half", "position": "after"}
    assert contestant("mixers.gated_cosformer(gate=half,position=after)")[1] == knobs
