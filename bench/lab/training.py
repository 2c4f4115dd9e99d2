"""Train a mixer on a task: one small model, one schedule, one budget in tokens for all of them.

The model is an embedding, blocks of

    x = x + mixer(conv(norm(x))),   x = x + mlp(norm(x)),

and a head; the width of the MLP is cut so that every mixer's model has the task's number of
parameters. Seed i fixes every sequence, whatever the mixer, so that runs of two mixers are paired by
seed; it fixes the initial weights too, and on one machine a run repeats to the bit.
"""

import ast
import contextlib
import dataclasses
import functools
import inspect
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from impl.registry import Plugin, load, lookup

from ..engine.checkout import Commit
from .flops import training_flops
from .network import Network
from .outcome import CHECKS, Course
from .workers import each_apart

if TYPE_CHECKING:
    import torch

    from suites.tasks import Batch, Task

CHECKED, SCORED = 128, 512
"""Sequences of one examination and of the score."""
SOLVED, FAILED = 0.9, 0.2
"""Normalised accuracy from which a run has solved its task, and up to which it has failed."""
WARM_UP, DECAY = 0.05, 0.2
"""Shares of the budget in which the learning rate rises and falls, linearly; constant between."""
CLIP = 1.0
"""Largest norm of a gradient that is followed."""
BETAS, WEIGHT_DECAY = (0.9, 0.98), 0.01
"""Of AdamW."""
SHORTER = 0.5
"""Share of the budget for the shorter lengths of a curriculum, an equal part for each."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: one mixer, one task, one seed, one learning rate."""

    mixer: str
    """Id with the knobs that differ from the defaults, ``mixers.deltanet(beta=2)``."""
    task: str
    seed: int
    rate: float
    tokens: int
    """Budget in training tokens; a diverged run stopped before it."""
    accuracy: float
    """The task's metric on sequences of the scored length; a diverged run has the floor's."""
    accuracy_trained: float
    """On sequences of the trained length."""
    normalised: float
    """``accuracy`` with the floor at 0."""
    tokens_to_threshold: int | None
    """Tokens after which the trained length was first solved, as far as examined; None is never."""
    outcome: str
    """``ok``, ``diverged``, ``flat`` or ``chance``, as ``outcome.py`` tells them apart."""
    losses: tuple[tuple[int, float], ...]
    """Tokens seen, and the mean ``mismatch`` since the examination before."""
    accuracies: tuple[tuple[int, float], ...]
    """Tokens seen, and the accuracy at the trained length."""
    parameters: int
    """Trained numbers outside the embedding and the head."""
    state_size: int
    """Elements that all layers keep of a sequence of the scored length."""
    seconds: float
    """Of the processor; information, never a score."""
    device: str
    by_length: tuple[tuple[int, float], ...] = ()
    """Tokens of a sequence, and the accuracy there: trained, scored and further lengths."""
    gradients: tuple[tuple[int, float], ...] = ()
    """Tokens seen, and the mean norm before clipping since the examination before."""
    reason: str = ""
    """What explains an outcome other than ``ok``."""
    flops: int | None = None
    """Of products, forward and backward, a training token; None in runs that were kept without."""
    cohort: tuple[tuple[int, float], ...] = ()
    """Seed and rate of each run that was trained in one batch with this one; none is alone."""

    @property
    def solved(self) -> bool:
        """Whether the scored length is solved."""
        return self.normalised >= SOLVED

    @property
    def failed(self) -> bool:
        """Whether the run stands at the floor."""
        return self.normalised <= FAILED


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to do: the arguments of ``train``."""

    mixer: str
    task: "Task"
    seed: int
    rate: float
    tokens: int | None = None
    device: str = "cpu"


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 2,
    progress: Callable[[int, int, Run], None] | None = None,
    deadline: float | None = None,
    at: Commit | None = None,
    cohort: int = 1,
) -> list[Run | Exception]:
    """Train every job, mixers of ``at``, ``workers`` at a time; a run, or what prevented it, in the jobs' order.

    ``progress`` is told the jobs done, their number, and the run that has just ended. OutOfTime at
    ``deadline``, a reading of ``time.monotonic``. Up to ``cohort`` seeds and rates of a mixer train as
    one batched model where that is faster.
    """
    from .cohort import train_cohort

    answers: dict[int, Run | Exception] = {}
    groups = alike(jobs, cohort)
    together = [[jobs[number] for number in group] for group in groups]
    came = each_apart(train_cohort, together, workers=workers, deadline=deadline, at=at)
    # whatever ends the loop, the processes end with it
    with contextlib.closing(came):
        for place, answer in came:
            group = groups[place]
            each = [answer] * len(group) if isinstance(answer, Exception) else answer
            for number, one in zip(group, each, strict=True):
                answers[number] = one
                if progress and isinstance(one, Run):
                    progress(len(answers), len(jobs), one)
    return [answers[number] for number in range(len(jobs))]


def alike(jobs: Sequence[Job], most: int) -> list[list[int]]:
    """Numbers of jobs that differ in seed and rate only, in groups of at most ``most``."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for number, job in enumerate(jobs):
        kind = (job.mixer, job.task.name, job.tokens, job.device)
        kinds.setdefault(kind, []).append(number)
    groups = [kind[i : i + most] for kind in kinds.values() for i in range(0, len(kind), most)]
    return sorted(groups)


