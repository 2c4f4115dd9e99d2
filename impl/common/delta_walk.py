# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""Delta rule on chip: one program a sequence and head walks the chunks, the state in registers.

With D[i, j] = exp(g[j+1] + ... + g[i]), c[i] and e[j] the decays from the start of a chunk to a step
and from a step to its end (all 1 without gates), and A = diag(beta) (K K^T * D) below the diagonal,

    R = diag(beta) (V - diag(c) K S),   U = (I + A)^-1 R
    O = diag(c) Q S + (Q K^T * D) U,    S <- c[C] S + (diag(e) K)^T U

Backwards, dO and the gradient G of the state at the end of a chunk give, in a walk from the right,

    dU = (Q K^T * D)^T dO + diag(e) K G,   dR = (I + A)^-T dU
    G <- c[C] G + (diag(c) Q)^T dO - (diag(beta c) K)^T dR

and what remains depends on nothing outside its chunk, so a program a chunk computes it, from S, G, U
and dR as they were stored:

    dV = diag(beta) dR,   dM = dO U^T * D,   dA = -dR U^T * D
    dQ = diag(c) dO S^T + dM K
    dK = dM^T Q + diag(e) U G^T - diag(beta c) dR S^T + (diag(beta) dA + (diag(beta) dA)^T) K

The forward pass moves every input and output once. A backward pass costs it the inverse, U and S
at each start, C + V + K V / C numbers a step, and as many again for dR and G.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import (
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_rows,
    load_state,
    load_state_transposed,
    span,
    store_rows,
    store_state,
)
from impl.common.unit_lower import unit_lower_inverse

WIDEST = 128
"""Largest K and V: a float32 state of 128 x 128 is a quarter of a multiprocessor's registers."""


