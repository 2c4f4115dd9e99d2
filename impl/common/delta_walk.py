# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
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

Several heads of V may share one of Q and K, which are read where they lie. Their gradients then are
written in float32 for every head of V, read again and summed.

The columns of S, V and O do not meet, so each tile of them has its programs, which all build the
inverse and ask for q, k, beta and g. The forward pass moves everything else once. The inverse takes
4 C^3 (log2(C) - 1) multiplies and adds, thrice in half precision: long chunks pay with more of them for
fewer dependent steps, and at C = 64 for rows enough for every card's own matrix instruction.

Backwards there are two ways. With ``checkpoint`` at most C the forward pass leaves the inverse, U and
S at each start, C + V + K V / C numbers a step; a walk adds dR and G, and then all chunks are taken at
once. With more it leaves S at every ``checkpoint`` corrections, and one program a head goes over these
pieces from the right, and does for each what the other way does for all: rebuilds the inverses, U
and S, walks back, and takes the gradients, through tensors that hold one piece. It moves little but
what must be moved, in as few programs as there are heads.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.delta_chunks import (
    PART,
    after_chunk,
    chunk_at,
    chunk_gradients,
    chunk_inverse,
    corrections,
    decays_since,
    products,
    query_rows,
    read_between,
    store_inverses,
    walk_chunks,
    walk_chunks_back,
)
from impl.common.heads import sum_heads
from impl.common.sequences import (
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_chunk,
    load_tile,
    span,
    store_chunk,
    store_tile,
)

WIDEST = 256
"""Largest K and V."""
WIDE = 128
"""K up to which a program holds as many columns of V; past it, half."""
TILE, NARROW = 32, 16
"""Columns of the state to a program, and rows to its gradients: the fewer in chunks of less than 64 steps."""


