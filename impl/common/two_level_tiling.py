# pyright: basic, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false
"""Two levels of tiling: long chunks between which states pass, short tiles inside each of them.

    S[t] = sigmoid(f[t]) S[t-1] + sigmoid(i[t]) k[t] v[t]^T,   o[t] = S[t]^T q[t]

or exp(i[t]) in place of sigmoid(i[t]). States are kept at the starts of chunks only; a chunk is cut
into tiles, and neither chunk nor head has to fit on chip: K and V are tiled as well. For a tile, with
c[t] the decay from its start to a step, e[s] from a step to its end, w over the whole tile and D[t, s]
from step to step,

    outputs   A <- Q S,   A <- w_j A + (Q K_j^T * e_j i_j) V_j   over the tiles j before it
              O = c A + (Q K^T * D i) V
    sources   A <- K G,   A <- w_j A + (K Q_j^T * c_j) dO_j      over the tiles j behind it, backwards
              dV = i (e A + (K Q^T * D^T) dO)

where S is the state before the chunk and G the gradient of the one behind it. dQ is the first form
on (dO, V, K, S^T), dK the second on (V, dO, Q, G^T). No exponent is above 0.

The logarithm of f[t] has the gradient of every path over step t, from what writes before it to what
reads at it or behind: sums of the path weights themselves, for a difference of sums would cancel.
Without gates (i and f None) all decays are 1: linear attention.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.scalar_gates import (
    decay_between,
    decay_over,
    decay_since,
    decay_until,
    write_gate,
)
from impl.common.sequences import block, chunk_count, chunk_of, first_chunk, span

WIDEST = 512
"""Largest K and V that were tried."""


def tiled(
    q: Tensor, k: Tensor, v: Tensor, i: Tensor | None, f: Tensor | None, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int, tile: int, columns: int,
    *, exponential: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state; a program holds at most ``columns`` of K and of V.

    All three lengths are powers of two. ``exponential`` is the gate that writes, and ``o`` then float32,
    as it has yet to be divided. ValueError unless ``chunk`` is a multiple of ``tile``.
    """
    if chunk % tile:
        raise ValueError(f"chunk={chunk}, want a multiple of tile={tile}")
    launch = _Launch(sizes, chunk, tile, columns, cu_seqlens, exponential=exponential)
    return _Tiled.apply(q, k, v, i, f, h0, cu_seqlens, launch)  # pyright: ignore[reportReturnType]


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, i, f, h0, cu_seqlens, launch: "_Launch"):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        i, f, h0 = (None if x is None else x.contiguous() for x in (i, f, h0))
        ctx.launch = launch
        o = torch.empty_like(v, dtype=torch.float32 if launch.exponential else v.dtype)
        last = v.new_empty(*(launch.sizes[axis] for axis in "SHKV"))
        states = v.new_empty(launch.chunks, *last.shape[1:])
        _states_kernel[launch.each_state](
            k, v, i, f, h0, cu_seqlens, states, last, None, None, REVERSE=False, **launch.states
        )
        _outputs_kernel[launch.each_tile("V")](
            q, k, v, i, f, states, cu_seqlens, o, None, None, None, **launch.columns("K", "V")
        )
        ctx.save_for_backward(q, k, v, i, f, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, i, f, h0, cu_seqlens, states = ctx.saved_tensors
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].to(v.dtype).contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        launch, wants = ctx.launch, ctx.needs_input_grad
        gated = wants[3] or wants[4]
        paths = launch.paths(q) if gated else dict.fromkeys(_PATHS)
        own, before = (k, states) if gated else (None, None)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        di, df, dh0 = (None if x is None else torch.empty_like(x) for x in (i, f, h0))
        later = torch.empty_like(states)
        _states_kernel[launch.each_state](
            q, d_o, None, f, d_last, cu_seqlens, later, dh0, before, paths["through"],
            REVERSE=True, **launch.states,
        )  # fmt: skip
        if wants[0] or gated:
            _outputs_kernel[launch.each_tile("K")](
                d_o, v, k, i, f, states, cu_seqlens, dq, None if own is None else q,
                paths["read"], paths["over"], **launch.columns("V", "K"),
            )  # fmt: skip
        if wants[2]:
            _sources_kernel[launch.each_tile("V")](
                k, q, d_o, i, f, later, cu_seqlens, dv, None, None, None, None,
                **launch.columns("K", "V"),
            )  # fmt: skip
        if wants[1] or gated:
            _sources_kernel[launch.each_tile("K")](
                v, d_o, q, i, f, later, cu_seqlens, dk, own,
                paths["written"], paths["kept"], paths["onward"], **launch.columns("V", "K"),
            )  # fmt: skip
        if gated:
            _gates_kernel[launch.each_tile("K")[::2]](
                i, f, cu_seqlens, *paths.values(), di, df, **launch.gates
            )
        return dq, dk, dv, di, df, dh0, None, None


