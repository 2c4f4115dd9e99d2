"""Floating-point operations of training, by torch's own counter, which sees products only.

Sums, gates, scans of elements, transforms and triangular solves count nothing, so that a mixer made
of products looks dearer than it is against one made of those: told beside a score, never a budget.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suites.tasks import Task

    from .network import Network


def in_place_products() -> "dict[Any, Callable[..., int]]":
    """Counts that torch's table lacks: products in place, which walks by hand are made of."""
    import torch
    from torch.utils.flop_counter import addmm_flop, baddbmm_flop

    return {
        torch.ops.aten.baddbmm_: inspect.unwrap(baddbmm_flop),
        torch.ops.aten.addmm_: inspect.unwrap(addmm_flop),
    }


def training_flops(network: "Network", task: "Task") -> int:
    """Multiplies and adds of products a training token, forward and backward.

    Counted on one batch of the trained length. The gradients it leaves are dropped.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from .descent import loss_of

    batch = task.draw(task.stream("count", 0), task.batch, task.length)
    with FlopCounterMode(display=False, custom_mapping=in_place_products()) as counter:
        loss_of(network, batch).backward()
    for parameter in network.parameters():
        parameter.grad = None
    return round(counter.get_total_flops() / batch.learned.numel())
