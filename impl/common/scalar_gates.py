# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""Scalar gates inside a tile of steps: what each writes, and what is kept of it from step to step.

    S[t] = sigmoid(f[t]) S[t-1] + sigmoid(i[t]) k[t] v[t]^T,   or exp(i[t]) in place of sigmoid(i[t])

c[t] is the decay from the start of the tile to a step, e[s] from a step to its end, w over all of it
and D[t, s] from step to step. Each sums the logarithms of its own steps, none of which is above 0:
a difference of longer sums would lose what a shut gate left. Without gates (i or f None) all are 1.
"""

import triton
import triton.language as tl


@triton.jit
def write_gate(
    i_ptr, rows, inside, head, H, BLOCK_T: tl.constexpr, EXPONENTIAL: tl.constexpr = 0
):  # fmt: skip
    """``sigmoid(i)`` or ``exp(i)``, or 1 without a gate; behind the end of no consequence."""
    if i_ptr is None:
        gate = tl.full((BLOCK_T,), 1.0, tl.float32)
    else:
        gate = tl.load(i_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
        gate = tl.exp(gate) if EXPONENTIAL else tl.sigmoid(gate)
    return gate


@triton.jit
def _log_kept(f_ptr, first, left, head, H, AHEAD: tl.constexpr, BLOCK_T: tl.constexpr):
    """``log sigmoid(f)`` of the steps ``AHEAD`` of the tile at row ``first``; 0 behind its end."""
    steps = tl.arange(0, BLOCK_T) + AHEAD
    inside = (steps < BLOCK_T) & (steps < left)
    f = tl.load(f_ptr + (first + steps) * H + head, mask=inside, other=0.0).to(tl.float32)
    log = tl.minimum(f, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(f)))
    return tl.where(inside, log, 0.0)


@triton.jit
def decay_since(f_ptr, first, left, head, H, BLOCK_T: tl.constexpr):
    """c: the decay from the start of the tile to each step, its own included."""
    if f_ptr is None:
        decay = tl.full((BLOCK_T,), 1.0, tl.float32)
    else:
        decay = tl.exp(tl.cumsum(_log_kept(f_ptr, first, left, head, H, 0, BLOCK_T), axis=0))
    return decay


@triton.jit
def decay_until(f_ptr, first, left, head, H, BLOCK_T: tl.constexpr):
    """e: the decay from each step to the end of the tile, its own left out."""
    if f_ptr is None:
        decay = tl.full((BLOCK_T,), 1.0, tl.float32)
    else:
        # loaded a step ahead: taken off a sum that holds it, a shut gate would take digits along
        g = _log_kept(f_ptr, first, left, head, H, 1, BLOCK_T)
        decay = tl.exp(tl.cumsum(g, axis=0, reverse=True))
    return decay


@triton.jit
def decay_over(f_ptr, first, left, head, H, BLOCK_T: tl.constexpr):
    """w: the decay over the tile."""
    if f_ptr is None:
        decay = 1.0
    else:
        decay = tl.exp(tl.sum(_log_kept(f_ptr, first, left, head, H, 0, BLOCK_T), axis=0))
    return decay


@triton.jit
def decay_between(f_ptr, first, left, head, H, TO: tl.constexpr, BLOCK_T: tl.constexpr):
    """D: the decay between two steps of the tile, 0 backwards; the later step along axis ``TO``."""
    steps = tl.arange(0, BLOCK_T)
    to, start = tl.expand_dims(steps, 1 - TO), tl.expand_dims(steps, TO)
    if f_ptr is None:
        decay = tl.full((BLOCK_T, BLOCK_T), 1.0, tl.float32)
    else:
        g = tl.expand_dims(_log_kept(f_ptr, first, left, head, H, 0, BLOCK_T), 1 - TO)
        decay = tl.exp(tl.cumsum(tl.where(to > start, g, 0.0), axis=TO))
    return tl.where(to >= start, decay, 0.0)
