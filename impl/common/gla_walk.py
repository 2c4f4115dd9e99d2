# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""GLA on chip: a program walks the chunks of a head, some columns of the state in registers.

With from[i] and to[j] the decays of a key channel from the chunk's start and to its end, w[i, j] the
decays over the steps behind j up to i, and A[i, j] = sum_d q[i, d] k[j, d] w[i, j, d] for i >= j,

    O = A V + (Q from) S,    S <- diag(from[last]) S + (k to)^T V

A comes a halving at a time (``impl/common/halved_decays.py``), so no exponent is above 0; the diagonal
needs no decay. Forwards the state is kept at every ``checkpoint`` steps. Backwards one program
a head goes over these pieces from the right, rebuilds the states before its chunks, walks back with R,
the gradient of the state behind a chunk, and leaves both in tensors of one piece. Then chunk by chunk,
with D = dO and dA = D V^T * (i >= j),

    dq[i] = sum_j dA[i, j] k[j] w[i, j] + from[i] S D[i]
    dk[j] = sum_i dA[i, j] q[i] w[i, j] + to[j] R v[j]
    dv[j] = sum_i A[i, j] D[i] + R^T (k to)[j],    R <- diag(from[last]) R + (q from)^T D

g[t] has the gradient of every path over t: from j < t to
i >= t inside the chunk, halving by halving, from S to i >= t, from j < t to R, and from S to R. The
difference of q dq and k dk summed from the end would cancel.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.halved_decays_on_chip import (
    LOG2_E,
    before,
    behind,
    decayed_scores,
    met_gradients,
    mirrored_scores,
    passed_across,
    step_decays,
    sums,
)
from impl.common.heads import sum_heads
from impl.common.sequences import (
    block,
    chunk_count,
    first_chunk,
    load_chunk,
    load_state,
    load_tile,
    span,
    store_chunk,
    store_tile,
)

WIDEST = 256
"""Largest K and V."""
CHUNK, NARROW = 64, 16
"""Steps of a chunk, so that matrix units find the rows they want, and in float32."""
COLUMNS, STATE = 64, 128 * 64
"""Columns of V and numbers of the state that a program has forwards: 32 registers a thread."""
PART = 64
"""Channels of q and k that the scores take at a time."""
CHANNELS, TILE = 32, 32
"""Rows and columns of the state that gradients take at a time: more spill registers."""


