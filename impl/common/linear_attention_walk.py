# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""Linear attention with the state on chip: a program walks the chunks of a head.

With D[t, s] the decay from step to step of a chunk, 0 where s is later, c[t] and e[s] the decays from
its start to a step and from a step to its end, w over all of it and i[s] what a step writes,

    O = c Q S + (Q K^T * D i) V,    S <- w S + (e i K)^T V,    O <- O * sigmoid(gate)  if there is one.

Without gates D is 1 up to the diagonal and c, e, w and i are 1: linear attention. Columns of V do not
meet, so that each tile of them has its program.

Backwards, with G the gradient of the state behind the chunk and dO times sigmoid(gate),

    dQ = c dO S^T + (dO V^T * D i) K
    dK = i (e V G^T + (V dO^T * D^T) Q),    dV = i (e K G + (K Q^T * D^T) dO)
    G <- w G + (c Q)^T dO,    dgate = dO * O * (1 - sigmoid(gate))

where O is the gated one that was stored. The gradient of log D is that of every path over a step, from
what writes before it to what reads at it or behind, as sums of the weights of these paths: a difference
of sums would cancel.

The forward pass leaves the state at every ``checkpoint`` steps, a piece. One program a head goes over
the pieces from the right: it walks the states of a piece, leaving each in a tensor that holds those of
one piece, then takes the gradients of its chunks from the last to the first. What it asks for again it
asked for at most a piece ago, so that little is moved but what must be. On top come, each written and
read, checkpoint / C states and one gradient of a state a head, and K V / checkpoint numbers a step.

With a normaliser, the mLSTM of exponential gates, i is exp of its gate and n = w n + (e i K)^T 1 stands
beside S as a column behind its V: what is read is divided by |d|, d = c Q n + (Q K^T * D i) 1, where
that is above 1. Backwards dO over the divisor takes the place of dO, and dd = -(dO . O) / d, or 0 where
nothing was divided, is one more column of it, against a column of ones of V.

Several heads of V may share one of Q and K, which are read where they lie. Their gradients then are
written in float32 for every head of V, read again and summed.

Tiles may come through descriptors, brought by the copy engine of sm_90: forwards to warps of their own,
which leave addresses and waiting to others, and backwards into fewer registers. Gates of steps are read
through pointers, and Triton cannot part the warps of a loop that does: with them only backwards.

Everything is cut into tiles, and no loop keeps addresses for its next round in registers: a state is
wide, and what does not fit beside it spills. Float32 operands are multiplied as such, outside the tensor
cores: what float32 costs here says nothing about half precision.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from impl.common.descriptors import describable, described
from impl.common.heads import sum_heads
from impl.common.scalar_gates import (
    decay_between,
    decay_over,
    decay_since,
    decay_until,
    write_gate,
)
from impl.common.sequences import (
    block,
    chunk_count,
    first_chunk,
    span,
)

WIDEST = 256
"""Largest K and V."""
TILE = 64
"""Columns of V in a tile, and rows of K where one program has all."""
CHECKPOINT = 256
"""Steps between the states that are kept for a backward pass."""


