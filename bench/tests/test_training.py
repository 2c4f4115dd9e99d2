"""A run repeats to the bit, is paired by seed and model size, and has a name for every way to fail."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from bench.lab.contestant import contestant
from bench.lab.training import descent, examination, trainer
from bench.lab.training.descent import schedule
from bench.lab.training.outcome import CHECKS, chance_limit, explanation
from bench.lab.training.run import Job, Run
from bench.lab.training.trainer import build, run_jobs, train
from suites.tasks import Task, find

STEPS = 20


@pytest.fixture(autouse=True)
def few_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "CHECKED", 8)
    monkeypatch.setattr(examination, "SCORED", 32)


def short(name: str = "mqar-T32") -> Task:
    task = find(name)
    return dataclasses.replace(task, tokens=STEPS * 8 * task.length, batch=8)


def test_a_run_repeats_to_the_bit() -> None:
    first, second = (train("mixers.cosformer", short(), seed=3, rate=1e-2) for _ in range(2))
    assert dataclasses.replace(first, seconds=0.0) == dataclasses.replace(second, seconds=0.0)
    other = train("mixers.cosformer", short(), seed=4, rate=1e-2)
    assert first.losses != other.losses


def test_a_run_says_what_it_did() -> None:
    task = dataclasses.replace(short(), tokens=3 * short().tokens, floor=0.01)
    told: list[tuple[int, float]] = []
    run = train(
        "mixers.cosformer", task, seed=0, rate=1e-2, progress=lambda *each: told.append(each)
    )
    assert told == list(run.losses)
    assert len(run.accuracies) == CHECKS
    assert run.losses[-1][0] == run.tokens == task.tokens
    assert run.losses[-1][1] < run.losses[0][1] < 1.1 * math.log(task.classes)
    assert run.normalised == task.normalised(run.accuracy)
    assert run.state_size == 2 * (2 * 32 * 33 + 1)
    assert run.tokens_to_threshold is None
    assert run.outcome == "ok"
    assert run.reason == ""
    assert [seen for seen, _ in run.gradients] == [seen for seen, _ in run.losses]
    assert all(norm > 0 for _, norm in run.gradients)
    assert run.by_length == ((32, run.accuracy_trained), (64, run.accuracy))


def test_a_further_length_is_scored_and_moves_no_other_figure() -> None:
    bare = train("mixers.cosformer", short(), seed=0, rate=1e-2)
    more = dataclasses.replace(short(), lengths=(48, 128))
    told = train("mixers.cosformer", more, seed=0, rate=1e-2)
    assert [length for length, _ in told.by_length] == [32, 48, 64, 128]
    assert set(bare.by_length) < set(told.by_length)
    same = dataclasses.replace(told, by_length=bare.by_length, seconds=bare.seconds)
    assert same == bare


def test_a_long_sequence_is_scored_in_passes_of_few() -> None:
    shapes: list[tuple[int, int]] = []
    task = short()

    def draw(generator: Any, count: int, length: int) -> Any:
        shapes.append((count, length))
        return find("mqar-T32").draw(generator, count, length)

    network = build("mixers.diagonal", task, seed=0)
    watched = dataclasses.replace(task, draw=draw)
    for length in (32, 64, 512):
        examination.score(network, watched, task.stream("test", 0), count=16, length=length)
    assert shapes == [(8, 32)] * 2 + [(8, 64)] * 2 + [(1, 512)] * 16


def test_a_curriculum_has_half_the_budget_in_equal_parts() -> None:
    task = dataclasses.replace(short(), curriculum=(24, 16), tokens=96000)
    lengths = descent.plan(task, task.tokens)
    assert lengths == sorted(lengths)
    tokens = {length: 8 * length * lengths.count(length) for length in lengths}
    assert tokens == pytest.approx({16: 24000, 24: 24000, 32: 48000}, abs=8 * 32)
    assert sum(tokens.values()) <= task.tokens
    bare = dataclasses.replace(task, curriculum=())
    assert descent.plan(bare, bare.tokens) == [32] * (96000 // 8 // 32)


def test_tokens_of_a_curriculum_are_those_that_were_seen() -> None:
    seen: list[int] = []
    task = dataclasses.replace(short(), curriculum=(16,))

    def draw(generator: Any, count: int, length: int) -> Any:
        batch = find("mqar-T32").draw(generator, count, length)
        if generator.initial_seed() == task.stream("train", 0).initial_seed():
            seen.append(batch.tokens.numel())
        return batch

    run = train("mixers.cosformer", dataclasses.replace(task, draw=draw), seed=0, rate=1e-2)
    sums = [sum(seen[: i + 1]) for i in range(len(seen))]
    assert run.losses[-1][0] == sums[-1] <= task.tokens
    assert {tokens for tokens, _ in run.losses} <= set(sums)
    assert len(run.losses) == CHECKS


def test_flops_are_those_of_the_products_and_counting_changes_no_weight() -> None:
    import torch

    from bench.lab.training.flops import training_flops

    task = dataclasses.replace(short(), layers=1)
    network = build("mixers.diagonal", task, seed=0)
    before = [p.clone() for p in network.parameters()]
    matrices = [p for p in network.parts["mixers"].parameters() if p.ndim == 2]
    matrices += [p for p in network.parts["mlps"].parameters() if p.ndim == 2]
    trunk = sum(p.numel() for p in matrices)
    # the head answers 4 of 32 tokens; forward, and a product each for input and weight
    head = network.head.weight.numel() * 4 / 32
    assert training_flops(network, task) == round(2 * 3 * (trunk + head))
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))
    assert all(p.grad is None for p in network.parameters())


def test_products_in_place_are_counted() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from bench.lab.training.flops import in_place_products

    a, b = torch.ones(3, 5, 7), torch.ones(3, 7, 2)
    counts = []
    for call in (torch.Tensor.baddbmm, torch.Tensor.baddbmm_):
        with FlopCounterMode(display=False, custom_mapping=in_place_products()) as counter:
            call(torch.zeros(3, 5, 2), a, b)
        counts.append(counter.get_total_flops())
    assert counts == [2 * 3 * 5 * 7 * 2] * 2


def test_the_model_of_tokens_is_the_one_written_here() -> None:
    """Weights in the order they are drawn and every product, bit for bit."""
    import torch
    from torch import nn
    from torch.nn import functional

    task = dataclasses.replace(short(), layers=1)
    network = build("mixers.diagonal", task, seed=0)
    width, hidden = task.width, int(network.parts["mlps"].get_parameter("0.0.bias").numel())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.stream("model", 0).initial_seed())
        mixer = trainer.load("mixers.diagonal").run
        assert mixer is not None
        mixer = mixer(width)
        embedding = nn.Embedding(task.vocabulary, width)
        nn.init.normal_(embedding.weight, std=0.5)
        head = nn.Linear(width, task.classes)
        taps = 0.2 * torch.randn(4, width)
        taps[0] += 1
        up, down = nn.Linear(width, hidden), nn.Linear(hidden, width)
    batch = task.draw(task.stream("test", 0), 4, 32)
    x = embedding(batch.tokens)
    y = functional.rms_norm(x, (width,))
    late = functional.pad(y, (0, 0, 3, 0))
    conv = taps[0] * y + taps[1] * late[:, 2:-1]
    conv = conv + taps[2] * late[:, 1:-2] + taps[3] * late[:, :-3]
    x = x + mixer(conv)
    x = x + down(functional.gelu(up(functional.rms_norm(x, (width,)))))
    wanted = head(functional.rms_norm(x[batch.scored], (width,)))
    assert torch.equal(network(batch.tokens, batch.scored), wanted)


def test_the_model_of_a_signal_keeps_its_amplitude() -> None:
    """Without biases and without a mixer's gates, twice the signal is twice the answer."""
    import torch

    task = find("damped_modes-T96")
    network = build("mixers.oscillator", task, seed=0)
    assert not [m for m in network.parts.modules() if isinstance(m, torch.nn.RMSNorm)]
    with torch.no_grad():
        for name, weight in network.parts.named_parameters():
            if "bias" in name or "mlps" in name:
                weight.zero_()
        batch = task.draw(task.stream("test", 0), 2, task.length)
        once, twice = (network(k * batch.tokens, batch.scored) for k in (1, 2))
    assert torch.allclose(twice, 2 * once, rtol=1e-5)
    assert once.abs().max() > 0


