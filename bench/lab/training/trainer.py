"""Train a mixer on a task: one small model, one schedule, one budget in tokens for all of them.

The model is an embedding, blocks of

    x = x + mixer(conv(norm(x))),   x = x + mlp(norm(x)),

and a head; the width of the MLP is cut so that every mixer's model has the task's number of
parameters. Seed i fixes every sequence, whatever the mixer, so that runs of two mixers are paired by
seed; it fixes the initial weights too, and on one machine a run repeats to the bit.
"""

import contextlib
import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from impl.registry import load

from ...engine.checkout import Commit
from ..contestant import contestant
from ..workers import LIMIT_S, each_apart
from . import examination
from .descent import descend, optimizer_of, plan, schedule
from .examination import score, scores
from .flops import training_flops
from .network import Network
from .outcome import CHECKS, Course
from .run import SOLVED, Job, Run

if TYPE_CHECKING:
    from suites.tasks import Task


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
    # a cohort that is slower together trains one after the other
    limit_s = LIMIT_S * max(map(len, groups), default=1)
    came = each_apart(
        train_cohort, together, workers=workers, deadline=deadline, at=at, limit_s=limit_s
    )
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
    outcome, reason = course.outcome(task, trained, examination.SCORED)
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
    course, optimizer = Course(), optimizer_of(network, rate, task.optimizer)
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
            found = score(
                network, task, checks, count=examination.CHECKED, length=task.length, split="check"
            )
            course.accuracies.append((seen, found))
            if progress:
                progress(*course.losses[-1])
        if course.diverged:
            break
    network.anneal(1.0)
    return course


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
