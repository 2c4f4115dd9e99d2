# pyright: basic, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Block-semiseparable form on chip: the blocks of a chunk composed by products, the state kept there.

A block of Q steps moves the state by S -> S - K^T W S + K^T Y, from a small system of its own,

    [W | Y] = (I + A)^-1 diag(beta) [K | V],   A = diag(beta) K K^T below the diagonal.

Two blocks behind one another are one of twice the steps, whose second half has met the first,

    [W | Y] <- [W | Y] - (W K^T, between the two) [W | Y],

so that log2(C / Q) such products make a chunk of C steps of C / Q blocks, all pairs at once. Then

    U = Y - W S,   O = Q S + tril(Q K^T) U,   S <- S + K^T U.

A transition stays in its factors: K^T W, of rank C, would be K^2 numbers for every block. Only
U waits for the state, through one product, where the inverse of a whole chunk has two. Against that
inverse, 4 C^3 (log2(C) - 1) multiplies and adds, it has 4 C^3 (log2(Q) - 1) and 2 C^2 (2 K + V) for
each doubling of the blocks, and W, 2 C^2 K. A wide W does not fit beside the state: above K = 128 the
C x C weights of W are composed in its place, W is multiplied out where it meets K^T, part by part, and
at the end, with 2 C^3 in place of 2 C^2 V a doubling. Forwards it reads every input once and writes every output once.
V is cut into columns for programs of their own, which all compute W; backwards it is the walk.
"""

import functools
from typing import Any

import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.delta_chunks import PART, products
from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import (
    at_most,
    first_chunk,
    load_chunk,
    load_state,
    load_steps,
    sequence_sizes,
    span,
    store_chunk,
    store_state,
    store_tile,
)
from impl.common.sequences import (
    block as block_of,
)
from impl.common.unit_lower import doubled_inverse
from impl.registry import implements

WIDE = tl.constexpr(128)
"""Most channels of W that are held beside the state."""
COLUMNS = 64
"""Of V to a program: a float32 state of 128 x 64 is an eighth of a multiprocessor's registers."""