def walk(
    q: Tensor, k: Tensor, v: Tensor, h0: Tensor | None, cu_seqlens: Tensor | None,
    sizes: dict[str, int], chunk: int, checkpoint: int = CHECKPOINT,
    *, gate: Tensor | None = None, i: Tensor | None = None, f: Tensor | None = None,
    normalised: bool = False, descriptors: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state; ``o`` times ``sigmoid(gate)``, ``i`` and ``f`` together or not at all.

    ``normalised`` takes exp(i), divides by |n . q| where that is above 1, and has n as a last column of
    every state. With ``descriptors`` tiles come through them; ValueError where that cannot be.
    """
    if descriptors:
        describable(k)
        describable(v)
    meta = _launch(sizes, chunk, checkpoint, k.dtype, normalised=normalised)
    return _Walk.apply(q, k, v, gate, i, f, h0, cu_seqlens, sizes, meta, descriptors)  # pyright: ignore[reportReturnType]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q, k, v, gate, i, f, h0, cu_seqlens,
        sizes: dict[str, int], meta: dict[str, Any], descriptors,
    ):  # fmt: skip
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        gate, i, f, h0 = (None if x is None else x.contiguous() for x in (gate, i, f, h0))
        o, columns = torch.empty_like(v), sizes["V"] + meta["NORM"]
        last = v.new_empty(*(sizes[axis] for axis in "SHK"), columns)
        starts = None
        if any(ctx.needs_input_grad):
            pieces = chunk_count(sizes, meta["EVERY"] * meta["BLOCK_T"], cu_seqlens)
            starts = v.new_empty(pieces, *last.shape[1:])
        grid = (triton.cdiv(sizes["V"], meta["BLOCK_V"]), sizes["S"] * sizes["H"])
        # of each program
        norm = torch.empty(grid[0] * grid[1], sizes["K"], device=v.device) if meta["NORM"] else None
        rows, launch = {"K": [q, k], "V": [v, gate]}, meta | {"WARPS": 0, "WHOLE": 0}
        if descriptors and f is None:
            rows, launch = _described(rows, meta), _specialised(meta, cu_seqlens)
        _walk_kernel[grid](
            *rows["K"], *rows["V"], i, f, h0, cu_seqlens, o, last, starts, norm, **launch
        )
        ctx.save_for_backward(
            q,
            k,
            v,
            gate,
            i,
            f,
            o if meta["NORM"] or gate is not None else None,
            h0,
            cu_seqlens,
            starts,
        )
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.meta, ctx.descriptors = sizes, meta, descriptors
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, gate, i, f, o, h0, cu_seqlens, starts = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        found = [None if x is None else torch.empty_like(x) for x in (q, k, v, gate, i, f, h0)]
        if ctx.meta["GROUP"] > 1:
            # of each head, to be summed
            found[:2] = (k.new_empty(*v.shape[:3], k.shape[3], dtype=torch.float32) for _ in "qk")
        one = (ctx.sizes["S"], *starts.shape[1:])
        states = v.new_empty(one[0], ctx.meta["EVERY"], *one[1:])
        end = torch.empty(one, dtype=torch.float32, device=v.device)
        chunk = None if o is None else v.new_empty(one[0], ctx.meta["BLOCK_T"], *v.shape[2:])
        meta = _launch_backward(ctx.meta)
        rows = {"K": [q, k], "V": [v, gate, o, d_o]}
        if ctx.descriptors:
            rows = _described(rows, meta)
        _pieces_kernel[(one[0] * one[1],)](
            *rows["K"], *rows["V"], i, f, starts, d_last, cu_seqlens, states, end, chunk, *found,
            **meta,
        )  # fmt: skip
        return sum_heads(found[0], q), sum_heads(found[1], k), *found[2:], None, None, None, None


def _launch(
    sizes: dict[str, int], chunk: int, checkpoint: int, dtype: torch.dtype, *, normalised: bool
) -> dict[str, Any]:
    """Arguments of the forward kernel, most of which the other shares."""
    half = dtype.itemsize == 2
    meta = {axis: sizes[axis] for axis in "THKV"} | {"EVERY": max(1, checkpoint // chunk)}
    # heads of v that share one of q and k
    meta |= {"GROUP": sizes["H"] // sizes.get("G", sizes["H"]), "NORM": int(normalised)}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"]), "PART": TILE if half else TILE // 2}
    # a tile of the state is 128 x 64 numbers or 256 x 32, half as wide in float32; n wants its room
    most = TILE if normalised else 2 * TILE
    tile = meta["PART"] if meta["BLOCK_K"] <= most else meta["PART"] // 2
    meta |= {"BLOCK_V": min(block(sizes["V"]), tile)}
    # unless told how many registers there are, ptxas leaves some to other programs, and spills
    meta |= {"num_warps": 4 if meta["BLOCK_K"] <= 32 else 8, "maxnreg": 255}
    # shared memory holds the next chunk beside this one in half precision only
    return meta | {"num_stages": 2 if half else 1}


def _specialised(meta: dict[str, Any], cu_seqlens: Tensor | None) -> dict[str, Any]:
    """Arguments of the forward kernel when warps of their own bring the tiles.

    They come to the warpgroup that multiplies, and have their own registers. Tiles are whole where the
    chunks fill every sequence and the tiles of K every head; columns past V meet no other.
    """
    tiles = all(meta[axis] % meta[f"BLOCK_{axis}"] == 0 for axis in "TK")
    changed = meta | {"num_warps": 4, "WARPS": 1, "WHOLE": int(tiles and cu_seqlens is None)}
    return {name: value for name, value in changed.items() if name != "maxnreg"}


def _described(
    rows: dict[str, list[Tensor | None]], meta: dict[str, Any]
) -> dict[str, list[TensorDescriptor | None]]:
    """Tensors of K and of V columns, as the tiles that a kernel asks for."""
    tile = {axis: (meta["BLOCK_T"], meta[f"BLOCK_{axis}"]) for axis in rows}
    return {axis: [described(x, *tile[axis]) for x in rows[axis]] for axis in rows}


def _launch_backward(meta: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the backward kernel, which takes K in tiles as well."""
    # n takes registers too, and K is the rows of a product that a warpgroup computes at once
    parts = {"K": meta["PART"], "V": meta["PART"] // (1 + meta["NORM"])}
    tiles = {f"BLOCK_{axis}": min(block(meta[axis]), part) for axis, part in parts.items()}
    changed = meta | tiles | {"num_stages": 1}
    return {name: value for name, value in changed.items() if name != "PART"}


@triton.jit
def _load_tile(
    x_ptr, here, left, head, H, X, BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, first=0,
    GROUP: tl.constexpr = 1, WHOLE: tl.constexpr = 0,
):  # fmt: skip
    """Columns from ``first`` of one head of ``left`` rows from row ``here``; zero past the end.

    Of a tensor in which ``GROUP`` neighbours of the H heads share one; ``x_ptr`` may be a descriptor,
    of which nothing needs a mask where a tile is ``WHOLE``.
    """
    head, H = head // GROUP, H // GROUP
    steps, column = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_X)[None, :]
    mask = (steps < left) & (column < X - first)
    if isinstance(x_ptr, tl.tensor_descriptor):
        x = x_ptr.load([here.to(tl.int32), head * X + first])
        if not WHOLE:
            # what lies behind the sequence or beside the head came too
            x = tl.where(mask, x, 0.0)
    else:
        # one long address a tile and short ones inside it: registers are scarce
        x_ptr += (here.to(tl.int64) * H + head) * X + first
        x = tl.load(x_ptr + (steps * (H * X) + column), mask=mask, other=0.0)
    return x


@triton.jit
def _store_tile(
    x_ptr, x, here, left, head, H, X, BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, first=0
):  # fmt: skip
    """Write what ``_load_tile`` reads, in the dtype of the tensor."""
    steps, column = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_X)[None, :]
    x_ptr += (here.to(tl.int64) * H + head) * X + first
    mask = (steps < left) & (column < X - first)
    tl.store(x_ptr + (steps * (H * X) + column), x.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_state(
    s_ptr, index, k, v, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    NORM: tl.constexpr, ROWS: tl.constexpr = 0,
):  # fmt: skip
    """State ``index`` from row ``k`` and column ``v`` in float32, zero past the edges.

    Its rows lie along axis ``ROWS``: 1 for S^T.
    """
    rows = tl.expand_dims(tl.arange(0, BLOCK_K), 1 - ROWS)
    columns = tl.expand_dims(tl.arange(0, BLOCK_V), ROWS)
    s_ptr += (index.to(tl.int64) * K + k) * (V + NORM) + v
    mask = (rows < K - k) & (columns < V - v)
    return tl.load(s_ptr + (rows * (V + NORM) + columns), mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_state(
    s_ptr, state, index, k, v, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    NORM: tl.constexpr,
):  # fmt: skip
    """Write what ``_load_state`` reads, in the dtype of the tensor."""
    rows, columns = tl.arange(0, BLOCK_K)[:, None], tl.arange(0, BLOCK_V)[None, :]
    s_ptr += (index.to(tl.int64) * K + k) * (V + NORM) + v
    mask = (rows < K - k) & (columns < V - v)
    tl.store(s_ptr + (rows * (V + NORM) + columns), state.to(s_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_norm(s_ptr, index, k, K, V, BLOCK_K: tl.constexpr):
    """Rows from ``k`` of n, the column behind the V of state ``index``, in float32, zero past the edge."""
    rows = tl.arange(0, BLOCK_K)
    s_ptr += (index.to(tl.int64) * K + k) * (V + 1) + V
    return tl.load(s_ptr + rows * (V + 1), mask=rows < K - k, other=0.0).to(tl.float32)


@triton.jit
def _store_norm(s_ptr, norm, index, k, K, V, BLOCK_K: tl.constexpr):
    """Write what ``_load_norm`` reads, in the dtype of the tensor."""
    rows = tl.arange(0, BLOCK_K)
    s_ptr += (index.to(tl.int64) * K + k) * (V + 1) + V
    tl.store(s_ptr + rows * (V + 1), norm.to(s_ptr.dtype.element_ty), mask=rows < K - k)


@triton.jit
def _scaled(x, weight, f_ptr):
    """Rows of x times their weight in the dtype of x; x itself without gates."""
    if f_ptr is not None:
        x = (x * weight[:, None]).to(x.dtype)
    return x


@triton.jit
def _weighed(
    scores, i_ptr, f_ptr, here, left, head, H,
    TO: tl.constexpr, BLOCK_T: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """``scores * D i``, the later step along axis ``TO``."""
    steps = tl.arange(0, BLOCK_T)
    if f_ptr is None:
        to, start = tl.expand_dims(steps, 1 - TO), tl.expand_dims(steps, TO)
        scores = tl.where(to >= start, scores, 0.0)
    else:
        scores *= decay_between(f_ptr, here, left, head, H, TO, BLOCK_T)
    if i_ptr is not None:
        i = write_gate(i_ptr, here + steps, steps < left, head, H, BLOCK_T, NORM)
        scores *= tl.expand_dims(i, TO)
    return scores


@triton.jit
def _next_state(
    state, k, v, i_ptr, f_ptr, here, left, head, H, BLOCK_T: tl.constexpr, NORM: tl.constexpr
):  # fmt: skip
    """``w S + (e i K)^T V`` for the chunk at row ``here``."""
    steps = tl.arange(0, BLOCK_T)
    weight = decay_until(f_ptr, here, left, head, H, BLOCK_T)
    weight *= write_gate(i_ptr, here + steps, steps < left, head, H, BLOCK_T, NORM)
    kept = _scaled(k, weight, f_ptr)
    state *= decay_over(f_ptr, here, left, head, H, BLOCK_T)
    return state + tl.dot(tl.trans(kept), v, input_precision="ieee")


@triton.jit
def _copy_norm(
    from_ptr, to_ptr, index, place, K, V_FROM, V_TO, BLOCK_K: tl.constexpr
):  # fmt: skip
    """The n of state ``index`` of one tensor to that of ``place`` of another; zero where there is none.

    A tensor of V = 0 columns holds n alone.
    """
    for k in tl.range(0, K, BLOCK_K, disable_licm=True):
        norm = tl.zeros((BLOCK_K,), tl.float32)
        if from_ptr is not None:
            norm += _load_norm(from_ptr, index, k, K, V_FROM, BLOCK_K)
        _store_norm(to_ptr, norm, place, k, K, V_TO, BLOCK_K)


@triton.jit
def _read_norm(
    q_ptr, k_ptr, i_ptr, f_ptr, norm_ptr, mine, here, left, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """``Q n`` of the chunk at row ``here``; n is then that behind the chunk."""
    found = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, K, BLOCK_K, disable_licm=True):
        # what one thread wrote others read, and none writes before all have read
        tl.debug_barrier()
        norm = _load_norm(norm_ptr, mine, first, K, 0, BLOCK_K)
        q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
        found += tl.sum(q * norm[None, :], axis=1)
        k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
        norm = _next_norm(norm, k, i_ptr, f_ptr, here, left, head, H, BLOCK_T)
        tl.debug_barrier()
        _store_norm(norm_ptr, norm, mine, first, K, 0, BLOCK_K)
    return found


@triton.jit
def _next_norm(norm, k, i_ptr, f_ptr, here, left, head, H, BLOCK_T: tl.constexpr):
    """``w n + (e exp(i) K)^T 1`` for the chunk at row ``here``."""
    steps = tl.arange(0, BLOCK_T)
    weight = decay_until(f_ptr, here, left, head, H, BLOCK_T)
    weight *= write_gate(i_ptr, here + steps, steps < left, head, H, BLOCK_T, 1)
    norm *= decay_over(f_ptr, here, left, head, H, BLOCK_T)
    return norm + tl.sum(k * weight[:, None], axis=0)


@triton.jit
def _walk_kernel(
    q_ptr, k_ptr, v_ptr, gate_ptr, i_ptr, f_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    norm_ptr,
    T, H, K, V,
    EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    PART: tl.constexpr, GROUP: tl.constexpr, NORM: tl.constexpr,
    WARPS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    first, index = tl.program_id(0) * BLOCK_V, tl.program_id(1)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    piece = first_chunk(cu_seqlens_ptr, index // H, T, EVERY * BLOCK_T)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += _load_state(h0_ptr, index, 0, first, K, V, BLOCK_K, BLOCK_V, NORM)
    if NORM:
        # each program walks an n of its own, in parts: whole it takes the registers of the state
        mine = index * tl.num_programs(0) + tl.program_id(0)
        _copy_norm(h0_ptr, norm_ptr, index, mine, K, V, 0, PART)

    for done in tl.range(0, length, BLOCK_T, disable_licm=True, warp_specialize=WARPS == 1):
        here, left = start + done, length - done
        weight = tl.zeros((BLOCK_T,), tl.float32)
        if NORM:
            if starts_ptr is not None:  # noqa: SIM102
                if first == 0 and done % (EVERY * BLOCK_T) == 0:
                    tl.debug_barrier()
                    place = (piece + done // (EVERY * BLOCK_T)) * H + head
                    _copy_norm(norm_ptr, starts_ptr, mine, place, K, 0, V, PART)
            weight += _read_norm(
                q_ptr,
                k_ptr,
                i_ptr,
                f_ptr,
                norm_ptr,
                mine,
                here,
                left,
                head,
                H,
                K,
                BLOCK_T,
                PART,
                GROUP,
            )
        q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, 0, GROUP, WHOLE)
        k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, 0, GROUP, WHOLE)
        v = _load_tile(v_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first, 1, WHOLE)
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * BLOCK_T) == 0:
                place = (piece + done // (EVERY * BLOCK_T)) * H + head
                _store_state(starts_ptr, state, place, 0, first, K, V, BLOCK_K, BLOCK_V, NORM)
        o = tl.dot(q, state.to(q.dtype), input_precision="ieee")
        since = decay_since(f_ptr, here, left, head, H, BLOCK_T)
        o *= since[:, None]
        if WARPS or (BLOCK_K <= PART and f_ptr is None):
            scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        else:
            # q and k again, part by part: whole they take the registers of the state
            scores = products(q_ptr, k_ptr, here, left, head, H, K, BLOCK_T, PART, GROUP)
        scores = _weighed(scores, i_ptr, f_ptr, here, left, head, H, 0, BLOCK_T, NORM)
        o += tl.dot(scores.to(v.dtype), v, input_precision="ieee")
        if NORM:
            weight = weight * since + tl.sum(scores, axis=1)
            o /= tl.maximum(tl.abs(weight), 1.0)[:, None]
        if gate_ptr is not None:
            gate = _load_tile(gate_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first, 1, WHOLE)
            o *= tl.sigmoid(gate.to(tl.float32))
        _store_tile(o_ptr, o, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        state = _next_state(state, k, v, i_ptr, f_ptr, here, left, head, H, BLOCK_T, NORM)
    _store_state(last_ptr, state, index, 0, first, K, V, BLOCK_K, BLOCK_V, NORM)
    if NORM and first == 0:
        tl.debug_barrier()
        _copy_norm(norm_ptr, last_ptr, mine, index, K, 0, V, PART)


@triton.jit
def _pieces_kernel(
    q_ptr, k_ptr, v_ptr, gate_ptr, o_ptr, d_o_ptr, i_ptr, f_ptr, starts_ptr, d_last_ptr,
    cu_seqlens_ptr, states_ptr, end_ptr, chunk_ptr,
    dq_ptr, dk_ptr, dv_ptr, d_gate_ptr, di_ptr, df_ptr, dh0_ptr,
    T, H, K, V,
    EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    piece_steps: tl.constexpr = EVERY * BLOCK_T
    _copy_state(d_last_ptr, end_ptr, index, K, V, BLOCK_K, BLOCK_V, NORM)

    pieces = tl.cdiv(length, piece_steps)
    for i in tl.range(pieces, disable_licm=True):
        number = pieces - 1 - i
        here = start + number * piece_steps
        left = tl.minimum(length - number * piece_steps, piece_steps)
        # places are found where they are asked for: what lives through the loops takes registers
        piece = first_chunk(cu_seqlens_ptr, sequence, T, piece_steps) + number
        _store_states(
            k_ptr, v_ptr, i_ptr, f_ptr, starts_ptr, states_ptr,
            here, left, piece * H + head, sequence * EVERY * H + head, head, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
        )  # fmt: skip
        chunks = tl.cdiv(left, BLOCK_T)
        for n in tl.range(chunks, disable_licm=True):
            done = (chunks - 1 - n) * BLOCK_T
            place = (sequence * EVERY + done // BLOCK_T) * H + head
            # what one thread wrote others read: the threads of the program meet in between
            tl.debug_barrier()
            if chunk_ptr is not None:
                # the rows of one chunk, at which the rows of this one are found
                gated_ptr = chunk_ptr + (sequence.to(tl.int64) * BLOCK_T - here - done) * H * V
            else:
                gated_ptr = chunk_ptr
            _chunk_gradients(
                q_ptr, k_ptr, v_ptr, gate_ptr, i_ptr, f_ptr, o_ptr, d_o_ptr, gated_ptr, states_ptr,
                end_ptr, dq_ptr, dk_ptr, dv_ptr, d_gate_ptr, di_ptr, df_ptr,
                here + done, left - done, place, index, head,
                H, K, V, BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
            )  # fmt: skip
        tl.debug_barrier()
    if dh0_ptr is not None:
        tl.debug_barrier()
        _copy_state(end_ptr, dh0_ptr, index, K, V, BLOCK_K, BLOCK_V, NORM)


@triton.jit
def _copy_state(
    from_ptr, to_ptr, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """State ``index`` of one tensor to another, zero where there is none."""
    for k in tl.range(0, K, BLOCK_K, disable_licm=True):
        for v in tl.range(0, V, BLOCK_V, disable_licm=True):
            state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
            if from_ptr is not None:
                state += _load_state(from_ptr, index, k, v, K, V, BLOCK_K, BLOCK_V, NORM)
            _store_state(to_ptr, state, index, k, v, K, V, BLOCK_K, BLOCK_V, NORM)
    if NORM:
        _copy_norm(from_ptr, to_ptr, index, index, K, V, V, BLOCK_K)


@triton.jit
def _store_states(
    k_ptr, v_ptr, i_ptr, f_ptr, starts_ptr, states_ptr, here, left, at, place, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """The state before each chunk of the piece of ``left`` steps at row ``here`` from start ``at``."""
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        for row in tl.range(0, K, BLOCK_K, disable_licm=True):
            state = _load_state(starts_ptr, at, row, first, K, V, BLOCK_K, BLOCK_V, NORM)
            for done in tl.range(0, left, BLOCK_T, disable_licm=True):
                chunk = place + done // BLOCK_T * H
                _store_state(states_ptr, state, chunk, row, first, K, V, BLOCK_K, BLOCK_V, NORM)
                now, rest = here + done, left - done
                k = _load_tile(k_ptr, now, rest, head, H, K, BLOCK_T, BLOCK_K, row, GROUP)
                v = _load_tile(v_ptr, now, rest, head, H, V, BLOCK_T, BLOCK_V, first)
                state = _next_state(state, k, v, i_ptr, f_ptr, now, rest, head, H, BLOCK_T, NORM)
    if NORM:
        for row in tl.range(0, K, BLOCK_K, disable_licm=True):
            norm = _load_norm(starts_ptr, at, row, K, V, BLOCK_K)
            for done in tl.range(0, left, BLOCK_T, disable_licm=True):
                _store_norm(states_ptr, norm, place + done // BLOCK_T * H, row, K, V, BLOCK_K)
                now, rest = here + done, left - done
                k = _load_tile(k_ptr, now, rest, head, H, K, BLOCK_T, BLOCK_K, row, GROUP)
                norm = _next_norm(norm, k, i_ptr, f_ptr, now, rest, head, H, BLOCK_T)


@triton.jit
def products(
    x_ptr, y_ptr, here, left, head, H, X,
    BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, GROUP: tl.constexpr = 1,
):  # fmt: skip
    """Every row of x times every row of y, [BLOCK_T, BLOCK_T]."""
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for first in tl.range(0, X, BLOCK_X, disable_licm=True):
        x = _load_tile(x_ptr, here, left, head, H, X, BLOCK_T, BLOCK_X, first, GROUP)
        y = _load_tile(y_ptr, here, left, head, H, X, BLOCK_T, BLOCK_X, first, GROUP)
        scores += tl.dot(x, tl.trans(y), input_precision="ieee")
    return scores


@triton.jit
def from_state(
    x_ptr, s_ptr, index, here, left, head, H, K, V, k,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Rows of x [BLOCK_T, V] times the rows of a state from ``k``, [BLOCK_T, BLOCK_K]."""
    product = tl.zeros((BLOCK_T, BLOCK_K), tl.float32)
    for v in tl.range(0, V, BLOCK_V, disable_licm=True):
        x = _load_tile(x_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, v)
        state = _load_state(s_ptr, index, k, v, K, V, BLOCK_K, BLOCK_V, NORM, ROWS=1)
        product += tl.dot(x, state.to(x.dtype), input_precision="ieee")
    return product


@triton.jit
def _chunk_gradients(
    q_ptr, k_ptr, v_ptr, gate_ptr, i_ptr, f_ptr, o_ptr, d_o_ptr, gated_ptr, states_ptr, end_ptr,
    dq_ptr, dk_ptr, dv_ptr, d_gate_ptr, di_ptr, df_ptr,
    here, left, place, index, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """All gradients of the chunk at row ``here``, and G before it where G behind it was."""
    if gate_ptr is not None:
        _gate_gradients(
            gate_ptr,
            o_ptr,
            d_o_ptr,
            d_gate_ptr,
            gated_ptr,
            here,
            left,
            head,
            H,
            V,
            BLOCK_T,
            BLOCK_V,
        )
        tl.debug_barrier()
        d_o_ptr = gated_ptr
    d_weight = tl.zeros((BLOCK_T,), tl.float32)
    if NORM:
        d_weight += _weight_gradients(
            q_ptr, k_ptr, i_ptr, f_ptr, o_ptr, d_o_ptr, gated_ptr, states_ptr,
            here, left, place, head, H, K, V, BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
        )  # fmt: skip
        tl.debug_barrier()
        d_o_ptr = gated_ptr
    d_log = _query_gradients(
        q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, d_o_ptr, states_ptr, dq_ptr, d_weight,
        here, left, place, head, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
    )  # fmt: skip
    _key_gradients(
        q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, d_o_ptr, states_ptr, end_ptr,
        dk_ptr, di_ptr, df_ptr, d_log, d_weight,
        here, left, place, index, head, H, K, V, BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
    )  # fmt: skip
    _value_gradients(
        q_ptr, k_ptr, i_ptr, f_ptr, d_o_ptr, end_ptr, dv_ptr, d_weight,
        here, left, index, head, H, K, V, BLOCK_T, BLOCK_K, BLOCK_V, GROUP, NORM,
    )  # fmt: skip


@triton.jit
def _gate_gradients(
    gate_ptr, o_ptr, d_o_ptr, d_gate_ptr, gated_ptr, here, left, head, H, V,
    BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """dgate, and dO times sigmoid(gate) for what follows."""
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        gate = _load_tile(gate_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        o = _load_tile(o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        d = _load_tile(d_o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        d, gate = d.to(tl.float32), gate.to(tl.float32)
        d_gate = d * o * tl.sigmoid(-gate)
        _store_tile(d_gate_ptr, d_gate, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        d *= tl.sigmoid(gate)
        _store_tile(gated_ptr, d, here, left, head, H, V, BLOCK_T, BLOCK_V, first)


@triton.jit
def _weight_gradients(
    q_ptr, k_ptr, i_ptr, f_ptr, o_ptr, d_o_ptr, gated_ptr, states_ptr,
    here, left, place, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """The gradient of n . q, and dO over what O was divided by for what follows."""
    found = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, K, BLOCK_K, disable_licm=True):
        q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
        found += tl.sum(q * _load_norm(states_ptr, place, first, K, V, BLOCK_K)[None, :], axis=1)
    scores = products(q_ptr, k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
    scores = _weighed(scores, i_ptr, f_ptr, here, left, head, H, 0, BLOCK_T, NORM)
    weight = found * decay_since(f_ptr, here, left, head, H, BLOCK_T) + tl.sum(scores, axis=1)
    divisor = tl.maximum(tl.abs(weight), 1.0)
    against = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        o = _load_tile(o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        d = _load_tile(d_o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first).to(tl.float32)
        against += tl.sum(d * o, axis=1)
        d /= divisor[:, None]
        _store_tile(gated_ptr, d, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
    # below 1 the divisor is 1 whatever the weight
    return tl.where(tl.abs(weight) > 1.0, -against / weight, 0.0)


@triton.jit
def _query_gradients(
    q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, d_o_ptr, states_ptr, dq_ptr, d_weight,
    here, left, place, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """dQ; returns the weights of the paths over each step that end in the chunk, zero without gates."""
    steps = tl.arange(0, BLOCK_T)
    since = decay_since(f_ptr, here, left, head, H, BLOCK_T)
    paths = tl.zeros((BLOCK_T,), tl.float32)
    scores = products(d_o_ptr, v_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V)
    if NORM:
        scores += d_weight[:, None]
    scores = _weighed(scores, i_ptr, f_ptr, here, left, head, H, 0, BLOCK_T, NORM)
    if f_ptr is not None:
        # from an earlier step into this one and those behind it
        read = products(q_ptr, k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
        read = tl.cumsum(read * scores, axis=0, reverse=True)
        paths += tl.sum(tl.where(steps[:, None] > steps[None, :], read, 0.0), axis=1)
    scores = scores.to(states_ptr.dtype.element_ty)
    for first in tl.range(0, K, BLOCK_K, disable_licm=True):
        dq = from_state(
            d_o_ptr, states_ptr, place, here, left, head, H, K, V, first,
            BLOCK_T, BLOCK_K, BLOCK_V, NORM,
        )  # fmt: skip
        if NORM:
            norm = _load_norm(states_ptr, place, first, K, V, BLOCK_K)
            dq += d_weight[:, None] * norm[None, :]
        dq *= since[:, None]
        if f_ptr is not None:
            # out of the state before the chunk
            q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
            paths += tl.cumsum(tl.sum(dq * q, axis=1), axis=0, reverse=True)
        k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
        dq += tl.dot(scores, k, input_precision="ieee")
        _store_tile(dq_ptr, dq, here, left, head, H, K, BLOCK_T, BLOCK_K, first)
    return paths


@triton.jit
def _key_gradients(
    q_ptr, k_ptr, v_ptr, i_ptr, f_ptr, d_o_ptr, states_ptr, end_ptr,
    dk_ptr, di_ptr, df_ptr, paths, d_weight,
    here, left, place, index, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """dK, and the gradients of the gates, when there are any, from the ``paths`` that end in the chunk."""
    steps = tl.arange(0, BLOCK_T)
    rows, inside = here + steps, steps < left
    scores = products(v_ptr, d_o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V)
    if NORM:
        scores += d_weight[None, :]
    scores = _weighed(scores, i_ptr, f_ptr, here, left, head, H, 1, BLOCK_T, NORM)
    scores = scores.to(states_ptr.dtype.element_ty)
    onward, found = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, K, BLOCK_K, disable_licm=True):
        dk = from_state(
            v_ptr, end_ptr, index, here, left, head, H, K, V, first,
            BLOCK_T, BLOCK_K, BLOCK_V, NORM,
        )  # fmt: skip
        if NORM:
            dk += _load_norm(end_ptr, index, first, K, V, BLOCK_K)[None, :]
        # found anew for each tile, to take no registers through the products
        weight = decay_until(f_ptr, here, left, head, H, BLOCK_T)
        weight *= write_gate(i_ptr, rows, inside, head, H, BLOCK_T, NORM)
        dk *= weight[:, None]
        if f_ptr is not None:
            k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
            onward += tl.sum(dk * k, axis=1)
        q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
        dk += tl.dot(scores, q, input_precision="ieee")
        if i_ptr is not None:
            k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, first, GROUP)
            found += tl.sum(dk * k, axis=1)
        _store_tile(dk_ptr, dk, here, left, head, H, K, BLOCK_T, BLOCK_K, first)
    if f_ptr is not None:
        # from an earlier step to the state behind the chunk, and from the state before it to that
        before = steps[:, None] > steps[None, :]
        paths += tl.sum(tl.where(before, onward[None, :], 0.0), axis=1)
        through = _inner(states_ptr, end_ptr, place, index, K, V, BLOCK_K, BLOCK_V, NORM)
        paths += decay_over(f_ptr, here, left, head, H, BLOCK_T) * through
        f = tl.load(f_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
        df = (paths * tl.sigmoid(-f)).to(df_ptr.dtype.element_ty)
        tl.store(df_ptr + rows * H + head, df, mask=inside)
    if i_ptr is not None:
        i = tl.load(i_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
        # exp is its own derivative
        di = found if NORM else found * tl.sigmoid(-i)
        tl.store(di_ptr + rows * H + head, di.to(di_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _inner(
    s_ptr, g_ptr, place, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """The sum over all entries of S times G."""
    total = 0.0
    for k in tl.range(0, K, BLOCK_K, disable_licm=True):
        for v in tl.range(0, V, BLOCK_V, disable_licm=True):
            s = _load_state(s_ptr, place, k, v, K, V, BLOCK_K, BLOCK_V, NORM)
            g = _load_state(g_ptr, index, k, v, K, V, BLOCK_K, BLOCK_V, NORM)
            total += tl.sum(tl.sum(s * g, axis=1), axis=0)
        if NORM:
            s = _load_norm(s_ptr, place, k, K, V, BLOCK_K)
            total += tl.sum(s * _load_norm(g_ptr, index, k, K, V, BLOCK_K), axis=0)
    return total


@triton.jit
def _value_gradients(
    q_ptr, k_ptr, i_ptr, f_ptr, d_o_ptr, end_ptr, dv_ptr, d_weight,
    here, left, index, head, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """dV, then G."""
    steps = tl.arange(0, BLOCK_T)
    since = decay_since(f_ptr, here, left, head, H, BLOCK_T)
    weight = decay_until(f_ptr, here, left, head, H, BLOCK_T)
    weight *= write_gate(i_ptr, here + steps, steps < left, head, H, BLOCK_T, NORM)
    whole = decay_over(f_ptr, here, left, head, H, BLOCK_T)
    scores = products(k_ptr, q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, GROUP)
    scores = _weighed(scores, i_ptr, f_ptr, here, left, head, H, 1, BLOCK_T, NORM)
    scores = scores.to(dv_ptr.dtype.element_ty)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        dv = tl.zeros((BLOCK_T, BLOCK_V), tl.float32)
        for row in tl.range(0, K, BLOCK_K, disable_licm=True):
            k = _load_tile(k_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, row, GROUP)
            end = _load_state(end_ptr, index, row, first, K, V, BLOCK_K, BLOCK_V, NORM)
            dv += tl.dot(k, end.to(k.dtype), input_precision="ieee")
        dv *= weight[:, None]
        d = _load_tile(d_o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dv += tl.dot(scores, d, input_precision="ieee")
        _store_tile(dv_ptr, dv, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
        for row in tl.range(0, K, BLOCK_K, disable_licm=True):
            q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, row, GROUP)
            d = _load_tile(d_o_ptr, here, left, head, H, V, BLOCK_T, BLOCK_V, first)
            end = _load_state(end_ptr, index, row, first, K, V, BLOCK_K, BLOCK_V, NORM) * whole
            end += tl.dot(tl.trans(_scaled(q, since, f_ptr)), d, input_precision="ieee")
            # no thread writes before all have read
            tl.debug_barrier()
            _store_state(end_ptr, end, index, row, first, K, V, BLOCK_K, BLOCK_V, NORM)
    if NORM:
        for row in tl.range(0, K, BLOCK_K, disable_licm=True):
            q = _load_tile(q_ptr, here, left, head, H, K, BLOCK_T, BLOCK_K, row, GROUP)
            norm = _load_norm(end_ptr, index, row, K, V, BLOCK_K) * whole
            norm += tl.sum(q * (since * d_weight)[:, None], axis=0)
            tl.debug_barrier()
            _store_norm(end_ptr, norm, index, row, K, V, BLOCK_K)
