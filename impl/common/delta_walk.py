# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""Delta rule on chip: a program walks the chunks of a head, some columns of the state in registers.

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

With R corrections a token, q and O are of tokens, all else of corrections, C of them a chunk: a token
reads after its last, so that M, 1 up to there, stands in place of D in Q K^T and dM. R = 1 is the
delta rule.

The columns of S, V and O do not meet, so each tile of them has its programs, which all build the
inverse and ask for q, k, beta and g. The forward pass moves everything else once. A backward pass
costs it the inverse, U and S at each start, C + V + K V / C numbers a step, and as many again for dR
and G.
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
"""Largest K and V."""
TILE = 32
"""Columns of the state a program walks: 128 x 32 numbers in float32 are 16 registers a thread."""


def delta_walk(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int,
    forwards: Callable[..., None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state of the delta rule, gated when there is a ``g``.

    ``sizes["R"]`` corrections a token, one where it is absent, at most ``chunk`` and, with ``g``, one.
    ``forwards`` may stand in for ``walk_forwards``: it is handed the same and fills the same.
    """
    forwards = forwards or walk_forwards
    return _Walk.apply(q, k, v, beta, g, h0, cu_seqlens, sizes, chunk, forwards)  # pyright: ignore[reportReturnType]


def walk_forwards(
    tensors: tuple[Tensor | None, ...],
    grid: tuple[int, int],
    meta: dict[str, int],
    inverse: str = "doubling",
) -> None:
    """Fill ``o`` and the last state, and what a backward pass needs where it is not None."""
    _delta_walk_kernel[grid](*tensors, INVERSE=inverse, **meta)


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, beta, g, h0, cu_seqlens, sizes: dict[str, int], chunk, forwards):
        q, k, v, beta = (x.contiguous() for x in (q, k, v, beta))
        g, h0 = (None if x is None else x.contiguous() for x in (g, h0))
        o = v.new_empty(*q.shape[:-1], v.shape[-1])
        last = v.new_empty(sizes["S"], *q.shape[2:], v.shape[-1])
        grid, meta = _launch(sizes, chunk)
        inverse = u = starts = None
        if any(ctx.needs_input_grad):
            inverse, u = v.new_empty(*beta.shape, chunk), torch.empty_like(v)
            chunks = chunk_count(sizes, chunk // meta["R"], cu_seqlens)
            starts = v.new_empty(chunks, *last.shape[1:])
        forwards((q, k, v, beta, g, h0, cu_seqlens, o, last, inverse, u, starts), grid, meta)
        ctx.save_for_backward(q, k, v, beta, g, h0, cu_seqlens, inverse, u, starts)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.grid, ctx.meta = sizes, grid, meta
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, beta, g, h0, cu_seqlens, inverse, u, starts = ctx.saved_tensors
        d_o, d_last = grads
        d_o = v.new_zeros(*q.shape[:-1], v.shape[-1]) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        dr, ends = torch.empty_like(v), torch.empty_like(starts)
        dh0 = None if h0 is None else torch.empty_like(h0)
        _delta_reverse_walk_kernel[ctx.grid](
            q, k, beta, g, inverse, d_o, d_last, cu_seqlens, dr, ends, dh0, **ctx.meta
        )
        dq, dk, dv, dbeta = (torch.empty_like(x) for x in (q, k, v, beta))
        dg = None if g is None else torch.empty_like(g)
        _delta_gradients_kernel[(len(starts), ctx.sizes["H"])](
            q, k, v, beta, g, u, starts, d_o, dr, ends, cu_seqlens, dq, dk, dv, dbeta, dg,
            ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]), **ctx.meta,
        )  # fmt: skip
        return dq, dk, dv, dbeta, dg, dh0, None, None, None, None


def _launch(sizes: dict[str, int], chunk: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid of both walks, and the size arguments that all three kernels share."""
    meta = {axis: sizes[axis] for axis in "THKV"} | {"R": sizes.get("R", 1)}
    meta |= {"BLOCK_Q": block(chunk // meta["R"]), "BLOCK_T": chunk}
    meta |= {"BLOCK_K": block(sizes["K"]), "BLOCK_V": min(block(sizes["V"]), TILE)}
    meta["num_warps"] = 4 if meta["BLOCK_K"] <= 32 else 8
    return (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], meta["BLOCK_V"])), meta


@triton.jit
def _rows(start, left, R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr):
    """Rows of the tokens of a chunk and of their corrections, each with those inside."""
    tokens, steps = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_T)
    left = tl.minimum(left, BLOCK_T // R)
    return start + tokens, tokens < left, start * R + steps, steps < left * R


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
def _reads(between, since, R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr):
    """``between`` and ``since`` where tokens read, after their last correction."""
    if R == 1:
        read_between = between
        read_since = since
    else:
        tokens, steps = tl.arange(0, BLOCK_Q)[:, None], tl.arange(0, BLOCK_T)[None, :]
        read_between = tl.where(steps // R <= tokens, 1.0, 0.0)
        read_since = tl.full((BLOCK_Q,), 1.0, tl.float32)
    return read_between, read_since


@triton.jit
def _delta_walk_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, u_ptr, starts_ptr,
    T, H, K, V,
    INVERSE: tl.constexpr,
    R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    tokens: tl.constexpr = BLOCK_T // R
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, tokens)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    for done in range(0, length, tokens):
        reads, read, rows, inside = _rows(start + done, length - done, R, BLOCK_Q, BLOCK_T)
        q = load_rows(q_ptr, reads, read, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        beta = _load_steps(beta_ptr, rows, inside, head, H)[:, None]
        between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
        dtype = k.dtype

        # all that reads k, q and the state comes first, so that little else is held while inverting
        below = tl.dot(k, tl.trans(k), input_precision="ieee") * between * beta
        recalled = tl.dot(k, state.to(dtype), input_precision="ieee") * since[:, None]
        wrong = (beta * (v - recalled)).to(dtype)
        read_between, read_since = _reads(between, since, R, BLOCK_Q, BLOCK_T)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * read_between
        scores = scores.to(dtype)
        o = tl.dot(q, state.to(dtype), input_precision="ieee") * read_since[:, None]
        # float32 to two bits, on matrix cores, where the result is rounded to half precision
        precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"
        inverse = unit_lower_inverse(below, INVERSE, precision, BLOCK_T).to(dtype)
        u = tl.dot(inverse, wrong, input_precision="ieee").to(dtype)
        if starts_ptr is not None:
            # of all tiles alike
            store_rows(inverse_ptr, inverse, rows, inside & (first == 0), head, H, BLOCK_T, BLOCK_T)
            store_rows(u_ptr, u, rows, inside, head, H, V, BLOCK_V, first)
            place = (chunk + done // tokens) * H + head
            store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, first)

        o += tl.dot(scores, u, input_precision="ieee")
        store_rows(o_ptr, o, reads, read, head, H, V, BLOCK_V, first)
        kept = (k * until[:, None]).to(dtype)
        state = state * whole + tl.dot(tl.trans(kept), u, input_precision="ieee")
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, first)


@triton.jit
def _delta_reverse_walk_kernel(
    q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dr_ptr, ends_ptr, dh0_ptr,
    T, H, K, V,
    R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    tokens: tl.constexpr = BLOCK_T // R
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, tokens)
    end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if d_last_ptr is not None:
        end += load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    chunks = tl.cdiv(length, tokens)
    for i in range(chunks):
        done = (chunks - 1 - i) * tokens
        reads, read, rows, inside = _rows(start + done, length - done, R, BLOCK_Q, BLOCK_T)
        q = load_rows(q_ptr, reads, read, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        d_o = load_rows(d_o_ptr, reads, read, head, H, V, BLOCK_V, first)
        inverse = load_rows(inverse_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        beta = _load_steps(beta_ptr, rows, inside, head, H)
        between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
        read_between, read_since = _reads(between, since, R, BLOCK_Q, BLOCK_T)
        dtype = k.dtype
        place = (chunk + chunks - 1 - i) * H + head
        store_state(ends_ptr, end, place, K, V, BLOCK_K, BLOCK_V, first)

        # formed transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * tl.trans(read_between)
        kept = (k * until[:, None]).to(dtype)
        du = tl.dot(scores.to(dtype), d_o, input_precision="ieee")
        du += tl.dot(kept, end.to(dtype), input_precision="ieee")
        dr = tl.dot(tl.trans(inverse), du.to(dtype), input_precision="ieee").to(dtype)
        store_rows(dr_ptr, dr, rows, inside, head, H, V, BLOCK_V, first)

        asked = (q * read_since[:, None]).to(dtype)
        recalled = (k * (beta * since)[:, None]).to(dtype)
        end = end * whole + tl.dot(tl.trans(asked), d_o, input_precision="ieee")
        end -= tl.dot(tl.trans(recalled), dr, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)


@triton.jit
def _delta_gradients_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    S, T, H, K, V,
    R: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T // R)
    steps = tl.arange(0, BLOCK_T)
    reads, read, rows, inside = _rows(start, left, R, BLOCK_Q, BLOCK_T)
    q = load_rows(q_ptr, reads, read, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    beta = _load_steps(beta_ptr, rows, inside, head, H)
    dtype = k.dtype
    place = chunk * H + head
    dq = tl.zeros((BLOCK_Q, BLOCK_K), tl.float32)
    recalled = tl.zeros((BLOCK_T, BLOCK_K), tl.float32)
    kept = tl.zeros((BLOCK_T, BLOCK_K), tl.float32)
    scores = tl.zeros((BLOCK_Q, BLOCK_T), tl.float32)
    scores_across = tl.zeros((BLOCK_T, BLOCK_Q), tl.float32)
    system = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    system_across = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    dbeta = tl.zeros((BLOCK_T,), tl.float32)
    through = 0.0

    for first in range(0, V, BLOCK_V):
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        u = load_rows(u_ptr, rows, inside, head, H, V, BLOCK_V, first)
        d_o = load_rows(d_o_ptr, reads, read, head, H, V, BLOCK_V, first)
        dr = load_rows(dr_ptr, rows, inside, head, H, V, BLOCK_V, first)
        state = load_state_transposed(starts_ptr, place, K, V, BLOCK_K, BLOCK_V, first)
        end = load_state_transposed(ends_ptr, place, K, V, BLOCK_K, BLOCK_V, first)
        # through the states at the edges of the chunk
        dq += tl.dot(d_o, state.to(dtype), input_precision="ieee")
        recalled += tl.dot(dr, state.to(dtype), input_precision="ieee")
        kept += tl.dot(u, end.to(dtype), input_precision="ieee")
        # each product twice, for a dot with a transposed accumulator is miscompiled
        scores += tl.dot(d_o, tl.trans(u), input_precision="ieee")
        scores_across += tl.dot(u, tl.trans(d_o), input_precision="ieee")
        system -= tl.dot(dr, tl.trans(u), input_precision="ieee")
        system_across -= tl.dot(u, tl.trans(dr), input_precision="ieee")
        dbeta += tl.sum(dr.to(tl.float32) * v, axis=1)
        store_rows(dv_ptr, beta[:, None] * dr, rows, inside, head, H, V, BLOCK_V, first)
        if dg_ptr is not None:
            through += tl.sum(tl.sum(state * end, axis=1), axis=0)

    between, since, until, whole = _decays(g_ptr, rows, inside, head, H, BLOCK_T)
    read_between, read_since = _reads(between, since, R, BLOCK_Q, BLOCK_T)
    dq *= read_since[:, None]
    recalled *= since[:, None]
    kept *= until[:, None]
    dk = kept - beta[:, None] * recalled
    recalled = tl.sum(recalled * k, axis=1)
    dbeta -= recalled
    if dg_ptr is not None:
        from_start = tl.sum(dq * q, axis=1) - beta * recalled  # [BLOCK_T]
        to_end = tl.sum(kept * k, axis=1)

    # from step to step
    below = tl.where(steps[:, None] > steps[None, :], between, 0.0)
    scores *= read_between
    system *= below
    gram = tl.dot(k, tl.trans(k), input_precision="ieee")
    dbeta += tl.sum(system * gram, axis=1)
    if dg_ptr is not None:
        paths = tl.dot(q, tl.trans(k), input_precision="ieee") * scores
        paths += system * gram * beta[:, None]
    system = system * beta[:, None] + system_across * tl.trans(below) * beta[None, :]
    scores_across *= tl.trans(read_between)
    dq += tl.dot(scores.to(dtype), k, input_precision="ieee")
    dk += tl.dot(scores_across.to(dtype), q, input_precision="ieee")
    dk += tl.dot(system.to(dtype), k, input_precision="ieee")

    store_rows(dq_ptr, dq, reads, read, head, H, K, BLOCK_K)
    store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
    tl.store(dbeta_ptr + rows * H + head, dbeta.to(dtype), mask=inside)
    if dg_ptr is not None:
        # g[s] scales every path over step s: from a step or the start before it to one not before it
        paths = tl.cumsum(paths, axis=0, reverse=True) + to_end[None, :]
        dg = tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)
        dg += tl.sum(tl.where(steps[:, None] <= steps[None, :], from_start[None, :], 0.0), axis=1)
        dg += whole * through
        tl.store(dg_ptr + rows * H + head, dg.to(dtype), mask=inside)
