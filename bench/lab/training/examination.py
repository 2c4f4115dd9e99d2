"""Examination: a network's score on fresh sequences of its task."""

import math
from typing import TYPE_CHECKING

from .network import Network
from .outcome import Course

if TYPE_CHECKING:
    import torch

    from suites.tasks import Batch, Task

CHECKED, SCORED = 128, 512
"""Sequences of one examination and of the score."""


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
