# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""Diagonal plus rank one on chip: a program walks the chunks of a head, its state in registers.

A step is S <- diag(exp(g)) S + b u^T + k v^T, where u corrects what r recalls. In the generalised rule
r recalls from the state before it decays, u = -S^T r, and b = rate * r. Where the removal is tied to
the write there is no k v^T: r recalls after the decay, u = v - S^T r, and its rate is one number a step.
With D[i, j] the decays, a number a channel, over the steps behind j up to i, c[i] those from the start
of a chunk up to i, D' and c' the same up to where r recalls, before i or, where tied, D and c, with
e[j] the decays behind j up to the end of the chunk and w those of all of it,

    A[i, j] = sum_d r[i, d] D'[i, j, d] b[j, d],   F[i, j] = ... k[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] b[j, d],    W[i, j] = ... k[j, d]    for i >= j

come a halving at a time (``impl/common/halved_decays.py``) and give, V in place of -F V where the write
is tied,

    U = (I + A)^-1 (-(c' * r) S - F V)
    O = (c * q) S + P U + W V,   S <- diag(w) S + (e * b)^T U + (e * k)^T V

No exponent is above 0. Backwards dO and the gradient G of the state at the end of a chunk give, in a
walk from the right,

    dU = P^T dO + (e * b) G,   dR = (I + A)^-T dU,   dV = W^T dO - F^T dR + (e * k) G
    G <- diag(w) G + (c * q)^T dO - (c' * r)^T dR

(dV = dR where tied), and what remains depends on nothing outside its chunk: dP = dO U^T, dA = -dR U^T,
dW = dO V^T and dF = -dR V^T lead to the keys, halving by halving and some channels at a time. The
gradient of g sums the paths over each step; the difference of q dq and k dk would cancel.

Where tied, several heads of v may share one of q and k, which are read where they lie. Their gradients
then are written in float32 for every head of v, read again and summed.

The columns of S, V and O do not meet, so each tile of them has its programs, which all build the
triangles and ask for q, the keys and g. The forward pass moves everything else once. A triangle takes
2 C^2 K (1 + 3 log2(C)) multiplies and adds, and the inverse 12 C^3 (log2(C) - 1) in half precision: a
chunk of 64 steps does about six times the work of four of 16, for a quarter of the dependent steps and
rows enough for every card's own matrix instruction. Backwards there are two ways. With ``checkpoint`` at most the chunk the forward pass leaves U, the triangles and S at each
start; a walk adds dR and G, and then all chunks are taken at once. With more it leaves S at every
``checkpoint`` steps, and one program a head goes over these pieces from the right, and does for each what
the other way does for all, through tensors that hold one piece.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.dplr_chunks import (
    after_chunk,
    chunk_gradients,
    corrections,
    decayed_rows,
    product,
    readings,
    recalls_of_writes,
    removal_inverse,
    store_triangles,
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
NARROW = 16
"""Most steps of a chunk in float32: more spill registers."""
COLUMNS, STATE = 64, 64 * 64
"""Columns of V that a program has forwards, half of them if not tied, and numbers of the state."""
TILE = 32
"""Columns of the state that a program has backwards, and rows that gradients take at a time."""


def dplr_walk(
    q: Tensor, k: Tensor, v: Tensor, kappa: Tensor | None, rate: Tensor, g: Tensor,
    h0: Tensor | None, cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int, checkpoint: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state; without ``kappa`` the removal is tied to the write.

    A backward pass keeps a state every ``checkpoint`` steps and makes the others again, in one launch
    of a program a sequence and head; with at most ``chunk`` it keeps every chunk's, and chunks run side by
    side. In float32 a chunk has at most 16 steps.
    """
    if checkpoint > chunk and checkpoint % chunk:
        raise ValueError(f"checkpoint={checkpoint}, want a multiple of chunk={chunk}")
    chunk = min(chunk, NARROW) if v.dtype.itemsize > 2 else chunk
    r, written = (k, None) if kappa is None else (kappa, k)
    return _Walk.apply(q, r, rate, written, v, g, h0, cu_seqlens, sizes, chunk, checkpoint)  # pyright: ignore[reportReturnType]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q, r, rate, k, v, g, h0, cu_seqlens, sizes: dict[str, int], chunk: int, checkpoint: int
    ):  # fmt: skip
        q, r, rate, v, g = (x.contiguous() for x in (q, r, rate, v, g))
        k, h0 = (None if x is None else x.contiguous() for x in (k, h0))
        o, last = torch.empty_like(v), v.new_empty(*(sizes[axis] for axis in "SHKV"))
        every = max(1, checkpoint // chunk)
        starts, kept = None, (None,) * 5
        if any(ctx.needs_input_grad):
            pieces = chunk_count(sizes, every * chunk, cu_seqlens)
            # of pieces, an empty sequence has one too
            starts = v.new_empty(max(0 if every == 1 else 1, pieces), *last.shape[1:])
            if every == 1:
                kept = _kept(v, v.shape[:-1], chunk, tied=k is None)
        grid, meta = _launch(sizes, chunk, COLUMNS if k is None else COLUMNS // 2)
        _dplr_walk_kernel[grid](
            q, r, rate, k, v, g, h0, cu_seqlens, o, last, starts, *kept, EVERY=every, **meta
        )
        ctx.save_for_backward(q, r, rate, k, v, g, h0, cu_seqlens, starts, *kept)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.chunk, ctx.every = sizes, chunk, every
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, r, rate, k, v, g, h0, *_ = ctx.saved_tensors
        d_o, d_last = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        found = [None if x is None else torch.empty_like(x) for x in (q, r, rate, k, v, g, h0)]
        if q.shape != g.shape:
            # of each head, to be summed
            found[:2] = (torch.empty_like(g, dtype=torch.float32) for _ in "qr")
        backwards = _together if ctx.every == 1 else _piecewise
        backwards(ctx, d_o, d_last, found)
        dq, dr = sum_heads(found[0], q), sum_heads(found[1], r)
        return dq, dr, *found[2:], None, None, None, None


def _together(ctx: Any, d_o: Tensor, d_last: Tensor | None, found: list[Tensor | None]) -> None:
    """Fill the gradients from all that was kept: a walk, then every chunk at once."""
    q, r, rate, k, v, g, _, cu_seqlens, starts, u, *triangles = ctx.saved_tensors
    dq, dr_keys, drate, dk, dv, dg, dh0 = found
    # where tied, dR is the gradient of v
    dr, dv = (dv, None) if k is None else (torch.empty_like(v), dv)
    ends = torch.empty_like(starts)
    grid, meta = _launch(ctx.sizes, ctx.chunk, min(TILE, ctx.chunk))
    _dplr_reverse_walk_kernel[grid](
        q, r, rate, k, g, *triangles, d_o, d_last, cu_seqlens, dr, dv, ends, dh0, **meta
    )
    meta.pop("BLOCK_K")
    of_triangles = (None if x is None else torch.empty_like(x) for x in triangles)
    _dplr_gradients_kernel[(len(starts), ctx.sizes["H"])](
        q, r, rate, k, v, g, u, starts, d_o, dr, ends, cu_seqlens, *of_triangles, dq, dr_keys, drate, dk, dg,
        ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]),
        TILE_K=meta["BLOCK_V"], **meta,
    )  # fmt: skip


def _piecewise(ctx: Any, d_o: Tensor, d_last: Tensor | None, found: list[Tensor | None]) -> None:
    """Fill the gradients from a few states: a program a head, piece after piece from the right."""
    q, r, rate, k, v, g, _, cu_seqlens, starts, *_ = ctx.saved_tensors
    sequences, heads = ctx.sizes["S"], ctx.sizes["H"]
    rows = sequences, ctx.every * ctx.chunk, heads
    u, *triangles = _kept(v, rows, ctx.chunk, tied=k is None)
    states = v.new_empty(sequences, ctx.every, *starts.shape[1:])
    end = torch.empty_like(states[:, 0], dtype=torch.float32)
    _, meta = _launch(ctx.sizes, ctx.chunk, min(TILE, ctx.chunk))
    _dplr_pieces_kernel[(sequences * heads,)](
        q, r, rate, k, v, g, starts, d_o, d_last, cu_seqlens,
        *triangles, u, torch.empty_like(u), states, torch.empty_like(states), end, *found,
        EVERY=ctx.every, TILE_K=meta["BLOCK_V"], **meta,
    )  # fmt: skip


def _kept(v: Tensor, rows: Any, chunk: int, *, tied: bool) -> tuple[Tensor | None, ...]:
    """Room for U and for the triangles of every step, two of them where tied."""
    triangles = v.new_empty(2 if tied else 4, *rows, chunk).unbind()
    return v.new_empty(*rows, v.shape[-1]), *triangles, *((None,) * (4 - len(triangles)))


def _launch(
    sizes: dict[str, int], chunk: int, columns: int
) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid of a walk, and the size arguments that all kernels share."""
    meta: dict[str, Any] = {axis: sizes[axis] for axis in "THKV"}
    # heads of v that share one of q and k
    meta |= {"GROUP": sizes["H"] // sizes.get("G", sizes["H"]), "BLOCK_K": block(sizes["K"])}
    columns = min(columns, STATE // meta["BLOCK_K"])
    meta |= {"BLOCK_T": chunk, "BLOCK_V": min(block(sizes["V"]), columns)}
    # loads ahead of their use cost the registers that the chunk needs
    meta |= {"HALVINGS": chunk.bit_length() - 1, "num_warps": 8, "num_stages": 1}
    # unless told how many registers there are, ptxas leaves some of them, and spills
    meta |= {"maxnreg": 255}
    return (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], meta["BLOCK_V"])), meta


@triton.jit
def _dplr_walk_kernel(
    q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, starts_ptr, u_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    T, H, K, V, EVERY: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    tied: tl.constexpr = k_ptr is None
    start, length = span(cu_seqlens_ptr, index // H, T)
    piece = first_chunk(cu_seqlens_ptr, index // H, T, EVERY * BLOCK_T)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_tile(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)

    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = start + done, length - done
        # what is kept of a chunk is alike in all tiles of V
        once = tl.where(first == 0, left, 0)
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * BLOCK_T) == 0:
                place = (piece + done // (EVERY * BLOCK_T)) * H + head
                store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        # the inverse before all else, so that little but the state is held meanwhile
        inverse = removal_inverse(
            r_ptr, rate_ptr, g_ptr, row, left, head, H, K, tied, BLOCK_T, BLOCK_K, GROUP, HALVINGS
        )
        if inverse_ptr is not None:
            store_chunk(inverse_ptr, inverse, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        tl.debug_barrier()
        fed = inverse
        if k_ptr is not None:
            fed = recalls_of_writes(
                r_ptr, k_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, HALVINGS
            )
            if fed_ptr is not None:
                store_chunk(fed_ptr, fed, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            tl.debug_barrier()
        u = corrections(
            state, inverse, fed, r_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
        if u_ptr is not None:
            store_chunk(u_ptr, u, row, left, head, H, V, BLOCK_T, BLOCK_V, first)

        tl.debug_barrier()
        removed = readings(
            q_ptr, r_ptr, rate_ptr, g_ptr, row, left, head, H, K, tied,
            BLOCK_T, BLOCK_K, GROUP, HALVINGS,
        )  # fmt: skip
        if removed_ptr is not None:
            store_chunk(removed_ptr, removed, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        zero = tl.zeros((BLOCK_T, BLOCK_V), tl.float32)
        o = product(removed, u, zero, K, BLOCK_K)
        tl.debug_barrier()
        if k_ptr is not None:
            written = readings(
                q_ptr, k_ptr, None, g_ptr, row, left, head, H, K, 0, BLOCK_T, BLOCK_K, 1, HALVINGS
            )
            if written_ptr is not None:
                store_chunk(written_ptr, written, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
            o = product(written, v, o, K, BLOCK_K)
            tl.debug_barrier()
        q = load_chunk(q_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
        reads = decayed_rows(
            q, g_ptr, row, left, head, H, K, None, BLOCK_T, BLOCK_K, 1, ACROSS=False
        )
        o = product(reads, state.to(reads.dtype), o, K, BLOCK_K)
        store_chunk(o_ptr, o, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        tl.debug_barrier()
        state = after_chunk(
            state, u, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
        )  # fmt: skip
    store_tile(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, 0, first)


@triton.jit
def _dplr_reverse_walk_kernel(
    q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    d_o_ptr, d_last_ptr, cu_seqlens_ptr, dr_ptr, dv_ptr, ends_ptr, dh0_ptr,
    T, H, K, V, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    place = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T) * H + head
    end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if d_last_ptr is not None:
        end += load_tile(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
    end = walk_chunks_back(
        end, q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
        d_o_ptr, dr_ptr, dv_ptr, ends_ptr, start, length, place, 0, head, first, H, K, V,
        BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
    )  # fmt: skip
    if dh0_ptr is not None:
        store_tile(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)


@triton.jit
def _dplr_gradients_kernel(
    q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, recall_b_ptr, read_b_ptr, recall_k_ptr, read_k_ptr,
    dq_ptr, dr_keys_ptr, drate_ptr, dk_ptr, dg_ptr,
    S, T, H, K, V, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    row, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    chunk_gradients(
        q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
        recall_b_ptr, read_b_ptr, recall_k_ptr, read_k_ptr,
        dq_ptr, dr_keys_ptr, drate_ptr, dk_ptr, dg_ptr, row, left, 0, chunk * H + head, head, H, K, V,
        BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
    )  # fmt: skip


@triton.jit
def _dplr_pieces_kernel(
    q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    inverse_ptr, removed_ptr, fed_ptr, written_ptr, u_ptr, dr_ptr, states_ptr, ends_ptr, end_ptr,
    dq_ptr, dr_keys_ptr, drate_ptr, dk_ptr, dv_ptr, dg_ptr, dh0_ptr,
    T, H, K, V, EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    piece_steps: tl.constexpr = EVERY * BLOCK_T
    piece = first_chunk(cu_seqlens_ptr, sequence, T, piece_steps)
    place = sequence * EVERY * H + head
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
        if d_last_ptr is not None:
            end += load_tile(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
        store_tile(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
    # an empty sequence hands the gradient of its state on
    pieces = tl.maximum(tl.cdiv(length, piece_steps), 1)
    for i in tl.range(pieces, disable_licm=True):
        # a remainder, which changes nothing, keeps compilers from stepping every address: they spill
        number = (pieces - 1 - i) % pieces
        here = start + number * piece_steps
        left = tl.minimum(length - number * piece_steps, piece_steps)
        shift = sequence.to(tl.int64) * piece_steps - here
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        store_triangles(
            q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
            here, left, shift, head, H, K, BLOCK_T, BLOCK_K, GROUP, HALVINGS,
        )  # fmt: skip
        tl.debug_barrier()
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            at = (piece + number) * H + head
            state = load_tile(starts_ptr, at, K, V, BLOCK_K, BLOCK_V, 0, first).to(tl.float32)
            walk_chunks(
                state, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, inverse_ptr, fed_ptr, u_ptr, states_ptr,
                here, left, place, shift, head, first, H, K, V,
                BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
            )  # fmt: skip
            end = load_tile(end_ptr, index, K, V, BLOCK_K, BLOCK_V, 0, first)
            end = walk_chunks_back(
                end, q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr,
                inverse_ptr, removed_ptr, fed_ptr, written_ptr, d_o_ptr, dr_ptr, dv_ptr, ends_ptr,
                here, left, place, shift, head, first, H, K, V,
                BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
            )  # fmt: skip
            store_tile(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
            if dh0_ptr is not None:  # noqa: SIM102
                if number == 0:
                    store_tile(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, 0, first)
        tl.debug_barrier()
        for done in tl.range(0, left, BLOCK_T, disable_licm=True):
            # triangles make room for their gradients
            chunk_gradients(
                q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, states_ptr, d_o_ptr, dr_ptr, ends_ptr,
                inverse_ptr, removed_ptr, fed_ptr, written_ptr, dq_ptr, dr_keys_ptr, drate_ptr, dk_ptr, dg_ptr,
                here + done, left - done, shift, place + done // BLOCK_T * H, head, H, K, V,
                BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
            )  # fmt: skip