def train_job(job: Job) -> Run:
    """``train`` with the arguments of ``job``."""
    words = {each.name: getattr(job, each.name) for each in dataclasses.fields(job)}
    return train(words.pop("mixer"), words.pop("task"), **words)


def contestant(spec: str, find: Callable[[str], Plugin] = lookup) -> tuple[str, dict[str, Any]]:
    """``mixers.deltanet(beta=2)`` as its id and knobs. ValueError for what no mixer has."""
    if re.fullmatch(r"[^()]+?(?:\(.*\))?", spec) is None:
        raise ValueError(f"mixer {spec!r}, want something like mixers.deltanet(beta=2)")
    plugin = find(spec.partition("(")[0])
    if plugin.kind != "mixer":
        raise ValueError(f"{plugin.id} is no mixer: it computes the op {plugin.op}")
    return plugin.id, turned(spec, plugin)


def turned(spec: str, plugin: Plugin) -> dict[str, Any]:
    """The knobs in ``mixers.deltanet(beta=2)``. ValueError for what ``plugin`` does not have."""
    name, _, inside = spec.partition("(")
    knobs: dict[str, Any] = {}
    for item in filter(None, inside.removesuffix(")").split(",")):
        knob, _, text = (part.strip() for part in item.partition("="))
        value = _literal(text)
        if value not in plugin.knobs.get(knob, ()):
            wanted = plugin.knobs.get(knob) or f"one of the knobs {', '.join(plugin.knobs)}"
            raise ValueError(f"{spec}: {knob}={text}, want {wanted}")
        knobs[knob] = value
    if spec != (canonical := spelled(name, knobs)):
        raise ValueError(f"{plugin.kind} {spec!r}, want it spelled {canonical!r}")
    return knobs