def delta_walk(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int, checkpoint: int,
    inverse: str = "doubling", forwards: Callable[..., None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state of the delta rule, gated when there is a ``g``.

    ``sizes["R"]`` corrections a token, one where it is absent, at most ``chunk`` and, with ``g``, one.
    ``inverse`` is a method of ``unit_lower_inverse``. ``forwards`` may stand in for
    ``walk_forwards``: it is handed the same and fills the same. Without one, a chunk of float32 has
    at most 16 steps: more spill registers.
    """
    if forwards is None and v.dtype.itemsize > 2:
        chunk = min(chunk, 16)
    grid, meta = _launch(sizes, chunk)
    pieces = {"INVERSE": inverse, "EVERY": max(1, checkpoint // chunk)}
    forwards = forwards or walk_forwards
    return _Walk.apply(q, k, v, beta, g, h0, cu_seqlens, sizes, grid, meta, pieces, forwards)  # pyright: ignore[reportReturnType]


def walk_forwards(
    tensors: tuple[Tensor | None, ...], grid: tuple[int, int], meta: dict[str, Any]
) -> None:
    """Fill ``o`` and the last state, and what a backward pass needs where it is not None."""
    _delta_walk_kernel[grid](*tensors, **meta)


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q, k, v, beta, g, h0, cu_seqlens, sizes: dict[str, int], grid, meta, pieces, forwards
    ):  # fmt: skip
        q, k, v, beta = (x.contiguous() for x in (q, k, v, beta))
        g, h0 = (None if x is None else x.contiguous() for x in (g, h0))
        o = v.new_empty(*q.shape[:2], *v.shape[-2:])
        last = v.new_empty(*(sizes[axis] for axis in "SHKV"))
        inverse = u = starts = None
        if any(ctx.needs_input_grad):
            tokens = meta["BLOCK_T"] // meta["R"]
            count = chunk_count(sizes, pieces["EVERY"] * tokens, cu_seqlens)
            # of pieces, an empty sequence has one too
            least = 0 if pieces["EVERY"] == 1 else 1
            starts = v.new_empty(max(least, count), *last.shape[1:])
            if pieces["EVERY"] == 1:
                inverse, u = v.new_empty(*beta.shape, meta["BLOCK_T"]), torch.empty_like(v)
        forwards(
            (q, k, v, beta, g, h0, cu_seqlens, o, last, inverse, u, starts), grid, meta | pieces
        )
        ctx.save_for_backward(q, k, v, beta, g, h0, cu_seqlens, inverse, u, starts)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.grid, ctx.meta, ctx.pieces = sizes, grid, meta, pieces
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, beta, g, h0, *_ = ctx.saved_tensors
        d_o, d_last = grads
        d_o = v.new_zeros(*q.shape[:2], *v.shape[-2:]) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        found = [None if x is None else torch.empty_like(x) for x in (q, k, v, beta, g, h0)]
        if ctx.meta["GROUP"] > 1:
            # of each head, to be summed
            found[:2] = (_of_each_head(x, ctx.sizes["H"]) for x in (q, k))
        backwards = _together if ctx.pieces["EVERY"] == 1 else _piecewise
        backwards(ctx, d_o, d_last, found)
        dq, dk = sum_heads(found[0], q), sum_heads(found[1], k)
        return dq, dk, *found[2:], None, None, None, None, None, None


def _of_each_head(x: Tensor, heads: int) -> Tensor:
    return x.new_empty(*x.shape[:-2], heads, x.shape[-1], dtype=torch.float32)


def _together(ctx: Any, d_o: Tensor, d_last: Tensor | None, found: list[Tensor | None]) -> None:
    """Fill the gradients from all that was kept: a walk, then every chunk at once."""
    q, k, v, beta, g, _, cu_seqlens, inverse, u, starts = ctx.saved_tensors
    dr, ends = torch.empty_like(v), torch.empty_like(starts)
    _delta_reverse_walk_kernel[ctx.grid](
        q, k, beta, g, inverse, d_o, d_last, cu_seqlens, dr, ends, found[-1], **ctx.meta
    )
    _delta_gradients_kernel[(len(starts), ctx.sizes["H"])](
        q, k, v, beta, g, u, starts, d_o, dr, ends, cu_seqlens, *found[:-1],
        ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]),
        TILE_K=ctx.meta["BLOCK_V"], **ctx.meta,
    )  # fmt: skip


def _piecewise(ctx: Any, d_o: Tensor, d_last: Tensor | None, found: list[Tensor | None]) -> None:
    """Fill the gradients from a few states: a program a head, piece after piece from the right."""
    q, k, v, beta, g, _, cu_seqlens, _, _, starts = ctx.saved_tensors
    chunk, every, heads = ctx.meta["BLOCK_T"], ctx.pieces["EVERY"], ctx.sizes["H"]
    inverse = v.new_empty(ctx.sizes["S"], every * chunk, heads, chunk)
    u = v.new_empty(*inverse.shape[:-1], v.shape[-1])
    states = v.new_empty(ctx.sizes["S"], every, *starts.shape[1:])
    end = torch.empty_like(states[:, 0], dtype=torch.float32)
    _delta_pieces_kernel[(ctx.grid[0],)](
        q, k, v, beta, g, starts, d_o, d_last, cu_seqlens,
        inverse, u, torch.empty_like(u), states, torch.empty_like(states), end, *found,
        TILE_K=ctx.meta["BLOCK_V"], **ctx.meta, **ctx.pieces,
    )  # fmt: skip


def _launch(sizes: dict[str, int], chunk: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid of both walks, and the size arguments that all kernels share."""
    meta = {axis: sizes[axis] for axis in "THKV"} | {"R": sizes.get("R", 1)}
    # heads of v that share one of q and k
    meta |= {"GROUP": sizes["H"] // sizes.get("G", sizes["H"])}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"])}
    narrow = chunk < 2 * TILE or meta["BLOCK_K"] > WIDE
    meta |= {"BLOCK_V": min(block(sizes["V"]), NARROW if narrow else TILE)}
    # loads ahead of their use cost the registers that the chunk needs
    meta |= {"num_warps": 8, "num_stages": 1}
    # unless told how many registers there are, ptxas leaves most of them in float32, and spills
    meta |= {"maxnreg": 255 if narrow else None}
    return (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], meta["BLOCK_V"])), meta


@triton.jit
def _delta_walk_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, u_ptr, starts_ptr,
    T, H, K, V,
    INVERSE: tl.constexpr, EVERY: tl.constexpr,
    R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    BLOCK_Q: tl.constexpr = query_rows(R, BLOCK_T)
    TOKENS: tl.constexpr = BLOCK_T // R
    piece = first_chunk(cu_seqlens_ptr, index // H, T, EVERY * TOKENS)
    group, groups = head // GROUP, H // GROUP
    part: tl.constexpr = BLOCK_K if BLOCK_K < PART else PART
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_tile(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)

    for done in tl.range(0, length, TOKENS, disable_licm=True):
        token, tokens, row, left = chunk_at(start, done, length, R, BLOCK_T)
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * TOKENS) == 0:
                place = (piece + done // (EVERY * TOKENS)) * H + head
                store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        # the inverse before all else, so that little but the state is held meanwhile
        inverse = chunk_inverse(
            k_ptr, beta_ptr, g_ptr, row, left, head, H, K, INVERSE, BLOCK_T, BLOCK_K, GROUP
        )
        if inverse_ptr is not None:
            # of all tiles alike
            once = tl.where(first == 0, left, 0)
            store_chunk(inverse_ptr, inverse, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        tl.debug_barrier()
        u = corrections(
            state, inverse, k_ptr, v_ptr, beta_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
        if inverse_ptr is not None:
            store_chunk(u_ptr, u, row, left, head, H, V, BLOCK_T, BLOCK_V, first)

        tl.debug_barrier()
        q = load_chunk(q_ptr, token, tokens, group, groups, K, BLOCK_Q, BLOCK_K)
        since = decays_since(g_ptr, row, left, head, H, BLOCK_Q)
        o = tl.dot(q, state.to(q.dtype), input_precision="ieee") * since[:, None]
        tl.debug_barrier()
        scores = products(
            q_ptr, token, tokens, k_ptr, row, left, group, groups, K, BLOCK_Q, BLOCK_T, part
        )
        between = read_between(g_ptr, row, left, head, H, R, BLOCK_T)
        o = tl.dot((scores * between).to(q.dtype), u, o, input_precision="ieee")
        store_chunk(o_ptr, o, token, tokens, head, H, V, BLOCK_Q, BLOCK_V, first)
        tl.debug_barrier()
        state = after_chunk(state, u, k_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
    store_tile(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, 0, first)


@triton.jit
def _delta_reverse_walk_kernel(
    q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dr_ptr, ends_ptr, dh0_ptr,
    T, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    place = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T // R) * H + head
    end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if d_last_ptr is not None:
        end += load_tile(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
    end = walk_chunks_back(
        end, q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, dr_ptr, ends_ptr,
        start, length, place, 0, head, first, H, K, V,
        R, BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
    )  # fmt: skip
    if dh0_ptr is not None:
        store_tile(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)


@triton.jit
def _delta_gradients_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    S, T, H, K, V,
    R: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T // R)
    chunk_gradients(
        q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
        dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
        start, 0, left, chunk * H + head, 0, head, H, K, V,
        R, BLOCK_T, TILE_K, BLOCK_V, GROUP,
    )  # fmt: skip


@triton.jit
def _delta_pieces_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    inverse_ptr, u_ptr, dr_ptr, states_ptr, ends_ptr, end_ptr,
    dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr, dh0_ptr,
    T, H, K, V,
    INVERSE: tl.constexpr, EVERY: tl.constexpr,
    R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    tokens: tl.constexpr = BLOCK_T // R
    piece_tokens: tl.constexpr = EVERY * tokens
    piece = first_chunk(cu_seqlens_ptr, sequence, T, piece_tokens)
    place = sequence * EVERY * H + head
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
        if d_last_ptr is not None:
            end += load_tile(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
        store_tile(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
    # an empty sequence hands the gradient of its state on
    pieces = tl.maximum(tl.cdiv(length, piece_tokens), 1)
    for i in tl.range(pieces, disable_licm=True):
        # a remainder, which changes nothing, keeps compilers from stepping every address: they spill
        number = (pieces - 1 - i) % pieces
        here = start + number * piece_tokens
        left = tl.minimum(length - number * piece_tokens, piece_tokens)
        shift = sequence.to(tl.int64) * EVERY * BLOCK_T - here * R
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        store_inverses(
            k_ptr, beta_ptr, g_ptr, inverse_ptr, here, left, shift, head, H, K,
            INVERSE, R, BLOCK_T, BLOCK_K, GROUP,
        )  # fmt: skip
        tl.debug_barrier()
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            at = (piece + number) * H + head
            state = load_tile(starts_ptr, at, K, V, BLOCK_K, BLOCK_V, 0, first).to(tl.float32)
            walk_chunks(
                state, k_ptr, v_ptr, beta_ptr, g_ptr, inverse_ptr, u_ptr, states_ptr,
                here, left, place, shift, head, first, H, K, V,
                R, BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
            )  # fmt: skip
            end = load_tile(end_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
            end = walk_chunks_back(
                end, q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, dr_ptr, ends_ptr,
                here, left, place, shift, head, first, H, K, V,
                R, BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
            )  # fmt: skip
            store_tile(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
            if dh0_ptr is not None:  # noqa: SIM102
                if number == 0:
                    store_tile(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
        tl.debug_barrier()
        for done in tl.range(0, left, tokens, disable_licm=True):
            chunk_gradients(
                q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, states_ptr, d_o_ptr, dr_ptr, ends_ptr,
                dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
                here, done, left, place + done // tokens * H, shift, head, H, K, V,
                R, BLOCK_T, TILE_K, BLOCK_V, GROUP,
            )  # fmt: skip
