"""Descent: the schedule of a budget, and one step of AdamW, or of plain gradients, on a batch."""

import math
from typing import TYPE_CHECKING

from .network import Network

if TYPE_CHECKING:
    import torch

    from suites.tasks import Batch, Task

WARM_UP, DECAY = 0.05, 0.2
"""Shares of the budget in which the learning rate rises and falls, linearly; constant between."""
CLIP = 1.0
"""Largest norm of a gradient that AdamW follows."""
BETAS, WEIGHT_DECAY = (0.9, 0.98), 0.01
"""Of AdamW."""
SHORTER = 0.5
"""Share of the budget for the shorter lengths of a curriculum, an equal part for each."""


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


def optimizer_of(network: Network, rate: float, kind: str = "adamw") -> "torch.optim.Optimizer":
    """AdamW, where vectors do not decay, or plain ``sgd``."""
    import torch

    if kind == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate)
    if kind != "adamw":
        raise ValueError(f"optimizer {kind!r}, want 'adamw' or 'sgd'")
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
    clip = math.inf if isinstance(optimizer, torch.optim.SGD) else CLIP
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return loss.item(), norm.item()
