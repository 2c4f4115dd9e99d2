# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""Diagonal plus rank one on chip: a program walks the chunks of a head, its state in registers.

A step is S <- diag(exp(g)) S + b u^T + k v^T, and what u corrects is recalled by r. In the generalised
rule u = -S^T kappa of the state before it decays, b = eta * kappa and r = kappa. Where the removal is
tied to the write there is no k v^T: u = v - S^T k of the state after it, b = beta k and r = exp(g) * k.
With x = exp(g) * q, D[i, j] the decays, a number a channel, over the steps between i and j, c[i] and
e[j] those of the steps before i and behind j in the chunk, and w that of all of it, the triangles

    A[i, j] = sum_d r[i, d] D[i, j, d] b[j, d],   F[i, j] = ... k[j, d]    for i > j
    P[i, j] = sum_d x[i, d] D[i, j, d] b[j, d],   W[i, j] = ... k[j, d]    for i > j
    P[i, i] = q[i] . b[i],                        W[i, i] = q[i] . k[i]

come a halving at a time, a product each, and give, V in place of -F V where the write is tied,

    U = (I + A)^-1 (-(c * r) S - F V)
    O = (c * x) S + P U + W V,   S <- diag(w) S + (e * b)^T U + (e * k)^T V

No exponent is above 0. Backwards dO and the gradient G of the state at the end of a chunk give, in a
walk from the right,

    dU = P^T dO + (e * b) G,   dR = (I + A)^-T dU,   dV = W^T dO - F^T dR + (e * k) G
    G <- diag(w) G + (c * x)^T dO - (c * r)^T dR

(dV = dR where tied), and what remains depends on nothing outside its chunk: dP = dO U^T, dA = -dR U^T,
dW = dO V^T and dF = -dR V^T lead to the keys, halving by halving and some channels at a time. Where two
halves meet, a triangle and its transpose share one symmetric matrix: the early steps' keys and the
late steps' readings go through it side by side. The gradient of g sums the paths over each step; the
difference of q dq and k dk would cancel.

Where tied, several heads of v may share one of q and k, which are read where they lie. Their gradients
then are written in float32 for every head of v, read again and summed.

States are held as [V, K] and rows as [V, C] or [K, C]: so the long axis is that of the accumulator,
which matrix units want long, and every accumulator feeds the next product as it lies. Of a state wider
than 128, whose rows fill a warp's registers, a program walks fewer columns.
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
    decays,
    decays_across,
    handed_on,
    late,
    meeting,
    passed,
    passed_across,
)
from impl.common.heads import sum_heads
from impl.common.sequences import block, chunk_count, chunk_of, first_chunk, span

WIDEST = 256
"""Largest K and V."""
WIDE = 128
"""K up to which a program holds as many columns of V; past it, a quarter."""
TILE = 16
"""Channels that the triangles take at a time: more spill on compute capability 8.0."""


