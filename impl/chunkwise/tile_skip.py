# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
"""Tile skip: long chunks of linear attention cut into tiles, of which the empty ones are left out.

    states    S_n = S_(n-1) + K_n^T V_n                       a program a sequence and head
    tiles     O_i = sum_j (Q_i K_j^T * M) V_j + Q_i S_(n-1)   a program a row i of tiles and head

Inside a chunk column j of tiles holds something from its own row, the first that may see it, to the
last row of its sequence: two numbers a column describe the mask, causal and packed. So row i visits
columns 0 to i and none when it lies past the end: of n^2 tiles of a full chunk n (n + 1) / 2, and
fewer where a sequence ends. ``every_tile`` visits them all and masks what it has computed; both move
the same bytes. Longer chunks leave fewer states, T / C of K V elements a head, written and read;
they pay with C / 2 scores a step.

Backwards likewise, with G behind the chunk: dQ is the form above on (dO, V, K, S^T), and by columns of
tiles, which visit rows j to the last, dK is it on (V, dO, Q, G^T) and dV on (K, Q, dO, G). What has more
than 128 columns of K or V is cut, each part of the result with its program. Where heads of v share one
of q and k, dq and dk are written in float32 for every head, read and summed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.heads import sum_heads
from impl.common.linear_attention_walk import WIDEST
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

TILE = 64
"""Steps of a tile: the rows of a product that a warpgroup computes at once."""
COLUMNS = 128
"""Columns of K and of V that a program holds."""


@implements(
    "linear_attention",
    source="G. Wang et al., FlashMask, ICLR 2025, arXiv:2410.01359",
    trick="flashmask-tile-skip",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (128, 256)},
)
def tile_skip(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is summed in float32.

    Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1
    and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(tile_skip, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return _Tiles.apply(q, k, v, h0, cu_seqlens, sizes, chunk, True)  # noqa: FBT003


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
    knobs={"chunk": (128, 256)},
)
def every_tile(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """As ``tile_skip``, with every tile of every chunk computed and then masked."""
    sizes = sequence_sizes(every_tile, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return _Tiles.apply(q, k, v, h0, cu_seqlens, sizes, chunk, False)  # noqa: FBT003


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, h0, cu_seqlens, sizes: dict[str, int], chunk, skips):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        h0 = None if h0 is None else h0.contiguous()
        launch = ctx.launch = _Launch(sizes, chunk, k.dtype, cu_seqlens, skips)
        o, state = torch.empty_like(v), v.new_empty(*(sizes[axis] for axis in "SHKV"))
        states = v.new_empty(launch.chunks, *state.shape[1:])
        _states_kernel[launch.each_state](
            k, v, h0, cu_seqlens, states, state, REVERSE=False, **launch.states
        )
        _tiles_kernel[launch.each_tile("V")](
            q, k, v, states, cu_seqlens, o, COLUMN=False, **launch.tiles("K", "V")
        )
        ctx.save_for_backward(q, k, v, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, h0, cu_seqlens, states = ctx.saved_tensors
        launch = ctx.launch
        d_o = torch.zeros_like(v) if grads[0] is None else grads[0].contiguous()
        d_state = None if grads[1] is None else grads[1].contiguous()
        dh0 = None if h0 is None else torch.empty_like(h0)
        later = torch.empty_like(states)
        _states_kernel[launch.each_state](
            q, d_o, d_state, cu_seqlens, later, dh0, REVERSE=True, **launch.states
        )
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        if launch.group > 1:
            # of each head, to be summed
            dq, dk = (q.new_empty(*v.shape[:3], q.shape[3], dtype=torch.float32) for _ in "qk")
        for own, others, sources, state, out, column, axes in (
            (d_o, v, k, states, dq, False, "VK"),
            (v, d_o, q, later, dk, True, "VK"),
            (k, q, d_o, later, dv, True, "KV"),
        ):
            _tiles_kernel[launch.each_tile(axes[1])](
                own, others, sources, state, cu_seqlens, out, COLUMN=column, **launch.tiles(*axes)
            )
        return sum_heads(dq, q), sum_heads(dk, k), dv, dh0, None, None, None, None


class _Launch:
    """Grids, and arguments that the kernels share."""

    def __init__(
        self, sizes: dict[str, int], chunk: int, dtype: torch.dtype, cu_seqlens, skips
    ) -> None:
        self.sizes, self.skips, self.rows = sizes, skips, chunk // TILE
        self.chunks = chunk_count(sizes, chunk, cu_seqlens)
        # heads of v that share one of q and k
        self.group = sizes["H"] // sizes["G"]
        self.part = {axis: min(block(sizes[axis]), COLUMNS) for axis in "KV"}
        self.parts = {axis: triton.cdiv(sizes[axis], self.part[axis]) for axis in "KV"}
        self.each_state = (sizes["S"] * sizes["H"], self.parts["V"], self.parts["K"])
        self.both = {axis: sizes[axis] for axis in "TH"} | {"CHUNK": chunk, "BLOCK_T": TILE}
        # a warpgroup, or two where the state is more than 32 numbers a thread
        self.both |= {"num_warps": 4 if self.part["K"] * self.part["V"] <= 32 * 128 else 8}
        # shared memory holds the next tile beside this one in half precision only, and unless told how
        # many registers there are, ptxas leaves some to other programs, and spills
        self.both |= {"num_stages": 2 if dtype.itemsize == 2 else 1, "maxnreg": 255}
        self.states = self.both | {axis: sizes[axis] for axis in "KV"} | {"GROUP": self.group}
        self.states |= {f"BLOCK_{axis}": self.part[axis] for axis in "KV"}

    def each_tile(self, axis: str) -> tuple[int, int, int]:
        """A program for every tile of steps, every head and every part of ``axis``."""
        return self.chunks * self.rows, self.sizes["H"], self.parts[axis]

    def tiles(self, inner: str, outer: str) -> dict[str, Any]:
        """Arguments of a launch that sums over ``inner`` and leaves ``outer``."""
        search = {"S": self.sizes["S"], "BLOCK_S": block(self.sizes["S"]), "SKIPS": self.skips}
        axes = {"X": self.sizes[inner], "Z": self.sizes[outer]}
        axes |= {"BLOCK_X": self.part[inner], "BLOCK_Z": self.part[outer]}
        shared = {"GROUP": self.group, "TRANSPOSED": outer == "K"}
        return self.both | search | axes | shared


@triton.jit
def _states_kernel(
    k_ptr, v_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    T, H, K, V,
    CHUNK: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    index, first, channel = tl.program_id(0), tl.program_id(1) * BLOCK_V, tl.program_id(2) * BLOCK_K
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, CHUNK)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if start_ptr is not None:
        state += load_tile(start_ptr, index, K, V, BLOCK_K, BLOCK_V, channel, first)

    chunks = tl.cdiv(length, CHUNK)
    for i in range(chunks):
        number = chunks - 1 - i if REVERSE else i
        place = (chunk + number) * H + head
        store_tile(states_ptr, state, place, K, V, BLOCK_K, BLOCK_V, channel, first)
        for done in range(number * CHUNK, tl.minimum((number + 1) * CHUNK, length), BLOCK_T):
            steps = done + tl.arange(0, BLOCK_T)
            rows, inside = start + steps, steps < length
            k = load_rows(k_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, channel)
            v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
            state += tl.dot(tl.trans(k), v, input_precision="ieee")
    if end_ptr is not None:
        store_tile(end_ptr, state, index, K, V, BLOCK_K, BLOCK_V, channel, first)


@triton.jit
def _tiles_kernel(
    x_ptr, y_ptr, z_ptr, states_ptr, cu_seqlens_ptr, out_ptr,
    S, T, H, X, Z,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_X: tl.constexpr, BLOCK_Z: tl.constexpr, GROUP: tl.constexpr,
    SKIPS: tl.constexpr, TRANSPOSED: tl.constexpr, COLUMN: tl.constexpr,
):  # fmt: skip
    """Own x times the state, and times y of the tiles this one sees, or is seen by, times their z.

    What has K columns is shared: x and y, or z where the state is S^T.
    """
    tiles: tl.constexpr = CHUNK // BLOCK_T
    OF_X: tl.constexpr = 1 if TRANSPOSED else GROUP
    OF_Z: tl.constexpr = GROUP if TRANSPOSED else 1
    chunk, head, outer = tl.program_id(0) // tiles, tl.program_id(1), tl.program_id(2) * BLOCK_Z
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, CHUNK)
    left, own = tl.minimum(left, CHUNK), (tl.program_id(0) % tiles) * BLOCK_T
    if SKIPS and own >= left:
        return
    steps, place = own + tl.arange(0, BLOCK_T), chunk * H + head

    out = tl.zeros((BLOCK_T, BLOCK_Z), tl.float32)
    for inner in tl.range(0, X, BLOCK_X, disable_licm=True):
        x = load_rows(
            x_ptr, first + steps, steps < left, head // OF_X, H // OF_X, X, BLOCK_X, inner
        )
        if TRANSPOSED:
            state = tl.trans(load_tile(states_ptr, place, Z, X, BLOCK_Z, BLOCK_X, outer, inner))
        else:
            state = load_tile(states_ptr, place, X, Z, BLOCK_X, BLOCK_Z, inner, outer)
        out += tl.dot(x, state.to(x.dtype), input_precision="ieee")

    nearest, last = 0, CHUNK
    if SKIPS:
        nearest, last = (own, left) if COLUMN else (0, own + BLOCK_T)
    for tile in range(nearest, last, BLOCK_T):
        others = tile + tl.arange(0, BLOCK_T)
        there, present = first + others, others < left
        scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
        for inner in tl.range(0, X, BLOCK_X, disable_licm=True):
            x = load_rows(
                x_ptr, first + steps, steps < left, head // OF_X, H // OF_X, X, BLOCK_X, inner
            )
            y = load_rows(y_ptr, there, present, head // OF_X, H // OF_X, X, BLOCK_X, inner)
            scores += tl.dot(x, tl.trans(y), input_precision="ieee")
        # formed as it is read: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        sees = others[None, :] >= steps[:, None] if COLUMN else others[None, :] <= steps[:, None]
        z = load_rows(z_ptr, there, present, head // OF_Z, H // OF_Z, Z, BLOCK_Z, outer)
        out += tl.dot(tl.where(sees, scores, 0.0).to(z.dtype), z, input_precision="ieee")
    store_rows(out_ptr, out, first + steps, steps < left, head, H, Z, BLOCK_Z, outer)
