# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Chunks of diagonal plus rank one on chip: walks over them from either side, and the gradients of one.

What each writes for a chunk goes to the tensors it is handed, of a whole sequence or of a piece of
it: ``shift`` leads from a row of the inputs to the row of theirs, ``place`` is where the first state
lies, those of the chunks that follow are ``H`` apart. The letters are those of ``dplr_walk``. Without
``k_ptr`` the removal is tied to the write: r is read after the decay of its own step, its rate is one
number a step, and there is no F and no W.

No load passes a barrier: between them an input is loaded again rather than held in the layout of a
product, which takes more registers than a chunk of 64 steps leaves.
"""

import triton
import triton.language as tl
from triton.language.target_info import cuda_capability_geq

from impl.common.halved_decays_on_chip import (
    LOG2_E,
    before,
    behind,
    decayed_scores,
    met_gradients,
    mirrored_scores,
    passed_across,
    rated_rows,
    step_decays,
    sums,
)
from impl.common.sequences import (
    load_chunk,
    load_steps,
    load_tile,
    store_chunk,
    store_steps,
    store_tile,
)
from impl.common.unit_lower import unit_lower_inverse

PART = tl.constexpr(64)
"""Channels that the triangles take at a time."""


@triton.jit
def product(a, b, total, K, BLOCK_K: tl.constexpr):
    """``total`` and a b, in a region of its own: K is at least 1 and at most ``BLOCK_K``.

    Of products that feed each other in one region every warp of an older card holds all columns.
    """
    if cuda_capability_geq(9):
        if K > 0:
            total = tl.dot(a, b, total, input_precision="ieee")
    else:
        for _ in tl.range(0, K, BLOCK_K, disable_licm=True):
            total = tl.dot(a, b, total, input_precision="ieee")
    return total


@triton.jit
def _writes(
    r_ptr, rate_ptr, row, left, head, channel, H, K, TIED: tl.constexpr,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Rows of b, in the dtype of r."""
    if TIED:
        r = load_chunk(r_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, TILE_K, channel)
        b = (r * load_steps(rate_ptr, row, left, head, H, BLOCK_T)[:, None]).to(r.dtype)
    else:
        b = rated_rows(r_ptr, rate_ptr, row, left, head, channel, H, K, BLOCK_T, TILE_K, GROUP)
    return b