@implements(
    "delta_rule",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060; S. Yang et al., NeurIPS 2024,"
    " arXiv:2406.06484",
    trick="semiseparable-block-decomposition",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (32, 64), "checkpoint": (16, 128, 256), "block": (8, 16)},
)
def ssd_block_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
    checkpoint: int = 256,
    block: int = 16,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; the state is float32 on chip.

    ``block`` divides ``chunk``. Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``,
    which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(ssd_block_fused, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    forwards = functools.partial(_blocks_forwards, steps=block)
    return delta_walk(
        q, k, v, beta, None, h0, cu_seqlens, sizes, chunk, checkpoint, forwards=forwards
    )


def _blocks_forwards(
    tensors: tuple[Tensor | None, ...], grid: tuple[int, int], meta: dict[str, Any], steps: int
) -> None:
    """Fills what ``walk_forwards`` fills."""
    q, k, v, beta, _, *rest = tensors
    wide = meta["BLOCK_K"] > WIDE.value
    columns = meta["BLOCK_V"] if wide else min(block_of(meta["V"]), COLUMNS)
    _ssd_block_kernel[(grid[0], triton.cdiv(meta["V"], columns))](
        q, k, v, beta, *rest, *(meta[axis] for axis in "THKV"),
        EVERY=meta["EVERY"], BLOCK=steps, BLOCK_T=meta["BLOCK_T"], BLOCK_K=meta["BLOCK_K"], BLOCK_V=columns,
        GROUP=meta["GROUP"], maxnreg=meta["maxnreg"], num_warps=8, num_stages=1,
    )  # fmt: skip


@triton.jit
def _block_inverses(below, beta, dtype: tl.constexpr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr):
    """``(I + A)^-1`` of each block from all products of keys."""
    steps = tl.arange(0, BLOCK_T)
    below = tl.where(steps[:, None] > steps[None, :], below * beta[:, None], 0.0)
    # on matrix cores where the result is rounded to half precision
    precision: tl.constexpr = "ieee" if dtype == tl.float32 else "halves"
    return doubled_inverse(below, precision, BLOCK, BLOCK_T)


@triton.jit
def _between(met, size, BLOCK_T: tl.constexpr):
    """What a second block of ``size`` steps met of the first before it; zero elsewhere."""
    steps = tl.arange(0, BLOCK_T)
    i, j = steps[:, None], steps[None, :]
    return tl.where((i > j) & ((i // size) ^ (j // size) == 1), met, 0.0)


@triton.jit
def _composed(k, v, beta, inverse_ptr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr):
    """W and Y of the chunk, and the inverse where one is stored."""
    dtype = k.dtype
    below = tl.dot(k, tl.trans(k), input_precision="ieee")
    inverse = _block_inverses(below, beta, dtype, BLOCK, BLOCK_T)
    weights = (inverse * beta[None, :]).to(dtype)
    w = tl.dot(weights, k, input_precision="ieee")
    y = tl.dot(weights, v, input_precision="ieee")
    size = BLOCK
    while size < BLOCK_T:
        met = tl.dot(w.to(dtype), tl.trans(k), input_precision="ieee")
        met = _between(met, size, BLOCK_T).to(dtype)
        w -= tl.dot(met, w.to(dtype), input_precision="ieee")
        y -= tl.dot(met, y.to(dtype), input_precision="ieee")
        if inverse_ptr is not None:
            inverse -= tl.dot(met, inverse.to(dtype), input_precision="ieee")
        size *= 2
    return w, y, inverse


@triton.jit
def _composed_weights(
    k_ptr, beta, row, left, group, groups, K, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    """The inverse of the chunk, from the W of its blocks part by part."""
    dtype: tl.constexpr = k_ptr.dtype.element_ty
    below = products(k_ptr, row, left, k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_T, PART)
    inverse = _block_inverses(below, beta, dtype, BLOCK, BLOCK_T)
    size = BLOCK
    while size < BLOCK_T:
        weights = (inverse * beta[None, :]).to(dtype)
        met = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
        for channel in tl.range(0, K, PART, disable_licm=True):
            k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, PART, channel)
            w = tl.dot(weights, k, input_precision="ieee").to(dtype)
            met += tl.dot(w, tl.trans(k), input_precision="ieee")
        met = _between(met, size, BLOCK_T).to(dtype)
        inverse -= tl.dot(met, inverse.to(dtype), input_precision="ieee")
        size *= 2
    return inverse


@triton.jit
def _ssd_block_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, u_ptr, starts_ptr,
    T, H, K, V,
    EVERY: tl.constexpr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    group, groups = head // GROUP, H // GROUP
    start, length = span(cu_seqlens_ptr, index // H, T)
    piece = first_chunk(cu_seqlens_ptr, index // H, T, EVERY * BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    i, j = steps[:, None], steps[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = start + done, length - done
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * BLOCK_T) == 0:
                place = (piece + done // (EVERY * BLOCK_T)) * H + head
                store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        beta = load_steps(beta_ptr, row, left, head, H, BLOCK_T)
        v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dtype = v.dtype
        if BLOCK_K <= WIDE:
            k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
            w, y, inverse = _composed(k, v, beta, inverse_ptr, BLOCK, BLOCK_T)
        else:
            inverse = _composed_weights(k_ptr, beta, row, left, group, groups, K, BLOCK, BLOCK_T)
            weights = (inverse * beta[None, :]).to(dtype)
            tl.debug_barrier()
            k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
            w = tl.dot(weights, k, input_precision="ieee")
            y = tl.dot(weights, v, input_precision="ieee")
        u = (y - tl.dot(w.to(dtype), state.to(dtype), input_precision="ieee")).to(dtype)
        if inverse_ptr is not None:
            # the same for all columns of V
            once = tl.where(first == 0, left, 0)
            store_chunk(inverse_ptr, inverse, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            store_chunk(u_ptr, u, row, left, head, H, V, BLOCK_T, BLOCK_V, first)

        if BLOCK_K <= WIDE:
            q = load_chunk(q_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        else:
            # k again rather than held in the layout of a product
            tl.debug_barrier()
            scores = products(
                q_ptr, row, left, k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_T, PART
            )
            tl.debug_barrier()
            q = load_chunk(q_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
            k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
        scores = tl.where(i >= j, scores, 0.0)
        o = tl.dot(q, state.to(dtype), input_precision="ieee")
        o += tl.dot(scores.to(dtype), u, input_precision="ieee")
        store_chunk(o_ptr, o, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        state += tl.dot(tl.trans(k), u, input_precision="ieee")
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, first)
