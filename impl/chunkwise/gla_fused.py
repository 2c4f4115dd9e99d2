# pyright: basic, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Fused gated linear attention: blocks of 16 steps, the state never leaves the chip.

One program a sequence, head and some columns of V walks the blocks. Where unfused forms cut a chunk
again, to bound the exponentials without writing more states, the state here stays in registers and the
blocks are all there is. With from[i] and to[j] the decays of a key channel from the block's start and to
its end,

    A[i, j] = sum_d q[i, d] k[j, d] exp(g[j+1, d] + ... + g[i, d])    for i >= j in the block
    O = A V + (Q from) S,    S <- diag(from[last]) S + (k to)^T V

Forwards the state is kept at every ``checkpoint`` steps. Backwards one program a head goes over these
pieces from the right, rebuilds the states before its blocks, walks back with R, the gradient of the state
behind a block, and leaves both in tensors of one piece. Then block by block, with D = dO, w[i, j] the
exponential in A and dA = D V^T * (i >= j),

    dq[i] = sum_j dA[i, j] k[j] w[i, j] + from[i] S D[i]
    dk[j] = sum_i dA[i, j] q[i] w[i, j] + to[j] R v[j]
    dv[j] = sum_i A[i, j] D[i] + R^T (k to)[j],    R <- diag(from[last]) R + (q from)^T D

and g[t] has the gradient of every path over t: from j < t to i >= t inside the block, from S to
i >= t, from j < t to R, and from S to R. The difference of q dq and k dk summed from the end would
cancel. Forwards every tensor moves once. It pays with 16 K exponentials and vector operations a step,
anew for every 64 columns of V, 32 where K is beyond 128, with T / 16 dependent steps, and backwards with
one state in ``checkpoint`` steps, written and read once. Heads of V that share one of q and k read it
where it lies; backwards dq and dk are then written in float32 for every head, read again and summed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.heads import sum_heads
from impl.common.sequences import (
    at_most,
    block,
    chunk_count,
    first_chunk,
    load_rows,
    load_state,
    load_tile,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements

BLOCK_T: tl.constexpr = tl.constexpr(16)
COLUMNS, STATE = 64, 128 * 64
"""Columns of V and numbers of the state that a program has forwards: 32 registers a thread."""
CHANNELS, TILE = 32, 16
"""Rows and columns of the state that gradients take at a time: more spill registers."""
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _log_decay_to_end(g_ptr, rows, left, head, H, K, BLOCK_K: tl.constexpr, first=0):
    """Sum of the rows of ``g`` behind each row of a block, times log2(e).

    The rows are loaded anew, one step on: a difference of two sums would lose digits, and a product
    with a triangle of ones makes an accumulator, which Triton 3.4 to 3.7.0 miscompiles on Hopper
    where a product reads its transpose. ``left`` steps are left of the sequence.
    """
    behind = tl.arange(0, BLOCK_T) + 1
    follows = (behind < BLOCK_T) & (behind < left)
    g = load_rows(g_ptr, rows + 1, follows, head, H, K, BLOCK_K, first).to(tl.float32) * LOG2_E
    return tl.cumsum(g, axis=0, reverse=True)


@triton.jit
def _after_block(
    state, k_ptr, v_ptr, g_ptr, rows, left, head, first, H, K, V,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Columns from ``first`` of the state behind a block from those before it."""
    inside = tl.arange(0, BLOCK_T) < left
    k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
    g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
    until = _log_decay_to_end(g_ptr, rows, left, head, H, K, BLOCK_K)
    write = (k * tl.exp2(until)).to(k.dtype)
    state *= tl.exp2(tl.sum(g, axis=0))[:, None]
    return state + tl.dot(tl.trans(write), v, input_precision="ieee")


@triton.jit
def _gla_fused_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    sequence, head = index // H, index % H
    begin, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    steps = tl.arange(0, BLOCK_T)
    to, start = steps[:, None], steps[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    for done in range(0, length, BLOCK_T):
        rows, inside = begin + done + steps, done + steps < length
        k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % CHECKPOINT == 0:
                place = (kept + done // CHECKPOINT) * H + head
                store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, first)
        q = load_rows(q_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K)
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
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V, first)
        state = _after_block(
            state, k_ptr, v_ptr, g_ptr, rows, length - done, head, first, H, K, V,
            BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, first)


@triton.jit
def _before_block(
    end, q_ptr, g_ptr, d_o_ptr, rows, left, head, first, H, K, V,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Columns from ``first`` of the gradient of the state before a block from those of that behind."""
    inside = tl.arange(0, BLOCK_T) < left
    q = load_rows(q_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K)
    d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V, first)
    g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K).to(tl.float32) * LOG2_E
    read = (q * tl.exp2(tl.cumsum(g, axis=0))).to(q.dtype)
    end *= tl.exp2(tl.sum(g, axis=0))[:, None]
    return end + tl.dot(tl.trans(read), d_o, input_precision="ieee")