_PATHS = ("through", "read", "over", "written", "kept", "onward")
"""Sums of path weights that the kernels leave to the gradients of the gates."""


class _Launch:
    """Grids and size arguments of the kernels, and what one leaves to another."""

    def __init__(
        self, sizes: dict[str, int], chunk: int, tile: int, columns: int, cu_seqlens: Tensor | None,
        *, exponential: bool,
    ) -> None:  # fmt: skip
        self.sizes, self.per_chunk, self.exponential = sizes, chunk // tile, exponential
        self.chunks = chunk_count(sizes, chunk, cu_seqlens)
        self.part = {axis: min(block(sizes[axis]), columns) for axis in "KV"}
        self.parts = {axis: triton.cdiv(sizes[axis], self.part[axis]) for axis in "KV"}
        self.state_parts = self.parts["K"] * self.parts["V"]
        self.each_state = (sizes["S"] * sizes["H"], self.state_parts)
        both = {"CHUNK": chunk, "BLOCK_T": tile, "EXPONENTIAL": exponential, "num_warps": 8}
        self.states = {axis: sizes[axis] for axis in "THKV"} | both
        self.states |= {"BLOCK_K": self.part["K"], "BLOCK_V": self.part["V"]}
        self.search = {axis: sizes[axis] for axis in "STH"} | both
        self.search |= {"BLOCK_S": triton.next_power_of_2(sizes["S"])}
        self.search |= {"num_stages": 1}
        self.gates = self.search | {
            "KEY_PARTS": self.parts["K"],
            "STATE_PARTS": self.state_parts,
        }

    def each_tile(self, axis: str) -> tuple[int, int, int]:
        """A program for every tile, every part of ``axis`` and every head."""
        return self.chunks * self.per_chunk, self.parts[axis], self.sizes["H"]

    def columns(self, inner: str, outer: str) -> dict[str, int]:
        """Arguments of a kernel that sums over ``inner`` and leaves ``outer``, one part a program."""
        return self.search | {
            "X": self.sizes[inner],
            "Z": self.sizes[outer],
            # strides of a state [K, V]
            "STATE_X": self.sizes["V"] if inner == "K" else 1,
            "STATE_Z": self.sizes["V"] if outer == "K" else 1,
            "X_PARTS": self.parts[inner],
            "BLOCK_X": self.part[inner],
            "BLOCK_Z": self.part[outer],
        }

    def paths(self, q: Tensor) -> dict[str, Tensor]:
        """``_PATHS`` in float32, one sum a part of K: of rows, of tiles, and of chunks by part."""
        tiles, parts, heads = self.each_tile("K")
        rows, chunks = (*q.shape[:3], parts), (self.chunks, heads, self.state_parts)
        over, onward = (tiles, heads, parts, self.per_chunk), (tiles, heads, parts)
        shapes = dict(zip(_PATHS, (chunks, rows, over, rows, rows, onward), strict=True))
        return {
            name: torch.empty(shape, dtype=torch.float32, device=q.device)
            for name, shape in shapes.items()
        }


@triton.jit
def _load_columns(x_ptr, rows, inside, columns, head, H, X):
    """Some columns of one head of a contiguous [rows, H, X] tensor; zero outside."""
    at = (rows.to(tl.int64)[:, None] * H + head) * X + columns[None, :]
    return tl.load(x_ptr + at, mask=inside[:, None] & (columns < X)[None, :], other=0.0)