def spelled(mixer: str, knobs: Mapping[str, Any]) -> str:
    """Id and knobs in the one spelling that measurements and claims share: sorted, no spaces."""
    inside = ",".join(f"{name}={knobs[name]}" for name in sorted(knobs))
    return f"{mixer}({inside})" if inside else mixer


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def train(
    mixer: str,
    task: "Task",
    *,
    seed: int,
    rate: float,
    tokens: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> Run:
    """Train a fresh model for ``tokens`` (the task's budget) at learning rate ``rate`` and score it.

    ``progress`` is told the tokens seen and the loss at each examination.
    """
    started = time.process_time()
    job = Job(mixer=mixer, task=task, seed=seed, rate=rate, tokens=tokens, device=device)
    network = build(mixer, task, seed=seed, device=device)
    flops = training_flops(network, task)
    course = _follow(network, task, seed, rate, tokens or task.tokens, progress)
    return finished(job, network, course, flops=flops, since=started)


def finished(
    job: Job,
    network: Network,
    course: Course,
    *,
    flops: int,
    since: float,
    cohort: tuple[tuple[int, float], ...] = (),
) -> Run:
    """Score a trained network; ``since`` is the reading of the process's clock when it began."""
    import torch

    task = job.task
    course.diverged |= not all(bool(p.isfinite().all()) for p in network.parameters())
    by_length = scores(network, task, job.seed, course)
    scored, trained = by_length[task.test_length], by_length[task.length]
    outcome, reason = course.outcome(task, trained, SCORED)
    solved = (seen for seen, found in course.accuracies if task.normalised(found) >= SOLVED)
    return Run(
        mixer=job.mixer,
        task=task.name,
        seed=job.seed,
        rate=job.rate,
        tokens=job.tokens or task.tokens,
        accuracy=scored,
        accuracy_trained=trained,
        normalised=task.normalised(scored),
        tokens_to_threshold=next(solved, None),
        outcome=outcome,
        reason=reason,
        losses=tuple(course.losses),
        accuracies=tuple(course.accuracies),
        gradients=tuple(course.gradients),
        by_length=tuple(sorted(by_length.items())),
        parameters=network.trunk_size(),
        state_size=network.state_size(task.test_length),
        flops=flops,
        cohort=cohort,
        seconds=time.process_time() - since,
        device=job.device if job.device == "cpu" else torch.cuda.get_device_name(job.device),
    )


def _follow(
    network: Network,
    task: "Task",
    seed: int,
    rate: float,
    budget: int,
    progress: Callable[[int, float], None] | None,
) -> Course:
    """Train the network on the spot, examining it on the way."""
    course, optimizer = Course(), optimizer_of(network, rate)
    stream, checks = task.stream("train", seed), task.stream("check", seed)
    lengths = plan(task, budget)
    # a step of the trained length is the unit, so that without a curriculum steps are counted
    unit, total, seen = task.batch * task.length, task.batch * sum(lengths), 0
    for length in lengths:
        before, seen = seen, seen + task.batch * length
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(seen / unit, total / unit)
        network.anneal(before / total)
        loss, norm = descend(network, optimizer, task.draw_of("train")(stream, task.batch, length))
        due = seen * CHECKS // total > before * CHECKS // total
        if course.noted(seen, loss, norm, due=due):
            found = score(network, task, checks, count=CHECKED, length=task.length, split="check")
            course.accuracies.append((seen, found))
            if progress:
                progress(*course.losses[-1])
        if course.diverged:
            break
    network.anneal(1.0)
    return course


def plan(task: "Task", budget: int) -> list[int]:
    """Length of every step: the curriculum's, shortest first, then the trained one.

    Each of the curriculum's gets an equal part of the budget's first half, in tokens.
    """
    lengths: list[int] = []
    for length in sorted(task.curriculum):
        part = SHORTER * budget / len(task.curriculum)
        lengths += [length] * max(1, int(part // (task.batch * length)))
    left = budget - task.batch * sum(lengths)
    return lengths + [task.length] * max(1, left // (task.batch * task.length))


def schedule(step: float, steps: float) -> float:
    """Share of the learning rate at ``step`` of 1 ... ``steps``."""
    rise, fall = step / max(1.0, WARM_UP * steps), (steps - step + 1) / max(1.0, DECAY * steps)
    return min(1.0, rise, fall)


def scores(network: Network, task: "Task", seed: int, course: Course) -> dict[int, float]:
    """Score on test sequences of every length that the task names; a diverged run's is the floor.

    Scored and trained length share a stream, any other has its own: one more changes no figure.
    """
    lengths = dict.fromkeys((task.test_length, task.length, *task.lengths))
    if course.diverged:
        return dict.fromkeys(lengths, task.floor)
    test = task.stream("test", seed)
    found: dict[int, float] = {}
    for length in lengths:
        own = length not in (task.test_length, task.length)
        stream = task.stream(f"test-{length}", seed) if own else test
        found[length] = score(network, task, stream, count=SCORED, length=length)
    return found


def score(
    network: Network,
    task: "Task",
    stream: "torch.Generator",
    *,
    count: int,
    length: int,
    split: str = "test",
) -> float:
    """The task's metric over the scored positions of ``count`` fresh sequences of ``split``.

    No pass sees more tokens than a batch of the scored length has.
    """
    import torch

    device = next(network.parameters()).device
    rows = min(task.batch, max(1, task.batch * max(task.length, task.test_length) // length))
    total, whole = 0.0, 0.0
    with torch.no_grad():
        for start in range(0, count, rows):
            batch = task.draw_of(split)(stream, min(rows, count - start), length)
            scored = batch.scored.to(device)
            part, of = _tally(task.metric, network(batch.tokens.to(device), scored), batch)
            total, whole = total + part, whole + of
    mean = total / whole
    return math.exp(mean) if task.metric == "perplexity" else mean


def _tally(metric: str, logits: "torch.Tensor", batch: "Batch") -> tuple[float, float]:
    """Right answers, nats beyond the exact predictor's, or squared error; and what divides their sum.

    That is the number of scored positions, or for a signal the squared error of predicting zero.
    """
    from torch.nn import functional

    labels = batch.labels[batch.scored].to(logits.device)
    if metric == "nmse":
        return (logits[..., 0] - labels).square().sum().item(), labels.square().sum().item()
    if metric == "accuracy":
        return int((logits.argmax(-1) == labels).sum()), labels.numel()
    nats = functional.cross_entropy(logits, labels, reduction="sum").item()
    if metric == "perplexity":
        return nats, labels.numel()
    assert batch.known is not None
    return nats - batch.known[batch.scored].sum().item(), labels.numel()


def build(mixer: str, task: "Task", *, seed: int, device: str = "cpu") -> Network:
    """The task's model around ``mixer``, with the weights of ``seed`` and the task's parameters."""
    import torch

    plugin, knobs = contestant(mixer)
    factory = load(plugin).run
    assert factory is not None
    if task.state and {"keys", "values"} <= inspect.signature(factory).parameters.keys():
        knobs |= dict(zip(("keys", "values"), task.state, strict=True))

    def network(hidden: int) -> Network:
        torch.manual_seed(task.stream("model", seed).initial_seed())
        return Network(
            functools.partial(factory, task.width, **knobs),
            layers=task.layers,
            vocabulary=task.vocabulary,
            classes=task.classes,
            width=task.width,
            hidden=hidden,
            signal=task.signal,
        )

    with torch.random.fork_rng(devices=[]):
        bare = network(1).trunk_size()
        unit = network(2).trunk_size() - bare
        built = network(max(1, 1 + round((task.parameters - bare) / unit)))
    built.parts.to(device)
    return built


def optimizer_of(network: Network, rate: float) -> "torch.optim.Optimizer":
    """AdamW; vectors do not decay."""
    import torch

    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS)


def loss_of(network: Network, batch: "Batch") -> "torch.Tensor":
    """``mismatch`` of the learned positions."""
    device = next(network.parameters()).device
    learned = batch.learned.to(device)
    logits = network(batch.tokens.to(device), learned)
    return mismatch(logits, batch.labels.to(device)[learned])


def mismatch(logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Mean cross entropy in nat; of a signal, squared error over that of predicting zero."""
    from torch.nn import functional

    if labels.is_floating_point():
        return (logits[..., 0] - labels).square().mean() / labels.square().mean()
    return functional.cross_entropy(logits, labels)


def descend(
    network: Network, optimizer: "torch.optim.Optimizer", batch: "Batch"
) -> tuple[float, float]:
    """One step; the loss before it and the norm of the gradient before it was clipped."""
    import torch

    loss = loss_of(network, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()
    return loss.item(), norm.item()