def gla_walk(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, h0: Tensor | None, cu_seqlens: Tensor | None,
    sizes: dict[str, int], checkpoint: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state of gated linear attention."""
    return _Walk.apply(q, k, v, g, h0, cu_seqlens, sizes, checkpoint)  # pyright: ignore[reportReturnType]


class _Walk(torch.autograd.Function):
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
        _gla_walk_kernel[grid](q, k, v, g, h0, cu_seqlens, o, last, starts, **options)
        ctx.save_for_backward(q, k, v, g, h0, cu_seqlens, starts)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, g, h0, cu_seqlens, starts = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        (programs, _), options = ctx.launch
        checkpoint, chunk = options["CHECKPOINT"], options["BLOCK_T"]
        states = v.new_empty(programs, checkpoint // chunk, *starts.shape[2:])
        end = torch.empty(programs, *starts.shape[2:], dtype=torch.float32, device=v.device)
        dq, dk, dv, dg = (torch.empty_like(each) for each in (q, k, v, g))
        dh0 = None if h0 is None else torch.empty_like(h0)
        if options["GROUP"] > 1:
            # of each head, to be summed
            dq, dk = (torch.empty_like(g, dtype=torch.float32) for _ in "qk")
        _gla_pieces_kernel[(programs,)](
            q, k, v, g, starts, d_o, d_last, cu_seqlens,
            states, torch.empty_like(states), end, dq, dk, dv, dg, dh0,
            **options | {"BLOCK_K": chunk, "TILE_K": min(CHANNELS, chunk), "BLOCK_V": min(TILE, chunk)},
        )  # fmt: skip
        return sum_heads(dq, q), sum_heads(dk, k), dv, dg, dh0, None, None, None


def _launch(
    sizes: dict[str, int], checkpoint: int, dtype: torch.dtype
) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid and size arguments that both kernels share."""
    options = {axis: sizes[axis] for axis in "THKV"} | {"CHECKPOINT": checkpoint}
    options |= {"BLOCK_K": block(sizes["K"]), "GROUP": sizes["H"] // sizes["G"]}
    options["BLOCK_V"] = min(block(sizes["V"]), COLUMNS, STATE // options["BLOCK_K"])
    options["BLOCK_T"] = min(CHUNK if dtype.itemsize == 2 else NARROW, checkpoint)
    options["HALVINGS"] = options["BLOCK_T"].bit_length() - 1
    options["TILE_K"] = min(options["BLOCK_K"], PART)
    # loads ahead of their use cost the registers that the chunk needs
    options |= {"num_warps": 8, "num_stages": 1}
    if dtype.itemsize > 2:
        # unless told how many registers there are, ptxas leaves half of them, and spills
        options["maxnreg"] = 255
    return (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], options["BLOCK_V"])), options


@triton.jit
def _across_chunk(
    state, x_ptr, y_ptr, g_ptr, row, left, head, channel, first, H, K, V, halving,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Part of a state on the other side of a chunk, from ``channel`` and ``first``.

    Of S behind it where x is k, y is v and ``halving`` the last, of R before it where they are q, dO, none.
    """
    x = load_chunk(x_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K, channel)
    g = tl.trans(load_chunk(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, channel))
    y = load_chunk(y_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    decay = step_decays(
        g_ptr, row, left, head, channel, H, K, halving, BLOCK_T, BLOCK_K, OWN=1, ACROSS=True
    )
    scaled = (tl.trans(x) * decay).to(x.dtype)
    state *= tl.exp2(tl.sum(g.to(tl.float32), axis=1) * LOG2_E)[:, None]
    return tl.dot(scaled, y, state, input_precision="ieee")


@triton.jit
def _gla_walk_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    sequence, head = index // H, index % H
    begin, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = begin + done, length - done
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % CHECKPOINT == 0:
                place = (kept + done // CHECKPOINT) * H + head
                store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        scores = decayed_scores(
            q_ptr, k_ptr, None, g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, GROUP, HALVINGS,
            OWN=1,
        )  # fmt: skip
        scores = tl.where(behind(BLOCK_T), 0.0, scores).to(scores.dtype)
        v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        o = tl.dot(scores, v, input_precision="ieee")
        # no load passes a barrier: what is loaded ahead takes the registers of the state
        tl.debug_barrier()
        q = load_chunk(q_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
        decay = step_decays(
            g_ptr, row, left, head, 0, H, K, None, BLOCK_T, BLOCK_K, OWN=1, ACROSS=False
        )
        read = (q * decay).to(q.dtype)
        o = tl.dot(read, state.to(q.dtype), o, input_precision="ieee")
        store_chunk(o_ptr, o, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        tl.debug_barrier()
        state = _across_chunk(
            state, k_ptr, v_ptr, g_ptr, row, left, head, 0, first, H, K, V, HALVINGS,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
    store_tile(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, 0, first)


@triton.jit
def _from_states(
    q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr,
    row, left, place, head, channel, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """What q, k and g get of the states before and behind a chunk."""
    dtype = k_ptr.dtype.element_ty
    dq = tl.zeros((BLOCK_T, TILE_K), tl.float32)
    dk = dq
    through = tl.zeros((TILE_K,), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        state = load_tile(states_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        through += tl.sum(state.to(tl.float32) * end.to(tl.float32), axis=1)
        d_o = load_chunk(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dq = tl.dot(d_o, tl.trans(state), dq, input_precision="ieee")
        v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dk = tl.dot(v, tl.trans(end), dk, input_precision="ieee")
    g = load_chunk(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
    dg = (tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E) * through)[None, :]
    dq *= step_decays(
        g_ptr, row, left, head, channel, H, K, None, BLOCK_T, TILE_K, OWN=1, ACROSS=False
    )
    q = load_chunk(q_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, TILE_K, channel)
    dg += sums((before(BLOCK_T) == 0).to(dtype), q * dq)
    dk *= step_decays(
        g_ptr, row, left, head, channel, H, K, HALVINGS, BLOCK_T, TILE_K, OWN=1, ACROSS=False
    )
    k = load_chunk(k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, TILE_K, channel)
    dg += sums(before(BLOCK_T).to(dtype), k * dk)
    return dq, dk, dg


@triton.jit
def _channel_gradients(
    scores, same, q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr, dq_ptr, dk_ptr, dg_ptr,
    row, left, place, head, channel, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """Gradients of q, k and g from ``channel`` out of the states and dA, its diagonal in ``same``."""
    dq, dk, dg = _from_states(
        q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr,
        row, left, place, head, channel, H, K, V, BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
    )  # fmt: skip
    group, groups = head // GROUP, H // GROUP
    # no load passes a barrier: what is loaded ahead takes registers
    tl.debug_barrier()
    for halving in tl.range(HALVINGS, disable_licm=True):
        decay = step_decays(
            g_ptr, row, left, head, channel, H, K, halving, BLOCK_T, TILE_K, OWN=1, ACROSS=False
        )
        q = load_chunk(q_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        dq, dk, paths = met_gradients(scores, dq, dk, q, k, decay, halving, BLOCK_T)
        dg += sums(passed_across(halving, BLOCK_T, OWN=1).to(k.dtype), paths)
    q = load_chunk(q_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
    k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
    store_chunk(dq_ptr, dq + same * k, row, left, head, H, K, BLOCK_T, TILE_K, channel)
    store_chunk(dk_ptr, dk + same * q, row, left, head, H, K, BLOCK_T, TILE_K, channel)
    store_chunk(dg_ptr, dg, row, left, head, H, K, BLOCK_T, TILE_K, channel)


@triton.jit
def _value_gradients(
    q_ptr, k_ptr, g_ptr, d_o_ptr, ends_ptr, dv_ptr, row, left, place, head, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """Stores dv of one chunk."""
    dtype = k_ptr.dtype.element_ty
    scores = decayed_scores(
        k_ptr, q_ptr, None, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_T, GROUP, HALVINGS,
        OWN=1,
    )  # fmt: skip
    scores = tl.where(before(BLOCK_T), 0.0, scores).to(dtype)  # [from, to]
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        d_o = load_chunk(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dv = tl.dot(scores, d_o, input_precision="ieee")
        for channel in tl.range(0, K, TILE_K, disable_licm=True):
            k = load_chunk(k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, TILE_K, channel)
            end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
            decay = step_decays(
                g_ptr, row, left, head, channel, H, K, HALVINGS, BLOCK_T, TILE_K, OWN=1, ACROSS=False
            )  # fmt: skip
            write = (k * decay).to(dtype)
            dv = tl.dot(write, end, dv, input_precision="ieee")
        store_chunk(dv_ptr, dv, row, left, head, H, V, BLOCK_T, BLOCK_V, first)


@triton.jit
def _store_states(
    state, end, k_ptr, v_ptr, g_ptr, states_ptr, q_ptr, d_o_ptr, ends_ptr,
    here, left, place, head, channel, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """S before and R behind each chunk of a piece of ``left`` steps; returns R before it."""
    chunks = tl.cdiv(left, BLOCK_T)
    for i in tl.range(chunks, disable_licm=True):
        done = i * BLOCK_T
        store_tile(states_ptr, state, place + i, K, V, BLOCK_K, BLOCK_V, channel, first)
        state = _across_chunk(
            state, k_ptr, v_ptr, g_ptr, here + done, left - done, head, channel, first,
            H, K, V, HALVINGS, BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
    for i in tl.range(chunks, disable_licm=True):
        nth = chunks - 1 - i
        done = nth * BLOCK_T
        store_tile(ends_ptr, end, place + nth, K, V, BLOCK_K, BLOCK_V, channel, first)
        end = _across_chunk(
            end, q_ptr, d_o_ptr, g_ptr, here + done, left - done, head, channel, first,
            H, K, V, None, BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
    return end


@triton.jit
def _gla_pieces_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    states_ptr, ends_ptr, end_ptr, dq_ptr, dk_ptr, dv_ptr, dg_ptr, dh0_ptr,
    T, H, K, V,
    CHECKPOINT: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    kept = first_chunk(cu_seqlens_ptr, sequence, T, CHECKPOINT)
    place = index * (CHECKPOINT // BLOCK_T)
    # an empty sequence hands the gradient of its state on
    pieces = tl.maximum(tl.cdiv(length, CHECKPOINT), 1)
    for turn in tl.range(pieces, disable_licm=True):
        # a remainder, which changes nothing, keeps compilers from stepping every address: they spill
        nth = (pieces - 1 - turn) % pieces
        here = start + nth * CHECKPOINT
        left = tl.minimum(length - nth * CHECKPOINT, CHECKPOINT)
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        wide = tl.cdiv(V, BLOCK_V)
        for part in tl.range(tl.cdiv(K, BLOCK_K) * wide, disable_licm=True):
            channel, first = part // wide * BLOCK_K, part % wide * BLOCK_V
            at = (kept + nth) * H + head
            state = load_tile(starts_ptr, at, K, V, BLOCK_K, BLOCK_V, channel, first)
            end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
            if turn > 0:
                end += load_tile(end_ptr, index, K, V, BLOCK_K, BLOCK_V, channel, first)
            elif d_last_ptr is not None:
                end += load_tile(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, channel, first)
            end = _store_states(
                state.to(tl.float32), end, k_ptr, v_ptr, g_ptr, states_ptr, q_ptr, d_o_ptr,
                ends_ptr, here, left, place, head, channel, first, H, K, V,
                BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
            )  # fmt: skip
            store_tile(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, channel, first)
            if dh0_ptr is not None:  # noqa: SIM102
                if nth == 0:
                    store_tile(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, channel, first)
        tl.debug_barrier()
        for i in tl.range(tl.cdiv(left, BLOCK_T), disable_licm=True):
            done = i * BLOCK_T
            scores, same = mirrored_scores(
                d_o_ptr, here + done, v_ptr, here + done, left - done, head, H, V, BLOCK_T, BLOCK_V,
            )  # fmt: skip
            for channel in tl.range(0, K, TILE_K, disable_licm=True):
                _channel_gradients(
                    scores, same, q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, d_o_ptr, ends_ptr,
                    dq_ptr, dk_ptr, dg_ptr, here + done, left - done, place + i, head, channel, H, K, V,
                    BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
                )  # fmt: skip
            tl.debug_barrier()
            _value_gradients(
                q_ptr, k_ptr, g_ptr, d_o_ptr, ends_ptr, dv_ptr, here + done, left - done, place + i, head,
                H, K, V, BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
            )  # fmt: skip
