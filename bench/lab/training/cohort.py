"""Cohort: several seeds and rates of one mixer trained as one batched model, where that is faster.

Weights of the models lie behind one another, one call under vmap runs them all, and every model has
its own data, loss, clipping and AdamW with its own rate: what it would learn alone, but for rounding.
It pays where a step is many small operations, and hardly on two cores, where 2 to 8 models of 32
channels took 0.8 to 1.5 times as long one after the other. A cohort therefore begins by timing a few
steps both ways and trains together only if that was faster; each of its runs names it, because the
same cohort repeats to the bit and another one does not.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import examination
from .descent import BETAS, CLIP, WEIGHT_DECAY, descend, mismatch, optimizer_of, plan, schedule
from .examination import score
from .flops import training_flops
from .network import Network
from .outcome import CHECKS, Course
from .run import Job, Run
from .trainer import build, finished, train_job

if TYPE_CHECKING:
    import torch

    from suites.tasks import Batch

TIMED = 4
"""Steps of each way that are timed, after one that warms up."""
GAIN = 1.1
"""Time alone over time together from which a cohort is worth its bookkeeping."""
AGREED = 1e-3
"""Relative difference of first losses and gradients beyond which a mixer is not the same together."""


def train_cohort(jobs: Sequence[Job]) -> list[Run]:
    """Runs of jobs that differ in seed and rate only, trained together if that is faster."""
    if len({(job.mixer, job.task.name, job.tokens, job.device) for job in jobs}) > 1:
        raise ValueError("jobs of several mixers, tasks or budgets, want one for a cohort")
    # stacked models know AdamW only
    together = len(jobs) > 1 and jobs[0].task.optimizer == "adamw"
    if together and gain(jobs) >= GAIN:
        return train_together(jobs)
    return [train_job(job) for job in jobs]


def train_together(jobs: Sequence[Job]) -> list[Run]:
    """One run a job, from one batched model."""
    started = time.process_time()
    models = Models(jobs)
    task = jobs[0].task
    budget = jobs[0].tokens or task.tokens
    lengths = plan(task, budget)
    unit, total, seen = task.batch * task.length, task.batch * sum(lengths), 0
    trains = [task.stream("train", job.seed) for job in jobs]
    checks = [task.stream("check", job.seed) for job in jobs]
    courses = [Course() for _ in jobs]
    flops = training_flops(models.networks[0], task)
    for length in lengths:
        before, seen = seen, seen + task.batch * length
        for network in models.networks:
            network.anneal(before / total)
        batches = [task.draw_of("train")(stream, task.batch, length) for stream in trains]
        figures = models.descend(batches, schedule(seen / unit, total / unit))
        due = seen * CHECKS // total > before * CHECKS // total
        if due:
            models.write_back()
        for k, (course, (loss, norm)) in enumerate(zip(courses, figures, strict=True)):
            if course.noted(seen, loss, norm, due=due):
                network = models.networks[k]
                found = score(
                    network,
                    task,
                    checks[k],
                    count=examination.CHECKED,
                    length=task.length,
                    split="check",
                )
                course.accuracies.append((seen, found))
    models.write_back()
    for network in models.networks:
        network.anneal(1.0)
    cohort = tuple((job.seed, job.rate) for job in jobs)
    each_s = (time.process_time() - started) / len(jobs)
    return [
        finished(
            job, network, course, flops=flops, since=time.process_time() - each_s, cohort=cohort
        )
        for job, network, course in zip(jobs, models.networks, courses, strict=True)
    ]


def gain(jobs: Sequence[Job]) -> float:
    """Time of a few steps alone over the same together; 0 where vmap or its answer is refused."""
    task = jobs[0].task
    network = build(jobs[0].mixer, task, seed=jobs[0].seed, device=jobs[0].device)
    optimizer = optimizer_of(network, 0.0)
    batch = task.draw(task.stream("count", 0), task.batch, task.length)
    models = Models(jobs)
    try:
        (together, *_) = models.descend([batch] * len(jobs), 0.0)
    except (RuntimeError, NotImplementedError):
        return 0.0
    alone = descend(network, optimizer, batch)
    if not all(math.isclose(a, b, rel_tol=AGREED) for a, b in zip(alone, together, strict=True)):
        return 0.0
    single = _seconds(lambda: descend(network, optimizer, batch))
    return len(jobs) * single / _seconds(lambda: models.descend([batch] * len(jobs), 0.0))


def _seconds(step: Callable[[], Any]) -> float:
    found = []
    for _ in range(TIMED):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    # the fastest: a neighbour on the machine slows some of them
    return min(found)


class Models:
    """The networks of a cohort with their weights stacked, and AdamW for them all."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        import torch
        from torch.func import functional_call, vmap

        first = jobs[0]
        self.networks = [
            build(job.mixer, job.task, seed=job.seed, device=first.device) for job in jobs
        ]
        whole = _module(self.networks[0])
        names = [name for name, _ in whole.named_parameters()]
        rows = zip(*(network.parameters() for network in self.networks), strict=True)
        self.weights = {
            name: torch.stack([p.detach() for p in row]).requires_grad_()
            for name, row in zip(names, rows, strict=True)
        }
        # drawn, not trained: each model keeps its own
        self.kept = {
            name: torch.stack(rows)
            for name, *rows in zip(
                (name for name, _ in whole.named_buffers()),
                *(network.parts.buffers() for network in self.networks),
                strict=True,
            )
        }
        self.call = vmap(
            lambda weights, kept, tokens: functional_call(whole, {**weights, **kept}, (tokens,))
        )
        self.rates = torch.tensor([job.rate for job in jobs], device=first.device)
        self.means = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.squares = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.steps = 0

    def descend(self, batches: "Sequence[Batch]", share: float) -> list[tuple[float, float]]:
        """One step at ``share`` of the rates; loss and norm before clipping of every model."""
        import torch

        device = self.rates.device
        tokens = torch.stack([b.tokens for b in batches]).to(device)
        logits = self.call(self.weights, self.kept, tokens)
        losses = []
        for batch, mine in zip(batches, logits, strict=True):
            learned = batch.learned.to(device)
            losses.append(mismatch(mine[learned], batch.labels.to(device)[learned]))
        loss = torch.stack(losses)
        gradients = torch.autograd.grad(loss.sum(), list(self.weights.values()))
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        clip = (CLIP / (norms + 1e-6)).clamp(max=1.0)
        self._step(gradients, clip, share)
        return list(zip(loss.tolist(), norms.tolist(), strict=True))

    def _step(self, gradients: "Sequence[torch.Tensor]", clip: Any, share: float) -> None:
        """AdamW (I. Loshchilov and F. Hutter, ICLR 2019), a rate a model."""
        import torch

        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        with torch.no_grad():
            for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
                shape = (-1,) + (1,) * (weight.ndim - 1)
                rate, g = share * self.rates.view(shape), gradient * clip.view(shape)
                # a stacked vector has two axes, and vectors do not decay
                if weight.ndim > 2:
                    weight.mul_(1 - rate * WEIGHT_DECAY)
                mean = self.means[name].lerp_(g, 1 - BETAS[0])
                square = self.squares[name].mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
                weight.sub_(rate / first * mean / ((square / second).sqrt_() + 1e-8))

    def write_back(self) -> None:
        """Put the weights into the networks."""
        import torch

        with torch.no_grad():
            for k, network in enumerate(self.networks):
                for weight, p in zip(self.weights.values(), network.parameters(), strict=True):
                    p.copy_(weight[k])


def _module(network: Network) -> "torch.nn.Module":
    """The network as one module from tokens to logits, parameters in the network's order."""
    from torch import nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network.parts

        def forward(self, tokens: "torch.Tensor") -> "torch.Tensor":
            return network.answer(network.features(tokens))

    return Whole()