def test_a_signal_is_scored_by_its_error_over_that_of_zero() -> None:
    import torch

    task = dataclasses.replace(find("damped_modes-T96"), tokens=60 * 16 * 96, batch=16)
    run = train("mixers.oscillator", task, seed=0, rate=1e-2)
    assert 0 < run.accuracy_trained < 1
    assert run.normalised == pytest.approx(1 - run.accuracy)
    assert run.losses[-1][1] < run.losses[0][1]
    wild = train("mixers.oscillator", task, seed=0, rate=math.inf)
    assert (wild.outcome, wild.accuracy, wild.normalised) == ("diverged", 1.0, 0.0)

    network = build("mixers.oscillator", task, seed=0)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    stream = task.stream("test", 0)
    assert examination.score(network, task, stream, count=8, length=96) == 1.0
    batch = task.draw(task.stream("train", 0), 8, 96)
    assert descent.loss_of(network, batch).item() == 1.0


def test_a_signal_that_is_not_followed_is_flat() -> None:
    task = dataclasses.replace(find("damped_modes-T96"), tokens=20 * 8 * 96, batch=8)
    run = train("mixers.oscillator", task, seed=0, rate=1e-12)
    assert run.outcome == "flat"
    assert re.match(r"loss \S+ x at the end, 1.000 x for a blind guess; ", run.reason)