@triton.jit
def _store_columns(x_ptr, x, rows, inside, columns, head, H, X):
    """Write some columns of one head of a contiguous [rows, H, X] tensor in its dtype."""
    at = (rows.to(tl.int64)[:, None] * H + head) * X + columns[None, :]
    mask = inside[:, None] & (columns < X)[None, :]
    tl.store(x_ptr + at, x.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _products(
    x_ptr, y_ptr, rows, inside, others, others_inside, head, H, X,
    X_PARTS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Every row of x times every other row of y, [BLOCK_T, BLOCK_T]."""
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for part in range(X_PARTS):
        columns = part * BLOCK_X + tl.arange(0, BLOCK_X)
        x = _load_columns(x_ptr, rows, inside, columns, head, H, X)
        y = _load_columns(y_ptr, others, others_inside, columns, head, H, X)
        scores += tl.dot(x, tl.trans(y), input_precision="ieee")
    return scores


@triton.jit
def _from_state(
    x_ptr, states_ptr, index, rows, inside, outer, head, H, X, Z, STATE_X, STATE_Z,
    X_PARTS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_Z: tl.constexpr,
):  # fmt: skip
    """Rows of x times some columns of state ``index``, [BLOCK_T, BLOCK_Z]."""
    product = tl.zeros((BLOCK_T, BLOCK_Z), tl.float32)
    for part in range(X_PARTS):
        inner = part * BLOCK_X + tl.arange(0, BLOCK_X)
        x = _load_columns(x_ptr, rows, inside, inner, head, H, X)
        at = index.to(tl.int64) * X * Z + inner[:, None] * STATE_X + outer[None, :] * STATE_Z
        mask = (inner < X)[:, None] & (outer < Z)[None, :]
        state = tl.load(states_ptr + at, mask=mask, other=0.0)
        product += tl.dot(x, state.to(x.dtype), input_precision="ieee")
    return product


@triton.jit
def _states_kernel(
    x_ptr, y_ptr, i_ptr, f_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    before_ptr, through_ptr,
    T, H, K, V,
    EXPONENTIAL: tl.constexpr, CHUNK: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    index, part = tl.program_id(0), tl.program_id(1)
    sequence, head = index // H, index % H
    key_parts = tl.cdiv(K, BLOCK_K)
    k = part % key_parts * BLOCK_K + tl.arange(0, BLOCK_K)
    v = part // key_parts * BLOCK_V + tl.arange(0, BLOCK_V)
    corner = k[:, None] * V + v[None, :]  # [BLOCK_K, BLOCK_V]
    inside_state = (k < K)[:, None] & (v < V)[None, :]
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, CHUNK)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if start_ptr is not None:
        at = index.to(tl.int64) * K * V + corner
        state += tl.load(start_ptr + at, mask=inside_state, other=0.0).to(tl.float32)

    per_chunk: tl.constexpr = CHUNK // BLOCK_T
    tiles = tl.cdiv(length, BLOCK_T)
    through = 0.0
    for n in range(tiles):
        tile = tiles - 1 - n if REVERSE else n
        place = (chunk + tile // per_chunk) * H + head
        at = place.to(tl.int64) * K * V + corner
        at_edge = (n == 0) | (tile % per_chunk == (per_chunk - 1 if REVERSE else 0))
        if at_edge:
            tl.store(states_ptr + at, state.to(states_ptr.dtype.element_ty), mask=inside_state)
            if through_ptr is not None:
                before = tl.load(before_ptr + at, mask=inside_state, other=0.0)
                through = tl.sum(tl.sum(state * before, axis=1), axis=0)
        steps = tile * BLOCK_T + tl.arange(0, BLOCK_T)
        rows, inside = start + steps, steps < length
        x = _load_columns(x_ptr, rows, inside, k, head, H, K)
        y = _load_columns(y_ptr, rows, inside, v, head, H, V)
        first = start + tile * BLOCK_T
        left = length - tile * BLOCK_T
        if REVERSE:
            weight = decay_since(f_ptr, first, left, head, H, BLOCK_T)
        else:
            weight = decay_until(f_ptr, first, left, head, H, BLOCK_T)
            weight *= write_gate(i_ptr, rows, inside, head, H, BLOCK_T, EXPONENTIAL)
        whole = decay_over(f_ptr, first, left, head, H, BLOCK_T)
        x = (x * weight[:, None]).to(x.dtype)
        state = state * whole + tl.dot(tl.trans(x), y, input_precision="ieee")
        if through_ptr is not None:
            through *= whole
            if tile % per_chunk == 0:
                tl.store(through_ptr + place * tl.num_programs(1) + part, through)
    if end_ptr is not None:
        at = index.to(tl.int64) * K * V + corner
        tl.store(end_ptr + at, state.to(end_ptr.dtype.element_ty), mask=inside_state)


@triton.jit
def _outputs_kernel(
    x_ptr, y_ptr, z_ptr, i_ptr, f_ptr, states_ptr, cu_seqlens_ptr, out_ptr,
    own_ptr, read_ptr, over_ptr,
    S, T, H, X, Z, STATE_X, STATE_Z,
    EXPONENTIAL: tl.constexpr, X_PARTS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_S: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_Z: tl.constexpr,
):  # fmt: skip
    place, part, head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    per_chunk: tl.constexpr = CHUNK // BLOCK_T
    chunk, tile = place // per_chunk, place % per_chunk
    start, length = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, CHUNK)
    steps, tiles = tl.arange(0, BLOCK_T), tl.arange(0, per_chunk)
    first, left = start + tile * BLOCK_T, length - tile * BLOCK_T
    rows, inside = first + steps, steps < left
    outer = part * BLOCK_Z + tl.arange(0, BLOCK_Z)
    since = decay_since(f_ptr, first, left, head, H, BLOCK_T)
    over = tl.zeros((per_chunk,), tl.float32)

    out = _from_state(
        x_ptr, states_ptr, chunk * H + head, rows, inside, outer, head, H, X, Z, STATE_X, STATE_Z,
        X_PARTS, BLOCK_T, BLOCK_X, BLOCK_Z,
    )  # fmt: skip
    for j in range(tile):
        there, remain = start + j * BLOCK_T, length - j * BLOCK_T
        others, present = there + steps, steps < remain
        whole = decay_over(f_ptr, there, remain, head, H, BLOCK_T)
        if own_ptr is not None:
            # paths from before tile j into this one; those over a tile before j go over j too
            own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
            paths = tl.sum(tl.sum(own * out, axis=1) * since, axis=0)
            over = tl.where(tiles == j, paths, over) * whole
        weight = decay_until(f_ptr, there, remain, head, H, BLOCK_T)
        weight *= write_gate(i_ptr, others, present, head, H, BLOCK_T, EXPONENTIAL)
        scores = weight[None, :] * _products(
            x_ptr, y_ptr, rows, inside, others, present, head, H, X, X_PARTS, BLOCK_T, BLOCK_X
        )
        z = _load_columns(z_ptr, others, present, outer, head, H, Z)
        out = out * whole + tl.dot(scores.to(z.dtype), z, input_precision="ieee")
    out *= since[:, None]
    if own_ptr is not None:
        own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
        read = tl.cumsum(tl.sum(own * out, axis=1), axis=0, reverse=True)

    scores = _products(
        x_ptr, y_ptr, rows, inside, rows, inside, head, H, X, X_PARTS, BLOCK_T, BLOCK_X
    )
    scores *= decay_between(f_ptr, first, left, head, H, 0, BLOCK_T)
    scores *= write_gate(i_ptr, rows, inside, head, H, BLOCK_T, EXPONENTIAL)[None, :]
    z = _load_columns(z_ptr, rows, inside, outer, head, H, Z)
    if own_ptr is not None:
        own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
        paths = scores * tl.dot(own, tl.trans(z), input_precision="ieee")
        paths = tl.cumsum(paths, axis=0, reverse=True)  # into this step and those behind it
        read += tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)
        parts = tl.num_programs(1)
        tl.store(read_ptr + (rows * H + head) * parts + part, read, mask=inside)
        at = (place.to(tl.int64) * H + head) * parts + part
        tl.store(over_ptr + at * per_chunk + tiles, over)
    out += tl.dot(scores.to(z.dtype), z, input_precision="ieee")
    _store_columns(out_ptr, out, rows, inside, outer, head, H, Z)


@triton.jit
def _sources_kernel(
    x_ptr, y_ptr, z_ptr, i_ptr, f_ptr, states_ptr, cu_seqlens_ptr, out_ptr,
    own_ptr, written_ptr, kept_ptr, onward_ptr,
    S, T, H, X, Z, STATE_X, STATE_Z,
    EXPONENTIAL: tl.constexpr, X_PARTS: tl.constexpr, CHUNK: tl.constexpr, BLOCK_S: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_Z: tl.constexpr,
):  # fmt: skip
    place, part, head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    per_chunk: tl.constexpr = CHUNK // BLOCK_T
    chunk, tile = place // per_chunk, place % per_chunk
    start, length = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, CHUNK)
    steps = tl.arange(0, BLOCK_T)
    first, left = start + tile * BLOCK_T, length - tile * BLOCK_T
    rows, inside = first + steps, steps < left
    outer = part * BLOCK_Z + tl.arange(0, BLOCK_Z)
    until = decay_until(f_ptr, first, left, head, H, BLOCK_T)
    written = write_gate(i_ptr, rows, inside, head, H, BLOCK_T, EXPONENTIAL)
    onward = 0.0

    out = _from_state(
        x_ptr, states_ptr, chunk * H + head, rows, inside, outer, head, H, X, Z, STATE_X, STATE_Z,
        X_PARTS, BLOCK_T, BLOCK_X, BLOCK_Z,
    )  # fmt: skip
    if own_ptr is not None:
        own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
        onward = tl.sum(tl.sum(own * out, axis=1) * until * written, axis=0)
    behind = tl.minimum(per_chunk, tl.cdiv(length, BLOCK_T)) - 1 - tile
    for n in range(behind):
        there = start + (tile + behind - n) * BLOCK_T
        remain = length - (tile + behind - n) * BLOCK_T
        others, present = there + steps, steps < remain
        weight = decay_since(f_ptr, there, remain, head, H, BLOCK_T)
        scores = weight[None, :] * _products(
            x_ptr, y_ptr, rows, inside, others, present, head, H, X, X_PARTS, BLOCK_T, BLOCK_X
        )
        z = _load_columns(z_ptr, others, present, outer, head, H, Z)
        whole = decay_over(f_ptr, there, remain, head, H, BLOCK_T)
        out = out * whole + tl.dot(scores.to(z.dtype), z, input_precision="ieee")
        onward *= whole
    out *= until[:, None]

    if own_ptr is not None:
        own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
        parts = tl.num_programs(1)
        at = (rows * H + head) * parts + part
        tl.store(kept_ptr + at, tl.sum(own * out, axis=1) * written, mask=inside)
        tl.store(onward_ptr + (place.to(tl.int64) * H + head) * parts + part, onward)
    scores = _products(
        x_ptr, y_ptr, rows, inside, rows, inside, head, H, X, X_PARTS, BLOCK_T, BLOCK_X
    )
    scores *= decay_between(f_ptr, first, left, head, H, 1, BLOCK_T)
    z = _load_columns(z_ptr, rows, inside, outer, head, H, Z)
    out += tl.dot(scores.to(z.dtype), z, input_precision="ieee")
    out *= written[:, None]
    if own_ptr is not None:
        own = _load_columns(own_ptr, rows, inside, outer, head, H, Z)
        tl.store(written_ptr + at, tl.sum(own * out, axis=1), mask=inside)
    _store_columns(out_ptr, out, rows, inside, outer, head, H, Z)


@triton.jit
def _gates_kernel(
    i_ptr, f_ptr, cu_seqlens_ptr, through_ptr, read_ptr, over_ptr, written_ptr, kept_ptr,
    onward_ptr, di_ptr, df_ptr,
    S, T, H,
    EXPONENTIAL: tl.constexpr, CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr,
    KEY_PARTS: tl.constexpr, STATE_PARTS: tl.constexpr,
):  # fmt: skip
    place, head = tl.program_id(0), tl.program_id(1)
    per_chunk: tl.constexpr = CHUNK // BLOCK_T
    chunk, tile = place // per_chunk, place % per_chunk
    start, length = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, CHUNK)
    steps, tiles = tl.arange(0, BLOCK_T), tl.arange(0, per_chunk)
    rows = start + tile * BLOCK_T + steps
    inside = tile * BLOCK_T + steps < length

    # paths over the whole tile: between others of the chunk, out of the state before, or both
    others = ((chunk * per_chunk + tiles).to(tl.int64) * H + head) * KEY_PARTS
    crossing = 0.0
    for part in range(STATE_PARTS):
        at = (chunk.to(tl.int64) * H + head) * STATE_PARTS + part
        crossing += tl.load(through_ptr + at)
    dg = tl.zeros((BLOCK_T,), tl.float32)
    written, kept = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    for part in range(KEY_PARTS):
        at = (others + part) * per_chunk + tile
        crossing += tl.sum(tl.load(over_ptr + at, mask=tiles > tile, other=0.0), axis=0)
        at = others + part
        crossing += tl.sum(tl.load(onward_ptr + at, mask=tiles < tile, other=0.0), axis=0)
        at = (rows * H + head) * KEY_PARTS + part
        dg += tl.load(read_ptr + at, mask=inside, other=0.0)
        kept += tl.load(kept_ptr + at, mask=inside, other=0.0)
        written += tl.load(written_ptr + at, mask=inside, other=0.0)
    # what an earlier step of the tile wrote goes over this one to a later tile
    dg += tl.sum(tl.where(steps[:, None] > steps[None, :], kept[None, :], 0.0), axis=1)
    i = tl.load(i_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    f = tl.load(f_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    di, df = written if EXPONENTIAL else written * tl.sigmoid(-i), (dg + crossing) * tl.sigmoid(-f)
    tl.store(di_ptr + rows * H + head, di.to(di_ptr.dtype.element_ty), mask=inside)
    tl.store(df_ptr + rows * H + head, df.to(df_ptr.dtype.element_ty), mask=inside)
