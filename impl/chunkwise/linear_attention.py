# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Chunkwise linear attention as two kernels: the states of all chunks, then all outputs at once.

    states    S_i = S_(i-1) + K_i^T V_i       one program a sequence, head and tile, chunk after chunk
    outputs   O_i = (Q_i K_i^T * M) V_i + Q_i S_(i-1)       one program a chunk, head and tile

The second kernel has no order to keep, so it fills a GPU however few the sequences are. It pays
with the T / C states of K V elements a head, written, kept for the backward pass and read again, and
with k and v read twice. Backwards likewise: the states kernel runs from the right on q and dO and
leaves G_i = sum of q d^T over the later chunks, then one kernel computes, for every chunk at once,

    dQ = (D V^T * M) K + D S^T,   dK = (V D^T * M^T) Q + V G^T,   dV = (K Q^T * M^T) D + K G.

States pass through HBM in the dtype of the inputs, as the products would round them anyway. Tiles are
of 128 columns of K and of V: a wider state has several, of which each asks for its rows of k, q and v
as well. Where heads of v share one of q and k, dq and dk are written in float32 for every head, read
and summed. Float32 operands are multiplied as such, outside the tensor cores.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.heads import sum_heads
from impl.common.linear_attention_walk import WIDEST, from_state, products
from impl.common.sequences import (
    at_most,
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_rows,
    load_tile,
    sequence_sizes,
    span,
    store_rows,
    store_tile,
)
from impl.registry import implements

TILE = 128
"""Columns of K and of V that one program holds of a state."""