def test_every_split_draws_its_own() -> None:
    seen: list[str] = []
    task = short()

    def noting(split: str) -> Callable[..., Any]:
        def draw(generator: Any, count: int, length: int) -> Any:
            seen.append(split)
            return find("mqar-T32").draw(generator, count, length)

        return draw

    draws = {split: noting(split) for split in ("check", "test")}
    split = dataclasses.replace(task, draw=noting("train"), draws=draws)
    told = train("mixers.cosformer", split, seed=0, rate=1e-2)
    # one more of those that train counts the operations
    assert {name: seen.count(name) for name in ("train", "check")} == {
        "train": STEPS + 1,
        "check": CHECKS,
    }
    assert set(seen[seen.index("test") :]) == {"test"}
    bare = train("mixers.cosformer", task, seed=0, rate=1e-2)
    assert dataclasses.replace(told, seconds=0.0) == dataclasses.replace(bare, seconds=0.0)


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
    plugin = dataclasses.replace(trainer.load("mixers.softmax"), run=mixer)
    monkeypatch.setattr(trainer, "load", lambda _: plugin)
    task = dataclasses.replace(short(), lengths=(48,))
    run = train("mixers.softmax", task, seed=0, rate=1e-9)
    assert run.outcome == outcome
    if outcome == "diverged":
        assert run.accuracy == task.floor
        assert run.by_length == ((32, task.floor), (48, task.floor), (64, task.floor))
        assert run.reason.startswith(
            "a loss or a weight is no number; exploding: gradient norm nan"
        )
    else:
        assert re.match(r"loss \S+ nat at the end, 3.466 nat for a blind guess; ", run.reason)


def test_a_loss_that_moves_and_a_score_that_does_not_is_chance() -> None:
    """Labels that cannot be known, half of them one class: the model learns which, and no more."""

    def draw(generator: Any, count: int, length: int) -> Any:
        import torch

        batch = find("mqar-T32").draw(generator, count, length)
        common = torch.rand(batch.labels.shape, generator=generator) < 0.5
        drawn = torch.randint(32, batch.labels.shape, generator=generator)
        return dataclasses.replace(batch, labels=drawn.masked_fill(common, 0))

    task = dataclasses.replace(short(), draw=draw, floor=33 / 64, tokens=5 * short().tokens)
    run = train("mixers.cosformer", task, seed=0, rate=1e-2)
    assert run.outcome == "chance"
    assert run.losses[-1][1] < math.log(32)
    assert re.match(r"loss from 3\.\d+ to \d\.\d+ nat, but accuracy 0\.\d+", run.reason)


def test_a_score_of_which_less_is_better_has_its_floor_and_its_best() -> None:
    task = find("markov_chains-T64")
    task = dataclasses.replace(task, tokens=150 * 8 * 64, batch=8)
    run = train("mixers.linear_attention", task, seed=0, rate=1e-2)
    assert 0 < run.accuracy < math.log(16)
    assert run.normalised == pytest.approx(1 - run.accuracy / task.floor)
    wild = train("mixers.linear_attention", task, seed=0, rate=math.inf)
    assert (wild.outcome, wild.accuracy, wild.normalised) == ("diverged", task.floor, 0.0)
    worse = dataclasses.replace(task, floor=run.accuracy_trained)
    hopeless = train("mixers.linear_attention", worse, seed=0, rate=1e-2)
    assert (run.outcome, hopeless.outcome) == ("ok", "chance")


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        ((2.0, 0.5, 0.01), "vanishing: gradient norm 2 at first, 0.01 at 3 tokens"),
        ((2.0, 50.0, 500.0), "exploding: gradient norm 2 at first, 5e+02 at 3 tokens"),
        ((2.0, math.inf), "exploding: gradient norm 2 at first, inf at 2 tokens"),
        ((2.0, 1.0), "gradient norm 2 at first, 1 at 2 tokens"),
        ((), "no gradient was seen"),
    ],
)
def test_norms_of_gradients_explain(norms: tuple[float, ...], said: str) -> None:
    assert explanation(list(enumerate(norms, 1))) == said


def test_chance_is_the_floor_and_its_noise() -> None:
    from scipy.stats import binom

    limit = chance_limit(0.25, 512)
    assert 0.25 < limit < 0.3
    assert binom.cdf(round(limit * 512), 512, 0.25) >= 0.99 > binom.cdf(limit * 512 - 1, 512, 0.25)


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [schedule(step, 100) for step in range(1, 101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(rates[5:80]) == {1.0}
    assert rates[-1] == pytest.approx(0.05)
    assert schedule(1, 1) > 0


def test_plain_gradients_are_followed_as_they_are() -> None:
    import torch

    task = short("selective_copying-T24-sgd")
    assert task.optimizer == "sgd"
    network = build("mixers.diagonal", task, seed=0)
    batch = task.draw(task.stream("train", 0), task.batch, task.length)
    # a loss steep enough that clipping would show
    with torch.no_grad():
        network.head.weight.mul_(50)
    before = [p.detach().clone() for p in network.parameters()]
    _, norm = descent.descend(network, descent.optimizer_of(network, 0.1, "sgd"), batch)
    steps = [(b - p).detach() / 0.1 for b, p in zip(before, network.parameters(), strict=True)]
    moved = torch.stack([step.norm() for step in steps]).norm().item()
    assert moved == pytest.approx(norm, rel=1e-3)
    assert norm > 2 * descent.CLIP


def test_an_optimizer_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer 'lion', want 'adamw' or 'sgd'"):
        descent.optimizer_of(build("mixers.diagonal", short(), seed=0), 0.1, "lion")


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