@triton.jit
def _block_gradients(
    q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr, dq_ptr, dk_ptr, dv_ptr, dg_ptr,
    rows, left, place, head, H, K, V,
    BLOCK_K: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """All gradients of one block from S, R and what it was given, some channels at a time."""
    steps = tl.arange(0, BLOCK_T)
    inside = steps < left
    to, start = steps[:, None], steps[None, :]
    d_scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for first in range(0, V, BLOCK_V):
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V, first)
        d_scores += tl.dot(d_o, tl.trans(v), input_precision="ieee")
    d_scores = tl.where(to >= start, d_scores, 0.0)

    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)  # [from, to]
    for channel in range(0, K, TILE_K):
        dq = tl.zeros((BLOCK_T, TILE_K), tl.float32)
        dk = tl.zeros((BLOCK_T, TILE_K), tl.float32)
        through = tl.zeros((TILE_K,), tl.float32)
        for first in range(0, V, BLOCK_V):
            state = load_tile(states_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
            end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
            v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
            d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V, first)
            dq += tl.dot(d_o, tl.trans(state), input_precision="ieee")
            dk += tl.dot(v, tl.trans(end), input_precision="ieee")
            through += tl.sum(state.to(tl.float32) * end.to(tl.float32), axis=1)

        q = load_rows(q_ptr, rows, inside, head // GROUP, H // GROUP, K, TILE_K, channel)
        k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, TILE_K, channel)
        g = load_rows(g_ptr, rows, inside, head, H, K, TILE_K, channel).to(tl.float32) * LOG2_E
        dq *= tl.exp2(tl.cumsum(g, axis=0))
        dk *= tl.exp2(_log_decay_to_end(g_ptr, rows, left, head, H, K, TILE_K, channel))
        dg = tl.cumsum(q * dq, axis=0, reverse=True)
        dg += (tl.exp2(tl.sum(g, axis=0)) * through)[None, :]
        dg += tl.dot((start < to).to(tl.float32), k * dk, input_precision="ieee")
        gap = tl.zeros((BLOCK_T, TILE_K), tl.float32)
        ahead = tl.zeros((1, TILE_K), tl.float32)
        for back in range(BLOCK_T):
            j = BLOCK_T - 1 - back
            here, later = to == j, to > j
            gap = tl.where(later, gap + ahead, 0.0)
            weight = tl.exp2(gap)
            ahead = tl.sum(tl.where(here, g, 0.0), axis=0)[None, :]
            key = tl.sum(tl.where(here, k, 0.0), axis=0)[None, :]
            d_column = tl.sum(tl.where(start == j, d_scores, 0.0), axis=1)[:, None]
            scores += tl.where(here, tl.sum(q * weight * key, axis=1)[None, :], 0.0)
            dq += d_column * weight * key
            ends = d_column * weight * q
            dk += tl.where(here, tl.sum(ends, axis=0)[None, :], 0.0)
            dg += tl.where(later, tl.cumsum(ends * key, axis=0, reverse=True), 0.0)
        store_rows(dq_ptr, dq, rows, inside, head, H, K, TILE_K, channel)
        store_rows(dk_ptr, dk, rows, inside, head, H, K, TILE_K, channel)
        store_rows(dg_ptr, dg, rows, inside, head, H, K, TILE_K, channel)

    scores = tl.where(start >= to, scores, 0.0).to(d_o_ptr.dtype.element_ty)
    k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K)
    until = tl.exp2(_log_decay_to_end(g_ptr, rows, left, head, H, K, BLOCK_K))
    write = (k * until).to(k.dtype)
    for first in range(0, V, BLOCK_V):
        end = load_state(ends_ptr, place, K, V, BLOCK_K, BLOCK_V, first)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V, first)
        dv = tl.dot(write, end.to(k.dtype), input_precision="ieee")
        dv += tl.dot(scores, d_o, input_precision="ieee")
        store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V, first)


