# pyright: basic, reportArgumentType=false
"""Tile skip: long chunks of linear attention cut into tiles, of which the empty ones are left out.

    states    S_n = S_(n-1) + K_n^T V_n                       one program a sequence and head
    tiles     O_i = sum_j (Q_i K_j^T * M) V_j + Q_i S_(n-1)   one program a row i of tiles and head

Inside a chunk column j of tiles holds something from its own row, the first that may see it, to the
last row of its sequence: two numbers a column describe the mask, causal and packed. So row i visits
columns 0 to i and none when it lies past the end: of n^2 tiles of a full chunk n (n + 1) / 2, and
fewer where a sequence ends. ``every_tile`` visits them all and masks what it has computed; both move
the same bytes. Longer chunks leave fewer states, T / C of K V elements a head, written and read;
they pay with C / 2 scores a step.

Backwards likewise: dQ by rows of tiles, dK and dV by columns, which visit rows j to the last.
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
    chunk_of,
    first_chunk,
    load_rows,
    load_state,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements

TILE = 64
"""Steps of a tile: the rows of a product that a warpgroup computes at once."""


@implements(
    "linear_attention",
    source="G. Wang et al., FlashMask, ICLR 2025, arXiv:2410.01359",
    trick="flashmask-tile-skip",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (128, 256)},
)
def tile_skip(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(tile_skip, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    return _Tiles.apply(q, k, v, h0, cu_seqlens, sizes, chunk, True)  # noqa: FBT003


@implements(
    "linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635",
    trick="chunkwise-parallel-scan",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (128, 256)},
)
def every_tile(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """As ``tile_skip``, with every tile of every chunk computed and then masked."""
    sizes = sequence_sizes(every_tile, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    return _Tiles.apply(q, k, v, h0, cu_seqlens, sizes, chunk, False)  # noqa: FBT003


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, h0, cu_seqlens, sizes: dict[str, int], chunk, skips):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        h0 = None if h0 is None else h0.contiguous()
        chunks = chunk_count(sizes, chunk, cu_seqlens)
        ctx.options = _options(sizes, chunk, k.dtype)
        ctx.each_sequence = (sizes["S"] * sizes["H"],)
        ctx.each_tile = (chunks * (chunk // TILE), sizes["H"])
        ctx.tiles = {"S": sizes["S"], "BLOCK_S": block(sizes["S"]), "SKIPS": skips}
        states = v.new_empty(chunks, *k.shape[2:], v.shape[-1])
        o, state = torch.empty_like(v), v.new_empty(sizes["S"], *states.shape[1:])
        _states_kernel[ctx.each_sequence](
            k, v, h0, cu_seqlens, states, state, REVERSE=False, **ctx.options
        )
        _rows_kernel[ctx.each_tile](
            q, k, v, states, cu_seqlens, o, TRANSPOSED=False, **ctx.tiles, **ctx.options
        )
        ctx.save_for_backward(q, k, v, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, h0, cu_seqlens, states = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_state = None if grads[1] is None else grads[1].contiguous()
        dh0 = None if h0 is None else torch.empty_like(h0)
        later = torch.empty_like(states)
        _states_kernel[ctx.each_sequence](
            q, d_o, d_state, cu_seqlens, later, dh0, REVERSE=True, **ctx.options
        )
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # dQ is O with v for k, k for v and dO for q; its state is S^T
        turned = {**ctx.options, "K": ctx.options["V"], "V": ctx.options["K"]}
        turned |= {"BLOCK_K": ctx.options["BLOCK_V"], "BLOCK_V": ctx.options["BLOCK_K"]}
        _rows_kernel[ctx.each_tile](
            d_o, v, k, states, cu_seqlens, dq, TRANSPOSED=True, **ctx.tiles, **turned
        )
        _columns_kernel[ctx.each_tile](
            q, k, v, d_o, later, cu_seqlens, dk, dv, **ctx.tiles, **ctx.options
        )
        return dq, dk, dv, dh0, None, None, None, None


def _options(sizes: dict[str, int], chunk: int, dtype: torch.dtype) -> dict[str, int]:
    """Size arguments and launch options that all kernels share."""
    blocks = {"BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    return {
        **{axis: sizes[axis] for axis in "THKV"},
        "CHUNK": chunk,
        "BLOCK_T": TILE,
        **blocks,
        # a warpgroup, or two where the state is more than 32 numbers a thread
        "num_warps": 4 if blocks["BLOCK_K"] * blocks["BLOCK_V"] <= 32 * 128 else 8,
        # shared memory holds the next tile beside this one in half precision only
        "num_stages": 2 if dtype.itemsize == 2 else 1,
    }


@triton.jit
def _states_kernel(
    k_ptr, v_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    T, H, K, V,
    CHUNK: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, CHUNK)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if start_ptr is not None:
        state += load_state(start_ptr, index, K, V, BLOCK_K, BLOCK_V)

    chunks = tl.cdiv(length, CHUNK)
    for i in range(chunks):
        number = chunks - 1 - i if REVERSE else i
        store_state(states_ptr, state, (chunk + number) * H + head, K, V, BLOCK_K, BLOCK_V)
        for done in range(number * CHUNK, tl.minimum((number + 1) * CHUNK, length), BLOCK_T):
            steps = done + tl.arange(0, BLOCK_T)
            k = load_rows(k_ptr, start + steps, steps < length, head, H, K, BLOCK_K)
            v = load_rows(v_ptr, start + steps, steps < length, head, H, V, BLOCK_V)
            state += tl.dot(tl.trans(k), v, input_precision="ieee")
    if end_ptr is not None:
        store_state(end_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _tile_of(
    cu_seqlens_ptr, tile, T, S, BLOCK_S: tl.constexpr, CHUNK: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    """A tile's chunk, the chunk's first row, its steps to the sequence's end, the tile's first."""
    tiles: tl.constexpr = CHUNK // BLOCK_T
    chunk = tile // tiles
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, CHUNK)
    return chunk, first, tl.minimum(left, CHUNK), (tile % tiles) * BLOCK_T


@triton.jit
def _rows_kernel(
    q_ptr, k_ptr, v_ptr, states_ptr, cu_seqlens_ptr, o_ptr,
    S, T, H, K, V,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, SKIPS: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    chunk, first, left, own = _tile_of(
        cu_seqlens_ptr, tl.program_id(0), T, S, BLOCK_S, CHUNK, BLOCK_T
    )
    if SKIPS and own >= left:
        return
    steps = own + tl.arange(0, BLOCK_T)
    q = load_rows(q_ptr, first + steps, steps < left, head, H, K, BLOCK_K)
    place = chunk * H + head
    if TRANSPOSED:
        state = tl.trans(load_state(states_ptr, place, V, K, BLOCK_V, BLOCK_K))
    else:
        state = load_state(states_ptr, place, K, V, BLOCK_K, BLOCK_V)
    o = tl.dot(q, state.to(q.dtype), input_precision="ieee")

    last = own + BLOCK_T if SKIPS else CHUNK
    for column in range(0, last, BLOCK_T):
        others = column + tl.arange(0, BLOCK_T)
        k = load_rows(k_ptr, first + others, others < left, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, first + others, others < left, head, H, V, BLOCK_V)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        scores = tl.where(others[None, :] <= steps[:, None], scores, 0.0)
        o += tl.dot(scores.to(v.dtype), v, input_precision="ieee")
    store_rows(o_ptr, o, first + steps, steps < left, head, H, V, BLOCK_V)


@triton.jit
def _columns_kernel(
    q_ptr, k_ptr, v_ptr, d_o_ptr, later_ptr, cu_seqlens_ptr, dk_ptr, dv_ptr,
    S, T, H, K, V,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, SKIPS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    chunk, first, left, own = _tile_of(
        cu_seqlens_ptr, tl.program_id(0), T, S, BLOCK_S, CHUNK, BLOCK_T
    )
    if SKIPS and own >= left:
        return
    steps = own + tl.arange(0, BLOCK_T)
    k = load_rows(k_ptr, first + steps, steps < left, head, H, K, BLOCK_K)
    v = load_rows(v_ptr, first + steps, steps < left, head, H, V, BLOCK_V)
    state = load_state(later_ptr, chunk * H + head, K, V, BLOCK_K, BLOCK_V).to(k.dtype)
    dk = tl.dot(v, tl.trans(state), input_precision="ieee")
    dv = tl.dot(k, state, input_precision="ieee")

    nearest, last = (own, left) if SKIPS else (0, CHUNK)
    for row in range(nearest, last, BLOCK_T):
        others = row + tl.arange(0, BLOCK_T)
        later = others[None, :] >= steps[:, None]  # [BLOCK_T, BLOCK_T]
        q = load_rows(q_ptr, first + others, others < left, head, H, K, BLOCK_K)
        d = load_rows(d_o_ptr, first + others, others < left, head, H, V, BLOCK_V)
        # formed as they are read: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        scores = tl.where(later, tl.dot(v, tl.trans(d), input_precision="ieee"), 0.0)
        dk += tl.dot(scores.to(q.dtype), q, input_precision="ieee")
        scores = tl.where(later, tl.dot(k, tl.trans(q), input_precision="ieee"), 0.0)
        dv += tl.dot(scores.to(d.dtype), d, input_precision="ieee")
    store_rows(dk_ptr, dk, first + steps, steps < left, head, H, K, BLOCK_K)
    store_rows(dv_ptr, dv, first + steps, steps < left, head, H, V, BLOCK_V)