@implements(
    "linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635",
    trick="chunkwise-parallel-scan",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64)},
)
def linear_attention(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is summed in float32.

    Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1
    and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(linear_attention, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return _Pair.apply(q, k, v, h0, cu_seqlens, sizes, chunk)


class _Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, h0, cu_seqlens, sizes: dict[str, int], chunk: int):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        h0 = None if h0 is None else h0.contiguous()
        chunks = chunk_count(sizes, chunk, cu_seqlens)
        ctx.options = _options(sizes, chunk, k.dtype)
        tiles = [triton.cdiv(sizes[axis], ctx.options[f"BLOCK_{axis}"]) for axis in "VK"]
        ctx.each_tile, ctx.each_chunk = (sizes["S"] * sizes["H"], *tiles), (chunks, sizes["H"])
        ctx.search = {"S": sizes["S"], "BLOCK_S": block(sizes["S"])}
        o, state = torch.empty_like(v), v.new_empty(*(sizes[axis] for axis in "SHKV"))
        states = v.new_empty(chunks, *state.shape[1:])
        _states_kernel[ctx.each_tile](
            k, v, h0, cu_seqlens, states, state, REVERSE=False, **ctx.options
        )
        _outputs_kernel[(*ctx.each_chunk, tiles[0])](
            q, k, v, states, cu_seqlens, o, **ctx.search, **ctx.options
        )
        ctx.save_for_backward(q, k, v, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, h0, cu_seqlens, states = ctx.saved_tensors
        d_o, d_state = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_state = None if d_state is None else d_state.contiguous()
        dh0 = None if h0 is None else torch.empty_like(h0)
        later = torch.empty_like(states)
        _states_kernel[ctx.each_tile](
            q, d_o, d_state, cu_seqlens, later, dh0, REVERSE=True, **ctx.options
        )
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        if ctx.options["GROUP"] > 1:
            # of each head, to be summed
            dq, dk = (q.new_empty(*v.shape[:3], q.shape[3], dtype=torch.float32) for _ in "qk")
        _gradients_kernel[ctx.each_chunk](
            q, k, v, d_o, states, later, cu_seqlens, dq, dk, dv, **ctx.search, **ctx.options
        )
        return sum_heads(dq, q), sum_heads(dk, k), dv, dh0, None, None, None


def _options(sizes: dict[str, int], chunk: int, dtype: torch.dtype) -> dict[str, int]:
    """Size arguments and launch options that all three kernels share."""
    blocks = {f"BLOCK_{axis}": min(block(sizes[axis]), TILE) for axis in "KV"}
    return {
        **{axis: sizes[axis] for axis in "THKV"},
        # heads of v that share one of q and k
        "GROUP": sizes["H"] // sizes["G"],
        "BLOCK_T": chunk,
        **blocks,
        # a warpgroup, or two where the state is more than 32 numbers a thread
        "num_warps": 4 if blocks["BLOCK_K"] * blocks["BLOCK_V"] <= 32 * 128 else 8,
        # shared memory holds the next chunk beside this one in half precision only
        "num_stages": 2 if dtype.itemsize == 2 else 1,
    }


@triton.jit
def _states_kernel(
    k_ptr, v_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    index, first, channel = tl.program_id(0), tl.program_id(1) * BLOCK_V, tl.program_id(2) * BLOCK_K
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if start_ptr is not None:
        state += load_tile(start_ptr, index, K, V, BLOCK_K, BLOCK_V, channel, first)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        number = chunks - 1 - i if REVERSE else i
        place = (chunk + number) * H + head
        store_tile(states_ptr, state, place, K, V, BLOCK_K, BLOCK_V, channel, first)
        steps = number * BLOCK_T + tl.arange(0, BLOCK_T)
        rows, inside = start + steps, steps < length
        k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        state += tl.dot(tl.trans(k), v, input_precision="ieee")
    if end_ptr is not None:
        store_tile(end_ptr, state, index, K, V, BLOCK_K, BLOCK_V, channel, first)


@triton.jit
def _outputs_kernel(
    q_ptr, k_ptr, v_ptr, states_ptr, cu_seqlens_ptr, o_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    chunk, head, first = tl.program_id(0), tl.program_id(1), tl.program_id(2) * BLOCK_V
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = start + steps, steps < left
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    scores = products(q_ptr, k_ptr, start, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
    o = tl.dot(tl.where(past, scores, 0.0).to(v.dtype), v, input_precision="ieee")
    for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
        q = load_rows(q_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
        state = load_tile(states_ptr, chunk * H + head, K, V, BLOCK_K, BLOCK_V, channel, first)
        o += tl.dot(q, state.to(q.dtype), input_precision="ieee")
    store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V, first)


@triton.jit
def _gradients_kernel(
    q_ptr, k_ptr, v_ptr, d_o_ptr, states_ptr, later_ptr, cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps, index = tl.arange(0, BLOCK_T), chunk * H + head
    rows, inside = start + steps, steps < left
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    later = steps[None, :] >= steps[:, None]  # [BLOCK_T, BLOCK_T]

    scores = products(d_o_ptr, v_ptr, start, left, head, H, V, BLOCK_T, BLOCK_V)
    scores = tl.where(past, scores, 0.0).to(q_ptr.dtype.element_ty)
    for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
        k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
        dq = tl.dot(scores, k, input_precision="ieee")
        dq += from_state(
            d_o_ptr, states_ptr, index, start, left, head, H, K, V, channel,
            BLOCK_T, BLOCK_K, BLOCK_V, 0,
        )  # fmt: skip
        store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K, channel)

    # formed anew, not transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
    scores = products(v_ptr, d_o_ptr, start, left, head, H, V, BLOCK_T, BLOCK_V)
    scores = tl.where(later, scores, 0.0).to(q_ptr.dtype.element_ty)
    for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
        q = load_rows(q_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
        dk = tl.dot(scores, q, input_precision="ieee")
        dk += from_state(
            v_ptr, later_ptr, index, start, left, head, H, K, V, channel,
            BLOCK_T, BLOCK_K, BLOCK_V, 0,
        )  # fmt: skip
        store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K, channel)

    scores = products(k_ptr, q_ptr, start, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
    scores = tl.where(later, scores, 0.0).to(q_ptr.dtype.element_ty)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        d = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V, first)
        dv = tl.dot(scores, d, input_precision="ieee")
        for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
            k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
            state = load_tile(later_ptr, index, K, V, BLOCK_K, BLOCK_V, channel, first)
            dv += tl.dot(k, state.to(k.dtype), input_precision="ieee")
        store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V, first)
