"""Wrong on purpose: each mutant breaks one promise, and only the check it is tied to may notice.

Every mutant is the honest reference but for one fault that no other check provokes, so that a check
without which a fault would pass is known to be needed.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from correctness import promises
from correctness.op import find
from correctness.promises import Promise
from impl.registry import Plugin

MUTANTS: list[tuple[Plugin, Promise]] = []

solve = find("linear_recurrence").reference
attend = find("linear_attention").reference


def caught_by(
    check: Promise, op: str = "linear_recurrence", **arguments: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Record the decorated function as a mutant that ``check``, and no other check, catches."""

    def record(run: Callable[..., Any]) -> Callable[..., Any]:
        MUTANTS.append((plugin(run, op, **arguments), check))
        return run

    return record


def plugin(run: Callable[..., Any], op: str, **arguments: Any) -> Plugin:
    """``run`` as a plugin that lives nowhere."""
    name = run.__name__
    return Plugin(
        id=f"mutants.{name}", kind="impl", op=op, source="none", file=Path(__file__), line=0, doc="",
        name=name, run=run, **arguments,
    )  # fmt: skip


def honest(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """The reference, which refuses what does not fit: no check may complain."""
    if a.shape != b.shape:
        raise ValueError(f"a is {tuple(a.shape)}, b is {tuple(b.shape)}, want the same")
    return solve(a, b, h0)


@caught_by(promises.signature)
def takes_a_knob_it_does_not_declare(
    a: Tensor, b: Tensor, h0: Tensor | None = None, *, block: int = 1
) -> Tensor:
    return honest(a, b, h0)


@caught_by(promises.forward)
def is_wrong_on_whole_tiles(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0) * (2 if b.shape[1:] == (64, 16) else 1)


@caught_by(promises.defaults)
def starts_at_one_by_default(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, torch.ones_like(b[:, 0]) if h0 is None else h0)


class _Slip(torch.autograd.Function):
    """Hands a tensor through and spoils its gradient with ``spoil``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spoil: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.spoil = spoil
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.spoil(gradients[0]), None


@caught_by(promises.backward)
def halves_the_gradient_of_the_decay(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    long = a.shape[1] > 100
    return honest(_Slip.apply(a, lambda da: da / 2 if long else da), b, h0)


@caught_by(promises.lone_backward)
def loses_the_gradient_of_a_lone_input(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    alone = a.requires_grad and not b.requires_grad
    return honest(_Slip.apply(a, lambda da: da * 0) if alone else a, b, h0)


@caught_by(promises.lone_backward, op="linear_attention")
def forgets_the_gradient_of_a_lone_state(
    q: Tensor, k: Tensor, v: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if not q.shape[1] == k.shape[1] == v.shape[1]:
        raise ValueError("lengths differ")
    o, state = attend(q, k, v, h0)
    alone = h0 is not None and h0.requires_grad and not q.requires_grad
    return o, _Slip.apply(state, lambda ds: ds * 0) if alone else state


@caught_by(promises.pure)
def spoils_the_gradient_it_is_given(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    def spoil(dh: Tensor) -> Tensor:
        given = dh.clone()
        dh[:, -1] += 1
        return given

    # an expanded gradient cannot be written to
    return _Slip.apply(honest(a, b, h0), lambda dh: spoil(dh) if dh.is_contiguous() else dh)


@caught_by(promises.repeatable)
def rounds_at_random(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    h = honest(a, b, h0)
    return h * (1 + torch.finfo(h.dtype).eps * next(_calls))


_calls = itertools.cycle((0, 1))


@caught_by(promises.strided)
def believes_that_views_are_contiguous(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    if b.shape[1] == 7:
        b = b.as_strided(b.shape, torch.empty(b.shape).stride())
    return honest(a, b, h0)


@caught_by(promises.strided_backward)
def believes_that_gradients_are_contiguous(
    a: Tensor, b: Tensor, h0: Tensor | None = None
) -> Tensor:
    def read(dh: Tensor) -> Tensor:
        return dh * 0 if dh.stride()[0] == 0 else dh

    return _Slip.apply(honest(a, b, h0), read)


@caught_by(promises.complete)
def relies_on_fresh_bytes_being_finite(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0) + 0 * torch.empty_like(b)


@caught_by(promises.refuses)
def drops_a_step_that_does_not_fit(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    steps = min(a.shape[1], b.shape[1])
    return solve(a[:, :steps], b[:, :steps], h0)


@caught_by(promises.refuses, accepts={"D": {"at_most": 100}})
def accepts_more_than_it_says(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0)


@caught_by(promises.causal)
def hears_a_loud_future(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0) + (b.abs().amax(dim=1, keepdim=True) > 500).to(b)


@caught_by(promises.composes)
def stumbles_over_a_third_of_the_way(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0) * (2 if b.shape[1] == 65 // 3 else 1)


@caught_by(promises.steps)
def forgets_the_state_of_a_single_step_of_a_pair(
    a: Tensor, b: Tensor, h0: Tensor | None = None
) -> Tensor:
    return honest(a, b, h0) * (2 if b.shape[:2] == (2, 1) and b.shape[2] == 3 else 1)


@caught_by(promises.linear)
def saturates(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    return honest(a, b, h0).clamp(-1e4, 1e4)


@caught_by(promises.packed, op="linear_attention")
def runs_packed_sequences_together(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    h0: Tensor | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    if not q.shape[1] == k.shape[1] == v.shape[1]:
        raise ValueError("lengths differ")
    if cu_seqlens is None or h0 is None:
        return attend(q, k, v, h0)
    o, state = attend(q, k, v, h0[:1])
    return o, state.expand_as(h0)


@caught_by(promises.grouped_heads, op="linear_attention")
def deals_heads_out_in_turn(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Tensor, Tensor]:
    times, rest = divmod(v.shape[2], q.shape[2])
    if rest or not q.shape[1] == k.shape[1] == v.shape[1]:
        raise ValueError(
            f"{q.shape=}, {k.shape=}, {v.shape=}, want T of one size and H times G heads"
        )
    return attend(q.repeat(1, 1, times, 1), k.repeat(1, 1, times, 1), v, h0)


@caught_by(promises.extreme)
def thinks_that_a_decay_is_below_one(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    often = (a == 1).sum() > a.numel() / 4
    return honest(torch.where(often & (a == 1), 0.0, a), b, h0)


@caught_by(promises.growth)
def keeps_long_states_in_half_precision(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    h = honest(a, b, h0)
    return h.half().to(h.dtype) if b.shape[1] > 1000 else h


@caught_by(promises.knobs, knobs={"block": (1, 2)})
def is_right_for_one_block_size(
    a: Tensor, b: Tensor, h0: Tensor | None = None, *, block: int = 1
) -> Tensor:
    return honest(a, b, h0) * block
