# pyright: basic, reportArgumentType=false, reportOperatorIssue=false
"""Fused gated linear attention: blocks of 16 steps, the state never leaves the chip.

One program a sequence and head walks the blocks. Where unfused forms cut a chunk again, to bound
the exponentials without writing more states, the state here stays in registers and the blocks are
all there is. With from[i] and to[j] the decays of a key channel from the block's start and to its
end,

    A[i, j] = sum_d q[i, d] k[j, d] exp(g[j+1, d] + ... + g[i, d])    for i >= j in the block
    O = A V + (Q from) S,    S <- diag(from[last]) S + (k to)^T V

Backwards, the same kernel first keeps the state at every ``checkpoint`` steps, nothing else; then a
walk from the right carries R, the gradient of S, and rebuilds the state before each block from the
nearest one kept. With D = dO, w[i, j] the exponential in A and dA = D V^T * (i >= j)

    dq[i] = sum_j dA[i, j] k[j] w[i, j] + from[i] S D[i]
    dk[j] = sum_i dA[i, j] q[i] w[i, j] + to[j] R v[j]
    dv[j] = sum_i A[i, j] D[i] + R^T (k to)[j],    R <- diag(from[last]) R + (q from)^T D

and g[t] has the gradient of every path over t: from j < t to i >= t inside the block, from S to
i >= t, from j < t to R, and from S to R. The difference of q dq and k dk summed from the end would
cancel. Forwards every tensor moves once. It pays with 16 K exponentials and vector operations a
step, with T / 16 dependent steps, and backwards with one float32 state in ``checkpoint`` steps,
written and read once, and k, v and g read again, (checkpoint - 16) / 32 times on average.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import (
    at_most,
    block,
    chunk_count,
    first_chunk,
    load_rows,
    load_state,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements

BLOCK_T: tl.constexpr = tl.constexpr(16)
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _log_decay_to_end(g_ptr, rows, left, head, H, K, BLOCK_K: tl.constexpr):
    """Sum of the rows of ``g`` behind each row of a block, times log2(e).

    The rows are loaded anew, one step on: a difference of two sums would lose digits, and a product
    with a triangle of ones makes an accumulator, which Triton 3.4 to 3.7.0 miscompiles on Hopper
    where a product reads its transpose. ``left`` steps are left of the sequence.
    """
    behind = tl.arange(0, BLOCK_T) + 1
    follows = (behind < BLOCK_T) & (behind < left)
    g = load_rows(g_ptr, rows + 1, follows, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
    return tl.cumsum(g, axis=0, reverse=True)


@triton.jit
def _gla_fused_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    first, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    steps = tl.arange(0, BLOCK_T)
    to, start = steps[:, None], steps[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V)

    for done in range(0, length, BLOCK_T):
        rows, inside = first + done + steps, done + steps < length
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
        # one is decided at compile time, the other at run time
        if starts_ptr is not None:  # noqa: SIM102
            if done % CHECKPOINT == 0:
                place = (kept + done // CHECKPOINT) * H + head
                store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V)
        if o_ptr is not None:
            q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
            gap = tl.zeros((BLOCK_T, BLOCK_K), tl.float32)  # log decay from step j to each
            ahead = tl.zeros((1, BLOCK_K), tl.float32)  # g[j + 1]
            scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
            for back in range(BLOCK_T):
                j = BLOCK_T - 1 - back
                gap = tl.where(to > j, gap + ahead, 0.0)
                here = to == j
                ahead = tl.sum(tl.where(here, g, 0.0), axis=0)[None, :]
                key = tl.sum(tl.where(here, k, 0.0), axis=0)[None, :]
                column = tl.sum(tl.exp2(gap) * q * key, axis=1)
                scores = tl.where(start == j, column[:, None], scores)
            scores = tl.where(to >= start, scores, 0.0)
            read = (q * tl.exp2(tl.cumsum(g, axis=0))).to(q.dtype)
            o = tl.dot(scores.to(v.dtype), v, input_precision="ieee")
            o += tl.dot(read, state.to(q.dtype), input_precision="ieee")
            store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)
        until = _log_decay_to_end(g_ptr, rows, length - done, head, H, K, BLOCK_K)
        write = (k * tl.exp2(until)).to(k.dtype)
        state *= tl.exp2(tl.sum(g, axis=0))[:, None]
        state += tl.dot(tl.trans(write), v, input_precision="ieee")
    if last_ptr is not None:
        store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _gla_fused_backward_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dq_ptr, dk_ptr, dv_ptr, dg_ptr, dh0_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    first, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    steps = tl.arange(0, BLOCK_T)
    to, start = steps[:, None], steps[None, :]
    # S and R are [V, K] here, so that no product reads a transposed accumulator: Triton 3.4 to
    # 3.7.0 miscompiles that on Hopper
    d_state = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
    if d_last_ptr is not None:
        d_state += tl.trans(load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V))

    blocks = tl.cdiv(length, BLOCK_T)
    for i in range(blocks):
        done = (blocks - 1 - i) * BLOCK_T
        nearest = done // CHECKPOINT
        place = (kept + nearest) * H + head
        state = tl.trans(load_state(starts_ptr, place, K, V, BLOCK_K, BLOCK_V))
        for earlier in range(nearest * CHECKPOINT, done, BLOCK_T):
            rows, inside = first + earlier + steps, earlier + steps < length
            k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
            v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
            g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
            until = _log_decay_to_end(g_ptr, rows, length - earlier, head, H, K, BLOCK_K)
            write = (k * tl.exp2(until)).to(k.dtype)
            state *= tl.exp2(tl.sum(g, axis=0))[None, :]
            state += tl.dot(tl.trans(v), write, input_precision="ieee")

        rows, inside = first + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        since = tl.exp2(tl.cumsum(g, axis=0))
        until = tl.exp2(_log_decay_to_end(g_ptr, rows, length - done, head, H, K, BLOCK_K))
        whole = tl.exp2(tl.sum(g, axis=0))

        dq = since * tl.dot(d_o, state.to(d_o.dtype), input_precision="ieee")
        dk = until * tl.dot(v, d_state.to(v.dtype), input_precision="ieee")
        dg = tl.cumsum(q * dq, axis=0, reverse=True) + (whole * tl.sum(d_state * state, 0))[None, :]
        dg += tl.dot((start < to).to(tl.float32), k * dk, input_precision="ieee")

        d_scores = tl.dot(d_o, tl.trans(v), input_precision="ieee")
        d_scores = tl.where(to >= start, d_scores, 0.0)
        gap = tl.zeros((BLOCK_T, BLOCK_K), tl.float32)
        ahead = tl.zeros((1, BLOCK_K), tl.float32)
        scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)  # [from, to]
        for back in range(BLOCK_T):
            j = BLOCK_T - 1 - back
            here, later = to == j, to > j
            gap = tl.where(later, gap + ahead, 0.0)
            weight = tl.exp2(gap)
            ahead = tl.sum(tl.where(here, g, 0.0), axis=0)[None, :]
            key = tl.sum(tl.where(here, k, 0.0), axis=0)[None, :]
            d_column = tl.sum(tl.where(start == j, d_scores, 0.0), axis=1)[:, None]
            scores = tl.where(here, tl.sum(q * weight * key, axis=1)[None, :], scores)
            dq += d_column * weight * key
            ends = d_column * weight * q
            dk += tl.where(here, tl.sum(ends, axis=0)[None, :], 0.0)
            dg += tl.where(later, tl.cumsum(ends * key, axis=0, reverse=True), 0.0)
        scores = tl.where(start >= to, scores, 0.0)
        store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)
        store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
        store_rows(dg_ptr, dg, rows, inside, head, H, K, BLOCK_K)

        write, read = (k * until).to(k.dtype), (q * since).to(q.dtype)
        dv = tl.trans(tl.dot(d_state.to(k.dtype), tl.trans(write), input_precision="ieee"))
        dv += tl.dot(scores.to(d_o.dtype), d_o, input_precision="ieee")
        store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V)
        d_state *= whole[None, :]
        d_state += tl.dot(tl.trans(d_o), read, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, tl.trans(d_state), index, K, V, BLOCK_K, BLOCK_V)


class _GlaFused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, g, h0, cu_seqlens, sizes: dict[str, int], checkpoint: int):
        q, k, v, g = (each.contiguous() for each in (q, k, v, g))
        h0 = None if h0 is None else h0.contiguous()
        o = torch.empty_like(v)
        last = v.new_empty(*(sizes[axis] for axis in "SHKV"))
        ctx.sizes, ctx.launch = sizes, _launch(sizes, checkpoint)
        ctx.save_for_backward(q, k, v, g, h0, cu_seqlens)
        ctx.set_materialize_grads(False)
        grid, options = ctx.launch
        _gla_fused_kernel[grid](q, k, v, g, h0, cu_seqlens, o, last, None, **options)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, g, h0, cu_seqlens = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        (grid, options), sizes = ctx.launch, ctx.sizes
        chunks = chunk_count(sizes, options["CHECKPOINT"], cu_seqlens)
        shape = (chunks, *(sizes[axis] for axis in "HKV"))
        starts = torch.empty(shape, dtype=torch.float32, device=v.device)
        _gla_fused_kernel[grid](q, k, v, g, h0, cu_seqlens, None, None, starts, **options)

        dq, dk, dv, dg = (torch.empty_like(each) for each in (q, k, v, g))
        dh0 = None if h0 is None else torch.empty_like(h0)
        _gla_fused_backward_kernel[grid](
            q, k, v, g, starts, d_o, d_last, cu_seqlens, dq, dk, dv, dg, dh0,
            **{**options, "num_warps": 8},
        )  # fmt: skip
        return dq, dk, dv, dg, dh0, None, None, None


def _launch(sizes: dict[str, int], checkpoint: int) -> tuple[tuple[int], dict[str, int]]:
    """Grid and size arguments that both kernels share."""
    options = {axis: sizes[axis] for axis in "THKV"} | {"CHECKPOINT": checkpoint}
    options |= {"BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    options["num_warps"] = 8 if options["BLOCK_K"] * options["BLOCK_V"] > 4096 else 4
    return (sizes["S"] * sizes["H"],), options


@implements(
    "gated_linear_attention",
    source="S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, ICML 2024, arXiv:2312.06635",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"checkpoint": (16, 64)},
)
def gla_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    checkpoint: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = exp(g) S[t-1] + k v^T``, ``o = S^T q``; the state is float32 on chip.

    ``checkpoint`` is the number of steps between the states that the backward pass keeps. With
    ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gla_fused, q, k, v, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    o, last = _GlaFused.apply(q, k, v, g, h0, cu_seqlens, sizes, checkpoint)
    return o, last