def delta_walk(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int,
    forwards: Callable[..., None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state of the delta rule, gated when there is a ``g``.

    ``forwards`` may stand in for ``walk_forwards``: it is handed the same and fills the same.
    """
    forwards = forwards or walk_forwards
    return _Walk.apply(q, k, v, beta, g, h0, cu_seqlens, sizes, chunk, forwards)  # pyright: ignore[reportReturnType]


def walk_forwards(
    tensors: tuple[Tensor | None, ...],
    sizes: dict[str, int],
    meta: dict[str, int],
    inverse: str = "doubling",
) -> None:
    """Fill ``o`` and the last state, and what a backward pass needs where it is not None."""
    _delta_walk_kernel[(sizes["S"] * sizes["H"],)](*tensors, INVERSE=inverse, **meta)


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, beta, g, h0, cu_seqlens, sizes: dict[str, int], chunk, forwards):
        q, k, v, beta = (x.contiguous() for x in (q, k, v, beta))
        g, h0 = (None if x is None else x.contiguous() for x in (g, h0))
        o, last = torch.empty_like(v), v.new_empty(sizes["S"], *k.shape[2:], v.shape[-1])
        inverse = u = starts = None
        if any(ctx.needs_input_grad):
            inverse, u = v.new_empty(*beta.shape, chunk), torch.empty_like(v)
            starts = v.new_empty(chunk_count(sizes, chunk, cu_seqlens), *last.shape[1:])
        meta = _meta(sizes, chunk)
        forwards((q, k, v, beta, g, h0, cu_seqlens, o, last, inverse, u, starts), sizes, meta)
        ctx.save_for_backward(q, k, v, beta, g, h0, cu_seqlens, inverse, u, starts)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.meta = sizes, meta
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, beta, g, h0, cu_seqlens, inverse, u, starts = ctx.saved_tensors
        d_o, d_last = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        dr, ends = torch.empty_like(v), torch.empty_like(starts)
        dh0 = None if h0 is None else torch.empty_like(h0)
        _delta_reverse_walk_kernel[(ctx.sizes["S"] * ctx.sizes["H"],)](
            q, k, beta, g, inverse, d_o, d_last, cu_seqlens, dr, ends, dh0, **ctx.meta
        )
        dq, dk, dv, dbeta = (torch.empty_like(x) for x in (q, k, v, beta))
        dg = None if g is None else torch.empty_like(g)
        _delta_gradients_kernel[(len(starts), ctx.sizes["H"])](
            q, k, v, beta, g, u, starts, d_o, dr, ends, cu_seqlens, dq, dk, dv, dbeta, dg,
            ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]), **ctx.meta,
        )  # fmt: skip
        return dq, dk, dv, dbeta, dg, dh0, None, None, None, None


def _meta(sizes: dict[str, int], chunk: int) -> dict[str, int]:
    """Size arguments that all three kernels share."""
    meta = {axis: sizes[axis] for axis in "THKV"}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    return meta | {"num_warps": 4 if meta["BLOCK_K"] * meta["BLOCK_V"] <= 64 * 64 else 8}


@triton.jit
def _load_steps(x_ptr, rows, inside, head, H):
    """One float32 number a step of a contiguous [rows, H] tensor; zero past the end."""
    return tl.load(x_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _decays(g_ptr, rows, inside, head, H, BLOCK_T: tl.constexpr):
    """D [to, from], zero above the diagonal; c and e [BLOCK_T]; c at the end of the chunk."""
    steps = tl.arange(0, BLOCK_T)
    if g_ptr is None:
        between = tl.full((BLOCK_T, BLOCK_T), 1.0, tl.float32)
        since = tl.full((BLOCK_T,), 1.0, tl.float32)
        until = since
        whole = 1.0
    else:
        g = _load_steps(g_ptr, rows, inside, head, H)
        # each decay sums its own steps: differences of longer sums lose what the gates left
        over = tl.where(steps[:, None] > steps[None, :], g[:, None], 0.0)
        between = tl.exp(tl.cumsum(over, axis=0))
        since = tl.exp(tl.cumsum(g, axis=0))
        until = tl.exp(tl.sum(over, axis=0))
        whole = tl.exp(tl.sum(g, axis=0))
    between = tl.where(steps[:, None] >= steps[None, :], between, 0.0)
    return between, since, until, whole


@triton.jit
def _delta_walk_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, u_ptr, starts_ptr,
    T, H, K, V,
    INVERSE: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V)

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        beta = _load_steps(beta_ptr, rows, inside, head, H)[:, None]
        between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
        dtype = k.dtype

        below = tl.dot(k, tl.trans(k), input_precision="ieee") * between * beta
        # float32 to two bits, on matrix cores, where the result is rounded to half precision
        precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"
        inverse = unit_lower_inverse(below, INVERSE, precision, BLOCK_T).to(dtype)
        recalled = tl.dot(k, state.to(dtype), input_precision="ieee") * since[:, None]
        wrong = (beta * (v - recalled)).to(dtype)
        u = tl.dot(inverse, wrong, input_precision="ieee").to(dtype)
        if starts_ptr is not None:
            store_rows(inverse_ptr, inverse, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(u_ptr, u, rows, inside, head, H, V, BLOCK_V)
            place = (chunk + done // BLOCK_T) * H + head
            store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V)

        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * between
        o = tl.dot(q, state.to(dtype), input_precision="ieee") * since[:, None]
        o += tl.dot(scores.to(dtype), u, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)
        kept = (k * until[:, None]).to(dtype)
        state = state * whole + tl.dot(tl.trans(kept), u, input_precision="ieee")
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _delta_reverse_walk_kernel(
    q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dr_ptr, ends_ptr, dh0_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if d_last_ptr is not None:
        end += load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        done = (chunks - 1 - i) * BLOCK_T
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        inverse = load_rows(inverse_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        beta = _load_steps(beta_ptr, rows, inside, head, H)
        between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
        dtype = k.dtype
        place = (chunk + chunks - 1 - i) * H + head
        store_state(ends_ptr, end, place, K, V, BLOCK_K, BLOCK_V)

        # formed transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * tl.trans(between)
        kept = (k * until[:, None]).to(dtype)
        du = tl.dot(scores.to(dtype), d_o, input_precision="ieee")
        du += tl.dot(kept, end.to(dtype), input_precision="ieee")
        dr = tl.dot(tl.trans(inverse), du.to(dtype), input_precision="ieee").to(dtype)
        store_rows(dr_ptr, dr, rows, inside, head, H, V, BLOCK_V)

        read = (q * since[:, None]).to(dtype)
        recalled = (k * (beta * since)[:, None]).to(dtype)
        end = end * whole + tl.dot(tl.trans(read), d_o, input_precision="ieee")
        end -= tl.dot(tl.trans(recalled), dr, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _delta_gradients_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = start + steps, steps < left
    q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
    u = load_rows(u_ptr, rows, inside, head, H, V, BLOCK_V)
    d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
    dr = load_rows(dr_ptr, rows, inside, head, H, V, BLOCK_V)
    beta = _load_steps(beta_ptr, rows, inside, head, H)
    between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
    dtype = k.dtype
    place = chunk * H + head
    state = load_state_transposed(starts_ptr, place, K, V, BLOCK_K, BLOCK_V)
    end = load_state_transposed(ends_ptr, place, K, V, BLOCK_K, BLOCK_V)

    # through the states at the edges of the chunk
    dq = tl.dot(d_o, state.to(dtype), input_precision="ieee") * since[:, None]
    recalled = tl.dot(dr, state.to(dtype), input_precision="ieee") * since[:, None]
    kept = tl.dot(u, end.to(dtype), input_precision="ieee") * until[:, None]
    dk = kept - beta[:, None] * recalled
    recalled = tl.sum(recalled * k, axis=1)
    dbeta = tl.sum(dr.to(tl.float32) * v, axis=1) - recalled
    from_start = tl.sum(dq * q, axis=1) - beta * recalled  # [BLOCK_T]
    to_end = tl.sum(kept * k, axis=1)

    # from step to step; each product twice, for a dot with a transposed accumulator is miscompiled
    below = tl.where(steps[:, None] > steps[None, :], between, 0.0)
    scores = tl.dot(d_o, tl.trans(u), input_precision="ieee") * between
    system = -tl.dot(dr, tl.trans(u), input_precision="ieee") * below
    gram = tl.dot(k, tl.trans(k), input_precision="ieee")
    dbeta += tl.sum(system * gram, axis=1)
    paths = system * gram * beta[:, None] + scores * tl.dot(q, tl.trans(k), input_precision="ieee")
    transposed = -tl.dot(u, tl.trans(dr), input_precision="ieee") * tl.trans(below)
    system = system * beta[:, None] + transposed * beta[None, :]
    transposed = tl.dot(u, tl.trans(d_o), input_precision="ieee") * tl.trans(between)
    dq += tl.dot(scores.to(dtype), k, input_precision="ieee")
    dk += tl.dot(transposed.to(dtype), q, input_precision="ieee")
    dk += tl.dot(system.to(dtype), k, input_precision="ieee")

    store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)
    store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
    store_rows(dv_ptr, beta[:, None] * dr, rows, inside, head, H, V, BLOCK_V)
    tl.store(dbeta_ptr + rows * H + head, dbeta.to(dtype), mask=inside)
    if dg_ptr is not None:
        # g[s] scales every path over step s: from a step or the start before it to one not before it
        paths = tl.cumsum(paths, axis=0, reverse=True) + to_end[None, :]
        dg = tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)
        dg += tl.sum(tl.where(steps[:, None] <= steps[None, :], from_start[None, :], 0.0), axis=1)
        dg += whole * tl.sum(tl.sum(state * end, axis=1), axis=0)
        tl.store(dg_ptr + rows * H + head, dg.to(dtype), mask=inside)