def dplr_walk(
    q: Tensor, k: Tensor, v: Tensor, kappa: Tensor | None, rate: Tensor, g: Tensor,
    h0: Tensor | None, cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int, checkpoint: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state; without ``kappa`` the removal is tied to the write.

    A backward pass keeps a state every ``checkpoint`` steps and makes the others again, in one launch
    of a program a sequence and head; at ``chunk`` it keeps every chunk's, and chunks run side by side.
    """
    if checkpoint > chunk and checkpoint % chunk:
        raise ValueError(f"checkpoint={checkpoint}, want a multiple of chunk={chunk}")
    return _Walk.apply(q, k, v, kappa, rate, g, h0, cu_seqlens, sizes, chunk, checkpoint)  # pyright: ignore[reportReturnType]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q, k, v, kappa, rate, g, h0, cu_seqlens, sizes: dict[str, int], chunk, checkpoint
    ):
        q, k, v, rate, g = (x.contiguous() for x in (q, k, v, rate, g))
        kappa, h0 = (None if x is None else x.contiguous() for x in (kappa, h0))
        o, last = torch.empty_like(v), v.new_empty(*(sizes[axis] for axis in "SHKV"))
        starts, kept = None, (None,) * 5
        if any(ctx.needs_input_grad):
            pieces = chunk_count(sizes, checkpoint, cu_seqlens)
            starts = v.new_empty(pieces, *last.shape[1:])
            if checkpoint == chunk:
                kept = _kept(v, v.shape[:-1], chunk, tied=kappa is None)
        meta, grid = _meta(sizes, chunk, v.dtype)
        _dplr_walk_kernel[grid](
            q, k, v, kappa, rate, g, h0, cu_seqlens, o, last, starts, *kept,
            CHECKPOINT=checkpoint, TILE=TILE, **meta,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, kappa, rate, g, h0, cu_seqlens, starts, *kept)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.chunk, ctx.checkpoint = sizes, chunk, checkpoint
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, kappa, rate, g, h0, cu_seqlens, starts, *kept = ctx.saved_tensors
        d_o, d_last = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        given = q, k, v, kappa, rate, g, d_o, d_last, cu_seqlens, starts
        made = [None if x is None else torch.empty_like(x) for x in (q, k, v, kappa, rate, g, h0)]
        if q.shape != g.shape:
            # of each head, to be summed
            made[:2] = (torch.empty_like(g, dtype=torch.float32) for _ in "qk")
        if ctx.checkpoint == ctx.chunk:
            _side_by_side(ctx, given, kept, made)
        else:
            _piece_by_piece(ctx, given, made)
        return sum_heads(made[0], q), sum_heads(made[1], k), *made[2:], None, None, None, None


def _side_by_side(ctx: Any, given: tuple[Any, ...], kept: list[Any], made: list[Any]) -> None:
    """Fill the gradients from what every chunk kept: a walk, then a program a chunk."""
    q, k, v, kappa, rate, g, d_o, d_last, cu_seqlens, starts = given
    dq, dk, dv, dkappa, drate, dg, dh0 = made
    u, *triangles = kept
    sizes, ends = ctx.sizes, torch.empty_like(starts)
    # where tied, dR is the gradient of v
    dr = dv if kappa is None else torch.empty_like(v)
    meta, grid = _meta(sizes, ctx.chunk, v.dtype)
    _dplr_reverse_walk_kernel[grid](
        q, k, kappa, rate, g, *triangles, d_o, d_last, cu_seqlens,
        None if kappa is None else dv, dr, ends, dh0, **meta,
    )  # fmt: skip
    meta |= _tiles(meta.pop("BLOCK_K"), meta.pop("BLOCK_V"))
    _dplr_gradients_kernel[(len(starts), sizes["H"])](
        q, k, v, kappa, rate, g, d_o, u, dr, starts, ends, cu_seqlens, dq, dk, dkappa, drate, dg,
        sizes["S"], BLOCK_S=triton.next_power_of_2(sizes["S"]), **meta,
    )  # fmt: skip


def _piece_by_piece(ctx: Any, given: tuple[Any, ...], made: list[Any]) -> None:
    """Fill the gradients from a state a piece, whose other states live in scratch of each program."""
    v, kappa, sizes = given[2], given[3], ctx.sizes
    programs = sizes["S"] * sizes["H"]
    states = v.new_empty(programs * (ctx.checkpoint // ctx.chunk), sizes["K"], sizes["V"])
    end = v.new_empty(programs, sizes["K"], sizes["V"], dtype=torch.float32)
    dr = v.new_empty(programs, ctx.chunk, sizes["V"])
    rows = (programs, ctx.checkpoint)
    u, *triangles = _kept(v, rows, ctx.chunk, tied=kappa is None)
    meta, _ = _meta(sizes, ctx.chunk, v.dtype)
    meta |= _tiles(meta["BLOCK_K"], meta["BLOCK_V"]) | {"num_warps": 8}
    meta["BLOCK_V"] = meta["TILE_V"]
    _dplr_backward_kernel[(programs,)](
        *given[:8], given[9], given[8], states, end, u, dr, *triangles, *made,
        CHECKPOINT=ctx.checkpoint, TILE=TILE, **meta,
    )  # fmt: skip


def _kept(v: Tensor, rows: Any, chunk: int, *, tied: bool) -> tuple[Tensor | None, ...]:
    """Room for U and for the triangles of every step, two of them where tied."""
    triangles = v.new_empty(2 if tied else 4, *rows, chunk).unbind()
    return v.new_empty(*rows, v.shape[-1]), *triangles, *((None,) * (4 - len(triangles)))


def _meta(
    sizes: dict[str, int], chunk: int, dtype: torch.dtype
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Size arguments that all kernels share, and the grid of a walk."""
    meta = {axis: sizes[axis] for axis in "THKV"}
    # heads of v that share one of q and k
    meta |= {"GROUP": sizes["H"] // sizes.get("G", sizes["H"])}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"])}
    wide = meta["BLOCK_K"] > WIDE
    meta |= {"BLOCK_V": min(block(sizes["V"]), WIDE // 4 if wide else WIDE)}
    # 16 rows of a state a warp; no loads ahead, for what they hold spills
    meta |= {"num_warps": 8 if wide or meta["BLOCK_V"] > 64 else 4, "num_stages": 1}
    # unless told how many registers there are, ptxas leaves half to other programs, and spills
    meta |= {"maxnreg": 255 if wide or dtype == torch.float32 else None}
    return meta, (sizes["S"] * sizes["H"], triton.cdiv(sizes["V"], meta["BLOCK_V"]))


def _tiles(BLOCK_K: int, BLOCK_V: int) -> dict[str, int]:
    """Channels and columns of a state that the gradients of a chunk take at a time."""
    return {"TILE_K": min(BLOCK_K, 16), "TILE_V": min(BLOCK_V, 64)}


@triton.jit
def _places(
    row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first,
    ACROSS: tl.constexpr,
):  # fmt: skip
    """Where columns from ``first`` of rows of one head are, and whether they are, [C, K] or [K, C].

    One far place, in 64 bits, and short ways from there: a place for each element would spill.
    """
    far = (row.to(tl.int64) * H + head) * K
    steps, k = tl.arange(0, BLOCK_T), first + tl.arange(0, BLOCK_K)
    if ACROSS:
        near = steps[None, :] * (H * K) + k[:, None]
        mask = (steps < left)[None, :] & (k < K)[:, None]
    else:
        near = steps[:, None] * (H * K) + k[None, :]
        mask = (steps < left)[:, None] & (k < K)[None, :]
    return far, near, mask


@triton.jit
def _load(
    x_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first=0,
    ACROSS: tl.constexpr = 0, GROUP: tl.constexpr = 1,
):  # fmt: skip
    """Columns from ``first`` of ``left`` rows of one head, [C, K] or, ``ACROSS``, [K, C]; else zero.

    Of a tensor in which ``GROUP`` neighbours of the H heads share one.
    """
    head, H = head // GROUP, H // GROUP
    far, near, mask = _places(row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS)
    return tl.load(x_ptr + far + near, mask=mask, other=0.0)


@triton.jit
def _edge_decays(
    g_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BEFORE: tl.constexpr,
):  # fmt: skip
    """Decays c or e as [C, K]. By a scan: of a product of C rows every warp would hold all."""
    near_by: tl.constexpr = -1 if BEFORE else 1
    over, k = tl.arange(0, BLOCK_T) + near_by, tl.arange(0, BLOCK_K)
    inside = (over >= 0) & (over < tl.minimum(left, BLOCK_T))
    far = (row.to(tl.int64) * H + head) * K
    near = over[:, None] * (H * K) + k[None, :]
    g = tl.load(g_ptr + far + near, mask=inside[:, None] & (k < K)[None, :], other=0.0)
    return tl.exp2(tl.cumsum(g.to(tl.float32), axis=0, reverse=not BEFORE) * LOG2_E)


@triton.jit
def _store_across(
    x_ptr, x, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first=0
):  # fmt: skip
    """Write x [K, C] to columns from ``first`` of ``left`` rows of one head, in their dtype."""
    far, near, mask = _places(row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS=True)
    tl.store(x_ptr + far + near, x.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _state_at(index, K, V, k, v):
    """Where [k, v] of state ``index`` of a contiguous [states, K, V] tensor is, and whether it is."""
    return index.to(tl.int64) * K * V, k * V + v, (k < K) & (v < V)


@triton.jit
def _load_state(s_ptr, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, first=0):
    """State ``index`` as [V, K] in float32, its columns from ``first``; zero past the edges."""
    k, v = tl.arange(0, BLOCK_K)[None, :], first + tl.arange(0, BLOCK_V)[:, None]
    far, near, mask = _state_at(index, K, V, k, v)
    return tl.load(s_ptr + far + near, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_state(s_ptr, state, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, first=0):
    """Write a state [V, K] to columns from ``first`` of state ``index`` in its dtype."""
    k, v = tl.arange(0, BLOCK_K)[None, :], first + tl.arange(0, BLOCK_V)[:, None]
    far, near, mask = _state_at(index, K, V, k, v)
    tl.store(s_ptr + far + near, state.to(s_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_tile(
    s_ptr, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, first, column
):  # fmt: skip
    """Rows from ``first`` and columns from ``column`` of state ``index``, as [K, V]; zero past edges."""
    k, v = first + tl.arange(0, BLOCK_K)[:, None], column + tl.arange(0, BLOCK_V)[None, :]
    far, near, mask = _state_at(index, K, V, k, v)
    return tl.load(s_ptr + far + near, mask=mask, other=0.0)


@triton.jit
def _recalls(
    k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    first, ACROSS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """What recalls, r, in float32."""
    if kappa_ptr is None:
        g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS)
        r = _load(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS, GROUP)
        r = r * tl.exp2(g.to(tl.float32) * LOG2_E)
    else:
        r = _load(kappa_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS).to(tl.float32)
    return r


@triton.jit
def _reads(
    q_ptr, g_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first,
    ACROSS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """What reads, x, in float32."""
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS).to(tl.float32)
    return _load(q_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS, GROUP) * tl.exp2(
        g * LOG2_E
    )


@triton.jit
def _late_keys(
    q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first, QUERY: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """What reads, x, where ``QUERY``, else what recalls, r; as [K, C]."""
    if QUERY:
        x = _reads(
            q_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS=True, GROUP=GROUP
        )
    else:
        x = _recalls(
            k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS=True,
            GROUP=GROUP,
        )  # fmt: skip
    return x


@triton.jit
def _rates(
    kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first,
    ACROSS: tl.constexpr,
):  # fmt: skip
    """What b is over its key, in float32: one number a step where tied."""
    if kappa_ptr is None:
        steps = tl.arange(0, BLOCK_T)
        rate = tl.load(rate_ptr + (row * H + head) + steps * H, mask=steps < left, other=0.0)
        rate = rate[None, :] if ACROSS else rate[:, None]
    else:
        rate = _load(rate_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS)
    return rate.to(tl.float32)


@triton.jit
def _writes(
    k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    first, ACROSS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """What is written, b, in float32."""
    rate = _rates(kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS)
    if kappa_ptr is None:
        key = _load(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS, GROUP)
    else:
        key = _load(kappa_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, first, ACROSS)
    return key * rate


@triton.jit
def _product(a, b, EXACT: tl.constexpr):
    """Product in float32, to 16 bits unless ``EXACT``: on matrix cores, where 11 are kept of it."""
    if EXACT:
        total = tl.dot(a, b, input_precision="ieee")
    else:
        a_high, b_high = a.to(tl.bfloat16), b.to(tl.bfloat16)
        total = tl.dot(a_high, b_high)
        total += tl.dot((a - a_high).to(tl.bfloat16), b_high)
        total += tl.dot(a_high, (b - b_high).to(tl.bfloat16))
    return total


@triton.jit
def _triangles(
    q_ptr, k_ptr, kappa_ptr, rate_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """(I + A)^-1, P, F and W, each transposed, in the dtype of k; F and W are zero where tied."""
    early, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    zero = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    removed, fed, written = zero, zero, zero
    dtype = k_ptr.dtype.element_ty
    for first in tl.range(0, K, TILE, disable_licm=True):
        b = _writes(
            k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE, first, ACROSS=False,
            GROUP=GROUP,
        )  # fmt: skip
        q = _load(q_ptr, row, left, head, H, K, BLOCK_T, TILE, first, ACROSS=True, GROUP=GROUP)
        removed = tl.dot(b.to(dtype), q, removed, input_precision="ieee")
        if kappa_ptr is not None:
            k = _load(k_ptr, row, left, head, H, K, BLOCK_T, TILE, first)
            written = tl.dot(k, q, written, input_precision="ieee")
    inverse = tl.where(early == to, 1.0, 0.0)
    removed = tl.where(early == to, removed, 0.0)
    written = tl.where(early == to, written, 0.0)
    halving = 0
    while 1 << halving < BLOCK_T:
        system, remove, feed, write = zero, zero, zero, zero
        # some channels at a time, loaded anew for each halving: held, they spill
        for first in tl.range(0, K, TILE, disable_licm=True):
            g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE, first, ACROSS=True)
            decay = decays_across(g, passed_across(halving, BLOCK_T))
            r = _recalls(
                k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE, first, ACROSS=True,
                GROUP=GROUP,
            )  # fmt: skip
            recalls = (r * decay).to(dtype)
            x = _reads(
                q_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE, first, ACROSS=True, GROUP=GROUP
            )
            reads = (x * decay).to(dtype)
            g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE, first)
            decay = decays(passed(halving, BLOCK_T), g)
            b = _writes(
                k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE, first,
                ACROSS=False, GROUP=GROUP,
            )  # fmt: skip
            out = (b * decay).to(dtype)
            system = tl.dot(out, recalls, system, input_precision="ieee")
            remove = tl.dot(out, reads, remove, input_precision="ieee")
            if kappa_ptr is not None:
                k = _load(k_ptr, row, left, head, H, K, BLOCK_T, TILE, first)
                into = (k * decay).to(dtype)
                feed = tl.dot(into, recalls, feed, input_precision="ieee")
                write = tl.dot(into, reads, write, input_precision="ieee")
        apart = handed_on(halving, BLOCK_T)
        removed += tl.where(apart, remove, 0.0)
        fed += tl.where(apart, feed, 0.0)
        written += tl.where(apart, write, 0.0)
        # inverses of blocks of this size, joined to those of the next
        joined = _product(tl.where(apart, system, 0.0), inverse, dtype == tl.float32)
        inverse -= _product(inverse, joined, dtype == tl.float32)
        halving += 1
    return inverse.to(dtype), removed.to(dtype), fed.to(dtype), written.to(dtype)


@triton.jit
def _step(
    state, inverse, removed, fed, written,
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, o_ptr, row, left, head, H, K, V, first,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The state [V, K] after a chunk and U as [V, C]; writes O where asked."""
    dtype = k_ptr.dtype.element_ty
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True)
    # [over, step]: what comes before a step is what it comes behind
    decay = decays_across(g, behind(BLOCK_T))
    r = _recalls(
        k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True,
        GROUP=GROUP,
    )  # fmt: skip
    v = _load(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first, ACROSS=True)
    wrong = -tl.dot(state.to(dtype), (r * decay).to(dtype), input_precision="ieee")
    if kappa_ptr is None:
        wrong += v
    else:
        wrong -= tl.dot(v, fed, input_precision="ieee")
    u = tl.dot(wrong.to(dtype), inverse, input_precision="ieee").to(dtype)
    if o_ptr is not None:
        if BLOCK_K > 128:
            # what is loaded ahead spills
            tl.debug_barrier()
        x = _reads(
            q_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True, GROUP=GROUP
        )
        o = tl.dot(state.to(dtype), (x * decay).to(dtype), input_precision="ieee")
        o += tl.dot(u, removed, input_precision="ieee")
        if kappa_ptr is not None:
            o += tl.dot(v, written, input_precision="ieee")
        _store_across(o_ptr, o, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    if BLOCK_K > 128:
        tl.debug_barrier()
    decay = _edge_decays(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, BEFORE=False)
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
    b = _writes(
        k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=False,
        GROUP=GROUP,
    )  # fmt: skip
    state *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[None, :]
    state += tl.dot(u, (b * decay).to(dtype), input_precision="ieee")
    if kappa_ptr is not None:
        k = _load(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
        state += tl.dot(v, (k * decay).to(dtype), input_precision="ieee")
    return state, u


@triton.jit
def _dplr_walk_kernel(
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, starts_ptr, u_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    T, H, K, V, CHECKPOINT: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, TILE: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    piece = first_chunk(cu_seqlens_ptr, index // H, T, CHECKPOINT)
    state = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
    if h0_ptr is not None:
        state += _load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V, first)

    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = start + done, length - done
        # known when compiled, then not
        if starts_ptr is not None:  # noqa: SIM102
            if done % CHECKPOINT == 0:
                place = (piece + done // CHECKPOINT) * H + head
                _store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, first)
        inverse, removed, fed, written = _triangles(
            q_ptr, k_ptr, kappa_ptr, rate_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE,
            GROUP=GROUP,
        )  # fmt: skip
        state, u = _step(
            state, inverse, removed, fed, written,
            q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, o_ptr, row, left, head, H, K, V,
            first, BLOCK_T, BLOCK_K, BLOCK_V, GROUP=GROUP,
        )  # fmt: skip
        if u_ptr is not None:
            _store_across(u_ptr, u, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
            # of all tiles of V alike
            once = tl.where(first == 0, left, 0)
            _store_across(inverse_ptr, inverse, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            _store_across(removed_ptr, removed, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            if kappa_ptr is not None:
                _store_across(fed_ptr, fed, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
                _store_across(written_ptr, written, row, once, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
    _store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V, first)


@triton.jit
def _corrections(
    end, k_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, dv_ptr, dr_ptr,
    inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    row, left, head, H, kept_row, dr_row, kept_head, kept_H, K, V, first,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Gives dO and dR as [V, C], from the gradient of the state after a chunk; writes dR and dV.

    Triangles lie at ``kept_row``, and dR goes to ``dr_row``, of ``kept_head`` of ``kept_H``.
    """
    dtype = k_ptr.dtype.element_ty
    d_o = _load(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first, ACROSS=True)
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True)
    # [over, step]: what comes behind a step is what it comes before
    decay = decays_across(g, before(BLOCK_T))
    b = _writes(
        k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True,
        GROUP=GROUP,
    )  # fmt: skip
    du = tl.dot(end.to(dtype), (b * decay).to(dtype), input_precision="ieee")
    removed = _load(removed_ptr, kept_row, left, kept_head, kept_H, BLOCK_T, BLOCK_T, BLOCK_T)
    du += tl.dot(d_o, removed, input_precision="ieee")
    inverse = _load(inverse_ptr, kept_row, left, kept_head, kept_H, BLOCK_T, BLOCK_T, BLOCK_T)
    dr = tl.dot(du.to(dtype), inverse, input_precision="ieee").to(dtype)
    _store_across(dr_ptr, dr, dr_row, left, kept_head, kept_H, V, BLOCK_T, BLOCK_V, first)
    if kappa_ptr is None:
        dv = dr
    else:
        k = _load(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=True)
        dv = tl.dot(end.to(dtype), (k * decay).to(dtype), input_precision="ieee")
        written = _load(written_ptr, kept_row, left, kept_head, kept_H, BLOCK_T, BLOCK_T, BLOCK_T)
        dv += tl.dot(d_o, written, input_precision="ieee")
        fed = _load(fed_ptr, kept_row, left, kept_head, kept_H, BLOCK_T, BLOCK_T, BLOCK_T)
        dv -= tl.dot(dr, fed, input_precision="ieee")
    if dv_ptr is not None:
        _store_across(dv_ptr, dv, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    return d_o, dr


@triton.jit
def _earlier(
    end, d_o, dr, q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The gradient of the state [V, K] before a chunk from that after it."""
    dtype = k_ptr.dtype.element_ty
    decay = _edge_decays(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, BEFORE=True)
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
    end *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[None, :]
    x = _reads(q_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=False, GROUP=GROUP)
    end = tl.dot(d_o, (x * decay).to(dtype), end, input_precision="ieee")
    r = _recalls(
        k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, 0, ACROSS=False,
        GROUP=GROUP,
    )  # fmt: skip
    # the sign on the rows, for a product can only be added in place
    return tl.dot(dr, (-r * decay).to(dtype), end, input_precision="ieee")


@triton.jit
def _over_steps(paths, over, EXACT: tl.constexpr):
    """Sums of paths [K, C] over the zeros and ones of ``over`` [C, C]; to 16 bits unless ``EXACT``."""
    if EXACT:
        total = tl.dot(paths, over.to(tl.float32), input_precision="ieee")
    else:
        high = paths.to(tl.bfloat16)
        total = tl.dot(high, over.to(tl.bfloat16))
        total += tl.dot((paths - high).to(tl.bfloat16), over.to(tl.bfloat16))
    return total


@triton.jit
def _scores(
    late_ptr, late_row, late_head, late_H, early_ptr, early_row, early_head, early_H, left, V,
    BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Products of late rows with early ones: [late, early] and, above the diagonal, the same mirrored.

    Each twice, for a dot with a transposed accumulator is miscompiled.
    """
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    mirrored = scores
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        x = _load(late_ptr, late_row, left, late_head, late_H, V, BLOCK_T, BLOCK_V, first)
        y = _load(early_ptr, early_row, left, early_head, early_H, V, BLOCK_T, BLOCK_V, first)
        scores = tl.dot(x, tl.trans(y), scores, input_precision="ieee")
        mirrored = tl.dot(y, tl.trans(x), mirrored, input_precision="ieee")
    return tl.where(before(BLOCK_T), scores, mirrored)


@triton.jit
def _met(early, read, scores, decay, halving, BLOCK_T: tl.constexpr):
    """What the late steps and the early ones get of each other through ``scores``, and the paths."""
    is_late = late(tl.arange(0, BLOCK_T), halving)[None, :]
    meets = tl.where(meeting(halving, BLOCK_T), scores, 0.0).to(scores.dtype)
    keys = tl.where(is_late, read, early)
    got = tl.dot((keys * decay).to(scores.dtype), meets, input_precision="ieee") * decay
    return tl.where(is_late, got, 0.0), tl.where(is_late, 0.0, got), keys * got


@triton.jit
def _late_gradients(
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_ptr, u_ptr, starts_ptr, dq_ptr,
    db, dk, dg, row, left, head, H, d_row, d_head, d_H, u_row, u_head, u_H, start, K, V, first,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, QUERY: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """What comes through the triangles of x (``QUERY``) or of r, and the state before the chunk.

    ``d_ptr`` holds dO or dR. Adds to the gradients of b, k and g, returns that of r, writes that of q.
    """
    dtype = k_ptr.dtype.element_ty
    exact: tl.constexpr = dtype == tl.float32
    sign: tl.constexpr = 1.0 if QUERY else -1.0
    to_b = sign * _scores(
        d_ptr, d_row, d_head, d_H, u_ptr, u_row, u_head, u_H, left, V, BLOCK_T, BLOCK_V
    )
    steps = tl.arange(0, BLOCK_T)
    same = steps[:, None] == steps[None, :]
    touched = tl.sum(tl.where(same, to_b, 0.0), axis=0)[None, :]
    to_b = to_b.to(dtype)
    if kappa_ptr is not None:
        to_k = sign * _scores(
            d_ptr, d_row, d_head, d_H, v_ptr, row, head, H, left, V, BLOCK_T, BLOCK_V
        )
        joined = tl.sum(tl.where(same, to_k, 0.0), axis=0)[None, :]
        to_k = to_k.to(dtype)
    dx = tl.zeros((TILE_K, BLOCK_T), tl.float32)
    for column in tl.range(0, V, BLOCK_V, disable_licm=True):
        state = _load_tile(starts_ptr, start, K, V, TILE_K, BLOCK_V, first, column)
        d = _load(d_ptr, d_row, left, d_head, d_H, V, BLOCK_T, BLOCK_V, column, ACROSS=True)
        dx = tl.dot(state.to(dtype), d, dx, input_precision="ieee")
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
    dx *= sign * decays_across(g, behind(BLOCK_T))
    x = _late_keys(
        q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, QUERY,
        GROUP=GROUP,
    )  # fmt: skip
    dg += _over_steps(x * dx, before(BLOCK_T), exact)

    # row are loaded anew for each halving: held, they spill
    halving = 0
    while 1 << halving < BLOCK_T:
        g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
        decay = decays_across(g, passed_across(halving, BLOCK_T))
        x = _late_keys(
            q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, QUERY,
            GROUP=GROUP,
        )  # fmt: skip
        b = _writes(
            k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True,
            GROUP=GROUP,
        )  # fmt: skip
        to_late, to_early, paths = _met(b, x, to_b, decay, halving, BLOCK_T)
        dx += to_late
        db += to_early
        if kappa_ptr is not None:
            k = _load(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
            to_late, to_early, more = _met(k, x, to_k, decay, halving, BLOCK_T)
            dx += to_late
            dk += to_early
            paths += more
        dg += _over_steps(paths, passed(halving, BLOCK_T), exact)
        halving += 1

    if QUERY:
        # within a step, which reads after its own decay
        x = _reads(
            q_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True, GROUP=GROUP
        )
        dg += x * dx
        g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
        b = _writes(
            k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True,
            GROUP=GROUP,
        )  # fmt: skip
        dq = dx * tl.exp2(g.to(tl.float32) * LOG2_E) + touched * b
        q = _load(q_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True, GROUP=GROUP)
        db += touched * q
        if kappa_ptr is not None:
            k = _load(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
            dq += joined * k
            dk += joined * q
        _store_across(dq_ptr, dq, row, left, head, H, K, BLOCK_T, TILE_K, first)
    return dx, db, dk, dg


@triton.jit
def _early_gradients(
    k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, u_ptr, starts_ptr, ends_ptr,
    db, dk, dg, row, left, head, H, u_row, u_head, u_H, start, end, K, V, first,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Adds what comes through the state after the chunk to the gradients of b, k and g."""
    dtype = k_ptr.dtype.element_ty
    exact: tl.constexpr = dtype == tl.float32
    to_b = tl.zeros((TILE_K, BLOCK_T), tl.float32)
    to_k = to_b
    over = tl.zeros((TILE_K,), tl.float32)
    for column in tl.range(0, V, BLOCK_V, disable_licm=True):
        state = _load_tile(starts_ptr, start, K, V, TILE_K, BLOCK_V, first, column)
        later = _load_tile(ends_ptr, end, K, V, TILE_K, BLOCK_V, first, column)
        over += tl.sum(state.to(tl.float32) * later, axis=1)
        u = _load(u_ptr, u_row, left, u_head, u_H, V, BLOCK_T, BLOCK_V, column, ACROSS=True)
        to_b = tl.dot(later.to(dtype), u, to_b, input_precision="ieee")
        if kappa_ptr is not None:
            v = _load(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, column, ACROSS=True)
            to_k = tl.dot(later.to(dtype), v, to_k, input_precision="ieee")
    g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
    dg += (over * tl.exp2(tl.sum(g.to(tl.float32), axis=1) * LOG2_E))[:, None]
    decay = decays_across(g, before(BLOCK_T))
    to_b *= decay
    b = _writes(
        k_ptr, kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True,
        GROUP=GROUP,
    )  # fmt: skip
    paths = b * to_b
    if kappa_ptr is not None:
        to_k *= decay
        paths += to_k * _load(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
    dg += _over_steps(paths, behind(BLOCK_T), exact)
    return db + to_b, dk + to_k, dg


@triton.jit
def _chunk_gradients(
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, u_ptr, dr_ptr, starts_ptr, ends_ptr,
    dq_ptr, dk_ptr, dkappa_ptr, drate_ptr, dg_ptr,
    row, left, head, H, u_row, dr_row, kept_head, kept_H, start, end, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of q, of the keys, of the rate and of g of one chunk, [TILE_K, C] a time.

    ``start`` and ``end`` number the state before the chunk and the gradient of that after it.
    """
    drate = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, K, TILE_K, disable_licm=True):
        db = tl.zeros((TILE_K, BLOCK_T), tl.float32)
        dk, dg = db, db
        _, db, dk, dg = _late_gradients(
            q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, u_ptr, starts_ptr, dq_ptr,
            db, dk, dg, row, left, head, H, row, head, H, u_row, kept_head, kept_H, start,
            K, V, first, BLOCK_T, TILE_K, BLOCK_V, QUERY=True, GROUP=GROUP,
        )  # fmt: skip
        dr, db, dk, dg = _late_gradients(
            q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, dr_ptr, u_ptr, starts_ptr, dq_ptr,
            db, dk, dg, row, left, head, H, dr_row, kept_head, kept_H,
            u_row, kept_head, kept_H, start, K, V, first, BLOCK_T, TILE_K, BLOCK_V, QUERY=False,
            GROUP=GROUP,
        )  # fmt: skip
        db, dk, dg = _early_gradients(
            k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, u_ptr, starts_ptr, ends_ptr,
            db, dk, dg, row, left, head, H, u_row, kept_head, kept_H, start, end, K, V, first,
            BLOCK_T, TILE_K, BLOCK_V, GROUP=GROUP,
        )  # fmt: skip
        rate = _rates(
            kappa_ptr, rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True
        )
        if kappa_ptr is None:
            # k recalls after its own decay
            r = _recalls(
                k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True,
                GROUP=GROUP,
            )  # fmt: skip
            dg += r * dr
            k = _load(
                k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True, GROUP=GROUP
            )
            drate += tl.sum(k * db, axis=0)
            g = _load(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
            dk = dr * tl.exp2(g.to(tl.float32) * LOG2_E) + rate * db
        else:
            kappa = _load(kappa_ptr, row, left, head, H, K, BLOCK_T, TILE_K, first, ACROSS=True)
            dkappa = dr + rate * db
            _store_across(dkappa_ptr, dkappa, row, left, head, H, K, BLOCK_T, TILE_K, first)
            _store_across(drate_ptr, kappa * db, row, left, head, H, K, BLOCK_T, TILE_K, first)
        _store_across(dk_ptr, dk, row, left, head, H, K, BLOCK_T, TILE_K, first)
        _store_across(dg_ptr, dg, row, left, head, H, K, BLOCK_T, TILE_K, first)
    if kappa_ptr is None:
        steps = tl.arange(0, BLOCK_T)
        drate_ptr += row * H + head
        tl.store(drate_ptr + steps * H, drate.to(k_ptr.dtype.element_ty), mask=steps < left)


@triton.jit
def _dplr_reverse_walk_kernel(
    q_ptr, k_ptr, kappa_ptr, rate_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    d_o_ptr, d_last_ptr, cu_seqlens_ptr, dv_ptr, dr_ptr, ends_ptr, dh0_ptr,
    T, H, K, V, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_V
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T)
    end = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
    if d_last_ptr is not None:
        end += _load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
    chunks = tl.cdiv(length, BLOCK_T)
    for i in tl.range(chunks, disable_licm=True):
        number = chunks - 1 - i
        row, left = start + number * BLOCK_T, length - number * BLOCK_T
        place = (chunk + number) * H + head
        _store_state(ends_ptr, end, place, K, V, BLOCK_K, BLOCK_V, first)
        d_o, dr = _corrections(
            end, k_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, dv_ptr, dr_ptr,
            inverse_ptr, removed_ptr, fed_ptr, written_ptr,
            row, left, head, H, row, row, head, H, K, V, first, BLOCK_T, BLOCK_K, BLOCK_V,
            GROUP=GROUP,
        )  # fmt: skip
        end = _earlier(
            end, d_o, dr, q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K,
            GROUP=GROUP,
        )  # fmt: skip
    if dh0_ptr is not None:
        _store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)


@triton.jit
def _dplr_gradients_kernel(
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, u_ptr, dr_ptr, starts_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dkappa_ptr, drate_ptr, dg_ptr,
    S, T, H, K, V, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, TILE_K: tl.constexpr,
    TILE_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    row, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    place = chunk * H + head
    _chunk_gradients(
        q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, u_ptr, dr_ptr, starts_ptr,
        ends_ptr, dq_ptr, dk_ptr, dkappa_ptr, drate_ptr, dg_ptr,
        row, left, head, H, row, row, head, H, place, place, K, V, BLOCK_T, TILE_K, TILE_V,
        GROUP=GROUP,
    )  # fmt: skip


@triton.jit
def _dplr_backward_kernel(
    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, d_last_ptr, checkpoints_ptr,
    cu_seqlens_ptr, starts_ptr, end_ptr, u_ptr, dr_ptr, inverse_ptr, removed_ptr, fed_ptr,
    written_ptr, dq_ptr, dk_ptr, dv_ptr, dkappa_ptr, drate_ptr, dg_ptr, dh0_ptr,
    T, H, K, V, CHECKPOINT: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    TILE: tl.constexpr, TILE_K: tl.constexpr, TILE_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    piece = first_chunk(cu_seqlens_ptr, index // H, T, CHECKPOINT)
    own = index * (CHECKPOINT // BLOCK_T)
    pieces = tl.cdiv(length, CHECKPOINT)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        end = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
        if d_last_ptr is not None:
            end += _load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
        _store_state(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)
    for i in tl.range(pieces, disable_licm=True):
        done = (pieces - 1 - i) * CHECKPOINT
        chunks = tl.cdiv(tl.minimum(length - done, CHECKPOINT), BLOCK_T)
        for number in tl.range(chunks, disable_licm=True):
            row, left = start + done + number * BLOCK_T, length - done - number * BLOCK_T
            kept = index * CHECKPOINT + number * BLOCK_T
            inverse, removed, fed, written = _triangles(
                q_ptr, k_ptr, kappa_ptr, rate_ptr, g_ptr, row, left, head, H, K, BLOCK_T, TILE,
                GROUP=GROUP,
            )  # fmt: skip
            _store_across(inverse_ptr, inverse, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T)
            _store_across(removed_ptr, removed, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T)
            if kappa_ptr is not None:
                _store_across(fed_ptr, fed, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T)
                _store_across(written_ptr, written, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T)
        # what other threads of this program wrote is read from here on
        tl.debug_barrier()
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            place = (piece + pieces - 1 - i) * H + head
            state = _load_state(checkpoints_ptr, place, K, V, BLOCK_K, BLOCK_V, first)
            for number in tl.range(chunks, disable_licm=True):
                row, left = start + done + number * BLOCK_T, length - done - number * BLOCK_T
                kept = index * CHECKPOINT + number * BLOCK_T
                _store_state(starts_ptr, state, own + number, K, V, BLOCK_K, BLOCK_V, first)
                inverse = _load(
                    inverse_ptr, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T, ACROSS=True
                )
                fed = inverse
                if kappa_ptr is not None:
                    fed = _load(fed_ptr, kept, left, 0, 1, BLOCK_T, BLOCK_T, BLOCK_T, ACROSS=True)
                # neither ``removed`` nor ``written`` is asked for where no O is
                state, u = _step(
                    state, inverse, inverse, fed, fed,
                    q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, None, row, left, head,
                    H, K, V, first, BLOCK_T, BLOCK_K, BLOCK_V, GROUP=GROUP,
                )  # fmt: skip
                _store_across(u_ptr, u, kept, left, 0, 1, V, BLOCK_T, BLOCK_V, first)
        tl.debug_barrier()
        for j in tl.range(chunks, disable_licm=True):
            number = chunks - 1 - j
            row, left = start + done + number * BLOCK_T, length - done - number * BLOCK_T
            kept, back = index * CHECKPOINT + number * BLOCK_T, index * BLOCK_T
            for first in tl.range(0, V, BLOCK_V, disable_licm=True):
                end = _load_state(end_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
                _corrections(
                    end, k_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, dv_ptr, dr_ptr,
                    inverse_ptr, removed_ptr, fed_ptr, written_ptr,
                    row, left, head, H, kept, back, 0, 1, K, V, first, BLOCK_T, BLOCK_K, BLOCK_V,
                    GROUP=GROUP,
                )  # fmt: skip
            tl.debug_barrier()
            _chunk_gradients(
                q_ptr, k_ptr, v_ptr, kappa_ptr, rate_ptr, g_ptr, d_o_ptr, u_ptr, dr_ptr,
                starts_ptr, end_ptr, dq_ptr, dk_ptr, dkappa_ptr, drate_ptr, dg_ptr,
                row, left, head, H, kept, back, 0, 1, own + number, index, K, V,
                BLOCK_T, TILE_K, TILE_V, GROUP=GROUP,
            )  # fmt: skip
            # all have read the gradient of the state behind the chunk
            tl.debug_barrier()
            for first in tl.range(0, V, BLOCK_V, disable_licm=True):
                end = _load_state(end_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
                d_o = _load(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first, ACROSS=True)
                dr = _load(dr_ptr, back, left, 0, 1, V, BLOCK_T, BLOCK_V, first, ACROSS=True)
                end = _earlier(
                    end, d_o, dr, q_ptr, k_ptr, kappa_ptr, g_ptr, row, left, head, H, K,
                    BLOCK_T, BLOCK_K, GROUP=GROUP,
                )  # fmt: skip
                tl.debug_barrier()
                _store_state(end_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)
            tl.debug_barrier()
    if dh0_ptr is not None:
        tl.debug_barrier()
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            end = _load_state(end_ptr, index, K, V, BLOCK_K, BLOCK_V, first)
            _store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V, first)