@triton.jit
def _scores(
    x_ptr, y_ptr, rate_ptr, g_ptr, row, left, head, H, K, OWN: tl.constexpr, STEPS: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    """``decayed_scores``, some channels at a time, in float32; ``STEPS``: the rate is one a step of y."""
    part: tl.constexpr = BLOCK_K if BLOCK_K < PART else PART
    scores = decayed_scores(
        x_ptr, y_ptr, None if STEPS else rate_ptr, g_ptr, row, left, head, H, K,
        BLOCK_T, part, GROUP, HALVINGS, OWN,
    ).to(tl.float32)  # fmt: skip
    if STEPS:
        scores *= load_steps(rate_ptr, row, left, head, H, BLOCK_T)[None, :]
    return scores


@triton.jit
def removal_inverse(
    r_ptr, rate_ptr, g_ptr, row, left, head, H, K, TIED: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    """``(I + A)^-1`` in the dtype of r."""
    system = _scores(
        r_ptr, r_ptr, rate_ptr, g_ptr, row, left, head, H, K, TIED, TIED,
        BLOCK_T, BLOCK_K, GROUP, HALVINGS,
    )  # fmt: skip
    below = tl.where(before(BLOCK_T), system, 0.0)
    # on matrix cores where the result is rounded to half precision
    dtype: tl.constexpr = r_ptr.dtype.element_ty
    precision: tl.constexpr = "ieee" if dtype == tl.float32 else "halves"
    return unit_lower_inverse(below, "doubling", precision, BLOCK_T).to(dtype)


@triton.jit
def readings(
    q_ptr, y_ptr, rate_ptr, g_ptr, row, left, head, H, K, STEPS: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    """P where y is r, W where y is k and there is no rate."""
    scores = _scores(
        q_ptr, y_ptr, rate_ptr, g_ptr, row, left, head, H, K, 1, STEPS,
        BLOCK_T, BLOCK_K, GROUP, HALVINGS,
    )  # fmt: skip
    return tl.where(behind(BLOCK_T), 0.0, scores).to(q_ptr.dtype.element_ty)


@triton.jit
def recalls_of_writes(
    r_ptr, k_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    """F."""
    scores = _scores(
        r_ptr, k_ptr, None, g_ptr, row, left, head, H, K, 0, 0, BLOCK_T, BLOCK_K, 1, HALVINGS
    )
    return tl.where(before(BLOCK_T), scores, 0.0).to(r_ptr.dtype.element_ty)


@triton.jit
def store_triangles(
    q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    start, length, shift, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
):  # fmt: skip
    """The triangles of each chunk of ``length`` steps, which the walks then read."""
    tied: tl.constexpr = k_ptr is None
    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = start + done, length - done
        at = row + shift
        inverse = removal_inverse(
            r_ptr, rate_ptr, g_ptr, row, left, head, H, K, tied, BLOCK_T, BLOCK_K, GROUP, HALVINGS
        )
        store_chunk(inverse_ptr, inverse, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        removed = readings(
            q_ptr, r_ptr, rate_ptr, g_ptr, row, left, head, H, K, tied,
            BLOCK_T, BLOCK_K, GROUP, HALVINGS,
        )  # fmt: skip
        store_chunk(removed_ptr, removed, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        if k_ptr is not None:
            fed = recalls_of_writes(
                r_ptr, k_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, HALVINGS
            )
            store_chunk(fed_ptr, fed, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            written = readings(
                q_ptr, k_ptr, None, g_ptr, row, left, head, H, K, 0, BLOCK_T, BLOCK_K, 1, HALVINGS
            )
            store_chunk(written_ptr, written, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)


@triton.jit
def decayed_rows(
    x, g_ptr, row, left, head, H, K, halving,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, OWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    """All channels of x [C, K] times their ``step_decays``, as [K, C] where ``ACROSS``."""
    decay = step_decays(
        g_ptr, row, left, head, 0, H, K, halving, BLOCK_T, BLOCK_K, OWN, ACROSS=ACROSS
    )
    return ((tl.trans(x) if ACROSS else x) * decay).to(x.dtype)


@triton.jit
def _passed_chunk(
    state, g_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr
):  # fmt: skip
    """``diag(w)`` times a state or the gradient of one."""
    g = tl.trans(load_chunk(g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K))
    return state * tl.exp2(tl.sum(g.to(tl.float32), axis=1) * LOG2_E)[:, None]


@triton.jit
def corrections(
    state, inverse, fed, r_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """U of a chunk from the state before it."""
    tied: tl.constexpr = k_ptr is None
    r = load_chunk(r_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
    recalls = decayed_rows(
        r, g_ptr, row, left, head, H, K, None, BLOCK_T, BLOCK_K, tied, ACROSS=False
    )
    zero = tl.zeros((BLOCK_T, BLOCK_V), tl.float32)
    recalled = product(recalls, state.to(recalls.dtype), zero, K, BLOCK_K)
    v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    if k_ptr is None:
        wrong = v - recalled
    else:
        wrong = -product(fed, v, recalled, K, BLOCK_K)
    return product(inverse, wrong.to(v.dtype), zero, K, BLOCK_K).to(v.dtype)


@triton.jit
def after_chunk(
    state, u, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """The state behind a chunk from the one before it."""
    tied: tl.constexpr = k_ptr is None
    state = _passed_chunk(state, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
    b = _writes(r_ptr, rate_ptr, row, left, head, 0, H, K, tied, BLOCK_T, BLOCK_K, GROUP)
    removes = decayed_rows(
        b, g_ptr, row, left, head, H, K, HALVINGS, BLOCK_T, BLOCK_K, 0, ACROSS=True
    )
    state = product(removes, u, state, K, BLOCK_K)
    if k_ptr is not None:
        tl.debug_barrier()
        k = load_chunk(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
        writes = decayed_rows(
            k, g_ptr, row, left, head, H, K, HALVINGS, BLOCK_T, BLOCK_K, 0, ACROSS=True
        )
        v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        state = product(writes, v, state, K, BLOCK_K)
    return state


@triton.jit
def walk_chunks(
    state, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, inverse_ptr, fed_ptr, u_ptr, starts_ptr,
    start, length, place, shift, head, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """U and the state at the start of each chunk, once their triangles are there."""
    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        row, left = start + done, length - done
        at = row + shift
        store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        inverse = load_chunk(inverse_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        fed = inverse
        if k_ptr is not None:
            fed = load_chunk(fed_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        u = corrections(
            state, inverse, fed, r_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
        store_chunk(u_ptr, u, at, left, head, H, V, BLOCK_T, BLOCK_V, first)
        tl.debug_barrier()
        state = after_chunk(
            state, u, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP, HALVINGS,
        )  # fmt: skip
        place += H


@triton.jit
def walk_chunks_back(
    end, q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, inverse_ptr, removed_ptr, fed_ptr, written_ptr,
    d_o_ptr, dr_ptr, dv_ptr, ends_ptr, start, length, place, shift, head, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """The dR, dV and G at the end of each chunk from the G after all, ``end``; returns the one before."""
    tied: tl.constexpr = k_ptr is None
    chunks = tl.cdiv(length, BLOCK_T)
    for i in tl.range(chunks, disable_licm=True):
        done = (chunks - 1 - i) * BLOCK_T
        row, left = start + done, length - done
        at = row + shift
        store_tile(ends_ptr, end, place + (chunks - 1 - i) * H, K, V, BLOCK_K, BLOCK_V, 0, first)

        b = _writes(r_ptr, rate_ptr, row, left, head, 0, H, K, tied, BLOCK_T, BLOCK_K, GROUP)
        removes = decayed_rows(
            b, g_ptr, row, left, head, H, K, HALVINGS, BLOCK_T, BLOCK_K, 0, ACROSS=False
        )
        zero = tl.zeros((BLOCK_T, BLOCK_V), tl.float32)
        du = product(removes, end.to(removes.dtype), zero, K, BLOCK_K)
        tl.debug_barrier()
        removed = load_chunk(removed_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        d_o = load_chunk(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        du = product(tl.trans(removed), d_o, du, K, BLOCK_K).to(d_o.dtype)
        inverse = load_chunk(inverse_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        dr = product(tl.trans(inverse), du, zero, K, BLOCK_K).to(d_o.dtype)
        store_chunk(dr_ptr, dr, at, left, head, H, V, BLOCK_T, BLOCK_V, first)
        if k_ptr is None:
            if dv_ptr is not None:
                store_chunk(dv_ptr, dr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        else:
            fed = load_chunk(fed_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            dv = product(tl.trans(-fed), dr, zero, K, BLOCK_K)
            written = load_chunk(written_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            dv = product(tl.trans(written), d_o, dv, K, BLOCK_K)
            tl.debug_barrier()
            k = load_chunk(k_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
            writes = decayed_rows(
                k, g_ptr, row, left, head, H, K, HALVINGS, BLOCK_T, BLOCK_K, 0, ACROSS=False
            )
            dv = product(writes, end.to(writes.dtype), dv, K, BLOCK_K)
            store_chunk(dv_ptr, dv, row, left, head, H, V, BLOCK_T, BLOCK_V, first)

        tl.debug_barrier()
        end = _passed_chunk(end, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K)
        r = load_chunk(r_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
        recalls = decayed_rows(
            -r, g_ptr, row, left, head, H, K, None, BLOCK_T, BLOCK_K, tied, ACROSS=True
        )
        end = product(recalls, dr, end, K, BLOCK_K)
        tl.debug_barrier()
        q = load_chunk(q_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
        reads = decayed_rows(
            q, g_ptr, row, left, head, H, K, None, BLOCK_T, BLOCK_K, 1, ACROSS=True
        )
        d_o = load_chunk(d_o_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        end = product(reads, d_o, end, K, BLOCK_K)
    return end


@triton.jit
def _from_states(
    x_ptr, s_ptr, row, left, x_head, x_heads, place, channel, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Rows of x times rows of a state from ``channel``, [C, TILE_K]."""
    found = tl.zeros((BLOCK_T, TILE_K), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        x = load_chunk(x_ptr, row, left, x_head, x_heads, V, BLOCK_T, BLOCK_V, first)
        state = load_tile(s_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        found = tl.dot(x, tl.trans(state), found, input_precision="ieee")
    return found


@triton.jit
def _early_gradients(
    r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, starts_ptr, ends_ptr,
    row, at, left, place, head, channel, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """What b, k and g get of the state behind a chunk."""
    tied: tl.constexpr = k_ptr is None
    through = tl.zeros((TILE_K,), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        state = load_tile(starts_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        through += tl.sum(state.to(tl.float32) * end.to(tl.float32), axis=1)
    g = load_chunk(g_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
    dg = (tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E) * through)[None, :]
    decay = step_decays(
        g_ptr, row, left, head, channel, H, K, HALVINGS, BLOCK_T, TILE_K, OWN=0, ACROSS=False
    )
    db = _from_states(
        u_ptr, ends_ptr, at, left, head, H, place, channel, K, V, BLOCK_T, TILE_K, BLOCK_V
    )
    db *= decay
    b = _writes(r_ptr, rate_ptr, row, left, head, channel, H, K, tied, BLOCK_T, TILE_K, GROUP)
    paths = b * db
    dk = tl.zeros((BLOCK_T, TILE_K), tl.float32)
    if k_ptr is not None:
        dk = _from_states(
            v_ptr, ends_ptr, row, left, head, H, place, channel, K, V, BLOCK_T, TILE_K, BLOCK_V
        )
        dk *= decay
        k = load_chunk(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
        paths += k * dk
    dg += sums(before(BLOCK_T).to(u_ptr.dtype.element_ty), paths)
    return db, dk, dg


@triton.jit
def _late_gradients(
    db, dk, dg, to_b_ptr, to_k_ptr, x_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, d_ptr, starts_ptr,
    row, at, d_row, left, place, head, channel, H, K, V, OWN: tl.constexpr, SIGN: tl.constexpr,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """The gradient of x, which is q or r, and those of b, k and g with what comes through x.

    ``d_ptr`` holds dO or, ``SIGN`` -1, dR, and ``to_b_ptr`` and ``to_k_ptr`` its scores with U and V.
    """
    tied: tl.constexpr = k_ptr is None
    dtype = x_ptr.dtype.element_ty
    group, groups = head // GROUP, H // GROUP
    dx = _from_states(
        d_ptr, starts_ptr, d_row, left, head, H, place, channel, K, V, BLOCK_T, TILE_K, BLOCK_V
    )
    dx *= SIGN * step_decays(
        g_ptr, row, left, head, channel, H, K, None, BLOCK_T, TILE_K, OWN, ACROSS=False
    )
    x = load_chunk(x_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
    over = tl.arange(0, BLOCK_T)[:, None] < tl.arange(0, BLOCK_T)[None, :] + OWN
    dg += sums(over.to(dtype), x * dx)
    tl.debug_barrier()
    for halving in tl.range(HALVINGS, disable_licm=True):
        decay = step_decays(
            g_ptr, row, left, head, channel, H, K, halving, BLOCK_T, TILE_K, OWN, ACROSS=False
        )
        x = load_chunk(x_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        b = _writes(r_ptr, rate_ptr, row, left, head, channel, H, K, tied, BLOCK_T, TILE_K, GROUP)
        to_b = load_chunk(to_b_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        dx, db, paths = met_gradients(to_b, dx, db, x, b, decay, halving, BLOCK_T)
        if k_ptr is not None:
            k = load_chunk(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
            to_k = load_chunk(to_k_ptr, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
            dx, dk, more = met_gradients(to_k, dx, dk, x, k, decay, halving, BLOCK_T)
            paths += more
        dg += sums(passed_across(halving, BLOCK_T, OWN).to(dtype), paths)
    return dx, db, dk, dg


@triton.jit
def _store_mirrored(
    x_ptr, x_row, y_ptr, y_row, scores_ptr, at, left, head, H, V,
    BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr, SIGN: tl.constexpr,
):  # fmt: skip
    """Stores ``mirrored_scores`` times a sign; returns the diagonal without it."""
    scores, same = mirrored_scores(x_ptr, x_row, y_ptr, y_row, left, head, H, V, BLOCK_T, BLOCK_V)
    store_chunk(scores_ptr, SIGN * scores, at, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
    return same


@triton.jit
def chunk_gradients(
    q_ptr, r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    recall_b_ptr, read_b_ptr, recall_k_ptr, read_k_ptr, dq_ptr, dr_keys_ptr, drate_ptr, dk_ptr, dg_ptr,
    row, left, shift, place, head, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
    HALVINGS: tl.constexpr,
):  # fmt: skip
    """Stores the gradients of q, r, its rate, k and g of one chunk, from S, G, U and dR.

    Between dO or dR and U or V it goes through dP, dA, dW and dF, each with its transpose above the
    diagonal, in the tensors of their names: held in registers, they spill.
    """
    tied: tl.constexpr = k_ptr is None
    group, groups = head // GROUP, H // GROUP
    at = row + shift
    same_b = _store_mirrored(
        d_o_ptr, row, u_ptr, at, read_b_ptr, at, left, head, H, V, BLOCK_T, BLOCK_V, 1
    )
    _store_mirrored(dr_ptr, at, u_ptr, at, recall_b_ptr, at, left, head, H, V, BLOCK_T, BLOCK_V, -1)
    same_k = same_b
    if k_ptr is not None:
        same_k = _store_mirrored(
            d_o_ptr, row, v_ptr, row, read_k_ptr, at, left, head, H, V, BLOCK_T, BLOCK_V, 1
        )
        _store_mirrored(
            dr_ptr, at, v_ptr, row, recall_k_ptr, at, left, head, H, V, BLOCK_T, BLOCK_V, -1
        )
    drate = tl.zeros((BLOCK_T,), tl.float32)
    for channel in tl.range(0, K, TILE_K, disable_licm=True):
        tl.debug_barrier()
        db, dk, dg = _early_gradients(
            r_ptr, rate_ptr, k_ptr, v_ptr, g_ptr, u_ptr, starts_ptr, ends_ptr,
            row, at, left, place, head, channel, H, K, V, BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
        )  # fmt: skip
        tl.debug_barrier()
        dq, db, dk, dg = _late_gradients(
            db, dk, dg, read_b_ptr, read_k_ptr, q_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, d_o_ptr, starts_ptr,
            row, at, row, left, place, head, channel, H, K, V, 1, 1,
            BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
        )  # fmt: skip
        tl.debug_barrier()
        # a step reads what it wrote itself, undecayed
        q = load_chunk(q_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        b = _writes(r_ptr, rate_ptr, row, left, head, channel, H, K, tied, BLOCK_T, TILE_K, GROUP)
        dq += same_b * b
        db += same_b * q
        if k_ptr is not None:
            k = load_chunk(k_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
            dq += same_k * k
            dk += same_k * q
        store_chunk(dq_ptr, dq, row, left, head, H, K, BLOCK_T, TILE_K, channel)
        tl.debug_barrier()
        dr, db, dk, dg = _late_gradients(
            db, dk, dg, recall_b_ptr, recall_k_ptr, r_ptr, r_ptr, rate_ptr, k_ptr, g_ptr, dr_ptr, starts_ptr,
            row, at, at, left, place, head, channel, H, K, V, tied, -1,
            BLOCK_T, TILE_K, BLOCK_V, GROUP, HALVINGS,
        )  # fmt: skip
        tl.debug_barrier()
        r = load_chunk(r_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel).to(tl.float32)
        if k_ptr is None:
            drate += tl.sum(r * db, axis=1)
            dr += db * load_steps(rate_ptr, row, left, head, H, BLOCK_T)[:, None]
        else:
            store_chunk(drate_ptr, r * db, row, left, head, H, K, BLOCK_T, TILE_K, channel)
            dr += db * load_chunk(rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
            store_chunk(dk_ptr, dk, row, left, head, H, K, BLOCK_T, TILE_K, channel)
        store_chunk(dr_keys_ptr, dr, row, left, head, H, K, BLOCK_T, TILE_K, channel)
        store_chunk(dg_ptr, dg, row, left, head, H, K, BLOCK_T, TILE_K, channel)
    if k_ptr is None:
        store_steps(drate_ptr, drate, row, left, head, H, BLOCK_T)
