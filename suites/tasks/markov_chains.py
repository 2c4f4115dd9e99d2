"""In-context Markov chains: learn each sequence's own chain from that sequence.

Every sequence walks a chain of its own, each row of its transition matrix drawn from a Dirichlet law
of concentration ``SPREAD`` over the ``states``; after every token the next one is predicted (B. L.
Edelman et al., NeurIPS 2024, arXiv:2402.11004). The exact predictor of a chain so drawn is known in
closed form: it counts,

    p(j | i) = (n_ij + SPREAD) / (n_i + states * SPREAD),

with n_ij the times j has followed i in this sequence. The score is the loss beyond that
predictor's, in nat, over the second half of a sequence twice as long as those trained: 0 is optimal,
and no corpus is needed. To count pairs a mixer must address its memory by the token before, as the
heads do that attention forms for such counts (E. Akyürek et al., ICML 2024, arXiv:2401.12973).
"""

import math
from typing import TYPE_CHECKING

from suites.tasks import Batch, Task, sized_task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

SPREAD = 0.1
"""Concentration of the law of a row: at 0.1 a state has few likely successors."""


def draw(generator: "torch.Generator", count: int, length: int, *, states: int) -> Batch:
    """Walks of ``length`` tokens; the label is the token after, classes are the states."""
    import torch

    law = torch.full((count, states, states), SPREAD, dtype=torch.float64)
    # added: float64 has no number for the smallest of these gammas
    rows = torch._standard_gamma(law, generator) + torch.finfo(torch.float64).tiny  # pyright: ignore[reportPrivateImportUsage]
    walk = torch.empty(count, length + 1, dtype=torch.int64)
    walk[:, 0] = torch.randint(states, (count,), generator=generator)
    each = torch.arange(count)
    for t in range(length):
        row = rows[each, walk[:, t]]
        walk[:, t + 1] = torch.multinomial(row, 1, generator=generator)[:, 0]
    tokens, labels = walk[:, :-1].contiguous(), walk[:, 1:].contiguous()
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    late = everywhere & (torch.arange(length) >= length // 2)
    known = exact(tokens, labels, states=states)
    return Batch(tokens=tokens, labels=labels, learned=everywhere, scored=late, known=known)


def exact(
    tokens: "Int[Tensor, 'B T']", labels: "Int[Tensor, 'B T']", *, states: int
) -> "Float[Tensor, 'B T']":
    """Loss of the predictor that knows the law and has counted the pairs so far, in nat."""
    import torch
    from torch.nn import functional

    pairs = functional.one_hot(tokens * states + labels, states**2)
    before = (pairs.cumsum(1) - pairs).unflatten(-1, (states, states))
    rows = before.gather(2, tokens[..., None, None].expand(-1, -1, 1, states))[:, :, 0]
    seen = rows.gather(2, labels[..., None])[..., 0]
    return -torch.log((seen + SPREAD) / (rows.sum(-1) + states * SPREAD))


def shares(batch: Batch, generator: "torch.Generator", *, states: int) -> "Float[Tensor, 'B T']":
    """Loss of predicting every state by how often the sequence has been there, plus one half."""
    import torch
    from torch.nn import functional

    seen = functional.one_hot(batch.tokens, states).cumsum(1) + 0.5
    share = seen.gather(2, batch.labels[..., None])[..., 0] / seen.sum(-1)
    return -torch.log(share)


def uniform(batch: Batch, generator: "torch.Generator", *, states: int) -> "Float[Tensor, 'B T']":
    """Loss of a blind guess."""
    import torch

    return torch.full(batch.tokens.shape, math.log(states))


def setting(*, states: int, floor: float, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    return sized_task(
        says=f"Predict chains of {states} states, a new one each sequence; nats beyond the optimum.",
        sizes={"states": states},
        draw=draw,
        strategies={"shares": shares, "uniform": uniform},
        metric="excess_loss",
        best=0.0,
        floor=floor,
        vocabulary=states,
        classes=states,
        **kind,
    )


SETTINGS = (
    setting(
        name="markov_chains-T64",
        states=16,
        # that of ``shares`` on 4096 sequences of the scored length, which a test repeats
        floor=0.972,
        length=64,
        test_length=128,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=32,
        tokens=600 * 32 * 64,
        must_pass=("mixers.softmax", "mixers.linear_attention"),
        must_fail=("mixers.diagonal",),
    ),
)