@triton.jit
def _gla_pieces_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    states_ptr, ends_ptr, end_ptr, dq_ptr, dk_ptr, dv_ptr, dg_ptr, dh0_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_K: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    steps = tl.arange(0, BLOCK_T)
    place = index * (CHECKPOINT // BLOCK_T)
    # an empty sequence hands the gradient of its state on
    pieces = tl.maximum(tl.cdiv(length, CHECKPOINT), 1)
    for turn in range(pieces):
        nth = pieces - 1 - turn
        here = start + nth * CHECKPOINT
        rest = tl.minimum(length - nth * CHECKPOINT, CHECKPOINT)
        blocks = tl.cdiv(rest, BLOCK_T)
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            at = (kept + nth) * H + head
            state = load_state(starts_ptr, at, K, V, BLOCK_K, BLOCK_V, first)
            for i in tl.range(blocks, disable_licm=True):
                store_state(states_ptr, state, place + i, K, V, BLOCK_K, BLOCK_V, first)
                done = i * BLOCK_T
                state = _after_block(
                    state, k_ptr, v_ptr, g_ptr, here + done + steps, rest - done, head, first,
                    H, K, V, BLOCK_K, BLOCK_V, GROUP,
                )  # fmt: skip
            end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
            if turn > 0:
                end += load_state(end_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
            elif d_last_ptr is not None:
                end += load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
            for i in tl.range(blocks, disable_licm=True):
                before = blocks - 1 - i
                store_state(ends_ptr, end, place + before, K, V, BLOCK_K, BLOCK_V, first)
                done = before * BLOCK_T
                end = _before_block(
                    end, q_ptr, g_ptr, d_o_ptr, here + done + steps, rest - done, head, first,
                    H, K, V, BLOCK_K, BLOCK_V, GROUP,
                )  # fmt: skip
            store_state(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)
            if dh0_ptr is not None:  # noqa: SIM102
                if nth == 0:
                    store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)
        tl.debug_barrier()
        for i in tl.range(blocks, disable_licm=True):
            done = i * BLOCK_T
            _block_gradients(
                q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr,
                dq_ptr, dk_ptr, dv_ptr, dg_ptr, here + done + steps, rest - done, place + i, head,
                H, K, V, BLOCK_K, TILE_K, BLOCK_V, GROUP,
            )  # fmt: skip


class _GlaFused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, g, h0, cu_seqlens, sizes: dict[str, int], checkpoint: int):
        q, k, v, g = (each.contiguous() for each in (q, k, v, g))
        h0 = None if h0 is None else h0.contiguous()
        o, starts = torch.empty_like(v), None
        last = v.new_empty(*(sizes[axis] for axis in "SHKV"))
        ctx.launch = grid, options = _launch(sizes, checkpoint, v.dtype)
        if any(ctx.needs_input_grad):
            pieces = chunk_count(sizes, checkpoint, cu_seqlens)
            # an empty sequence has a place too
            starts = v.new_empty(max(1, pieces), *last.shape[1:])
        _gla_fused_kernel[grid](q, k, v, g, h0, cu_seqlens, o, last, starts, **options)
        ctx.save_for_backward(q, k, v, g, h0, cu_seqlens, starts)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, g, h0, cu_seqlens, starts = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        (programs, _), options = ctx.launch
        states = v.new_empty(programs, options["CHECKPOINT"] // BLOCK_T.value, *starts.shape[2:])
        end = torch.empty(programs, *starts.shape[2:], dtype=torch.float32, device=v.device)
        dq, dk, dv, dg = (torch.empty_like(each) for each in (q, k, v, g))
        dh0 = None if h0 is None else torch.empty_like(h0)
        if options["GROUP"] > 1:
            # of each head, to be summed
            dq, dk = (torch.empty_like(g, dtype=torch.float32) for _ in "qk")
        _gla_pieces_kernel[(programs,)](
            q, k, v, g, starts, d_o, d_last, cu_seqlens,
            states, torch.empty_like(states), end, dq, dk, dv, dg, dh0,
            **options | {"BLOCK_V": TILE, "TILE_K": min(options["BLOCK_K"], CHANNELS), "num_warps": 8, "num_stages": 1},
        )  # fmt: skip
        return sum_heads(dq, q), sum_heads(dk, k), dv, dg, dh0, None, None, None


def _launch(
    sizes: dict[str, int], checkpoint: int, dtype: torch.dtype
) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid and size arguments that both kernels share."""
    options = {axis: sizes[axis] for axis in "THKV"} | {"CHECKPOINT": checkpoint}
    options |= {"BLOCK_K": block(sizes["K"]), "GROUP": sizes["H"] // sizes["G"]}
    options["BLOCK_V"] = min(block(sizes["V"]), COLUMNS, STATE // options["BLOCK_K"])
    options["num_warps"] = 8 if options["BLOCK_K"] * options["BLOCK_V"] > 4096 else 4
    if dtype.itemsize > 2:
        # unless told how many registers there are, ptxas leaves half of them, and spills
        options["maxnreg"] = 255
    return (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], options["BLOCK_V"])), options


@implements(
    "gated_linear_attention",
    source="S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, ICML 2024, arXiv:2312.06635",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"checkpoint": (16, 64, 128)},
)
def gla_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = exp(g) S[t-1] + k v^T``, ``o = S^T q``; the state is float32 on chip.

    ``checkpoint`` is the number of steps between the states that the backward pass keeps. Head h
    of v and g reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1 and
    ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gla_fused, q, k, v, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=256, V=256)
    o, last = _GlaFused.apply(q, k, v, g, h0, cu_seqlens, sizes, checkpoint)
    return o, last
