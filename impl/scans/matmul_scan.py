# pyright: basic, reportArgumentType=false
"""Matmul scan: the states of a tile of steps are one product with its matrix of decays.

A program owns a strip of the state and walks the tiles. With L[i, j] = a[j+1] ... a[i] for i >= j and
0 above, c[i] = a[0] ... a[i] since the start of the tile, and h the state before it,

    H = L S + c h

is a product on the matrix cores, tile steps deep at once, and one multiply-add more. It is formed as
S^T L^T, so that the strip, not the tile, is the long side that the instructions want. Backwards, from
the right, with e[i] the decays to the end of the tile, dS = L^T dH + e g, where g = a ds of the step
after it.

The factors of L are multiplied, never divided or subtracted as logarithms, so a decay of 0 starts a
sequence anew. Bytes are those of the step-by-step loop and dependent steps are ``tile`` times fewer; it
pays with 2 ``tile`` operations an element where the loop does 2, half of them on zeros, and with L
rounded to half precision beside half-precision states. Float32 is multiplied as such, outside the
matrix cores.
"""

import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from impl.common.sequences import sequence_sizes
from impl.common.state_scan import load_start, scan_states, strip_of
from impl.registry import implements


@implements(
    "state_recurrence",
    source="A. Dakkak, C. Li, J. Xiong, I. Gelado and W.-m. Hwu, ICS 2019, arXiv:1811.09736",
    trick="matmulscan",
    needs=("triton",),
    accepts={"dtype": ["float32", "bfloat16", "float16"]},
    knobs={"tile": (16, 32, 64)},
)
def matmul_scan(
    a: Float[Tensor, "B T H"],
    s: Float[Tensor, "B T H D"],
    h0: Float[Tensor, "B H D"] | None = None,
    *,
    tile: int = 16,
) -> Float[Tensor, "B T H D"]:
    """``h[t] = a[t] h[t-1] + s[t]``, ``tile`` steps at a time; the state is float32 on chip."""
    sequence_sizes(matmul_scan, a, s, h0=h0, cu_seqlens=None)
    kernels = _matmul_scan_kernel, _reverse_matmul_scan_kernel
    # 16 numbers a thread, and no fewer than the 64 rows that an instruction of sm_90 takes
    strip = max(64, 2048 // tile)
    return scan_states(a, s, h0, kernels, strip, BLOCK_T=tile, num_warps=4, num_stages=3)


@triton.jit
def _multiply(a, b):
    return a * b


@triton.jit
def _decays(a_ptr, row, inside, BLOCK_T: tl.constexpr):
    """``a`` [BLOCK_T] and L^T [from, to] of a tile; ``a`` is 0 past the end."""
    steps = tl.arange(0, BLOCK_T)
    a = tl.load(a_ptr + row, mask=inside, other=0.0).to(tl.float32)
    over = tl.where(steps[:, None] < steps[None, :], a[None, :], 1.0)  # [from, over]
    between = tl.associative_scan(over, 1, _multiply)
    return a, tl.where(steps[:, None] <= steps[None, :], between, 0.0)


@triton.jit
def _matmul_scan_kernel(
    a_ptr, s_ptr, h0_ptr, h_ptr, T, H, D, BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    d, kept, sequence, head, first = strip_of(H, D, BLOCK_D)
    h = load_start(h0_ptr, first, kept, BLOCK_D)
    steps = tl.arange(0, BLOCK_T)
    for start in range(0, T, BLOCK_T):
        t = start + steps
        row = (sequence * T + t) * H + head
        at = row[None, :] * D + d[:, None]  # [BLOCK_D, BLOCK_T]
        inside = kept[:, None] & (t < T)[None, :]
        s = tl.load(s_ptr + at, mask=inside, other=0.0)
        a, between = _decays(a_ptr, row, t < T, BLOCK_T)
        since = tl.associative_scan(a, 0, _multiply)
        states = tl.dot(s, between.to(s.dtype), input_precision="ieee")
        states += since[None, :] * h[:, None]
        tl.store(h_ptr + at, states.to(h_ptr.dtype.element_ty), mask=inside)
        h = tl.sum(tl.where((steps == BLOCK_T - 1)[None, :], states, 0.0), axis=1)


@triton.jit
def _reverse_matmul_scan_kernel(
    a_ptr, h0_ptr, h_ptr, dh_ptr, da_ptr, ds_ptr, dh0_ptr,
    T, H, D, BLOCK_D: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    d, kept, sequence, head, first = strip_of(H, D, BLOCK_D)
    initial = load_start(h0_ptr, first, kept, BLOCK_D)
    da_ptr += tl.program_id(0).to(tl.int64) * tl.num_programs(2) * T * H
    steps = tl.arange(0, BLOCK_T)
    later = tl.zeros((BLOCK_D,), tl.float32)
    tiles = tl.cdiv(T, BLOCK_T)
    for i in range(tiles):
        t = (tiles - 1 - i) * BLOCK_T + steps
        row = (sequence * T + t) * H + head
        at = row[None, :] * D + d[:, None]  # [BLOCK_D, BLOCK_T]
        inside = kept[:, None] & (t < T)[None, :]
        dh = tl.load(dh_ptr + at, mask=inside, other=0.0)
        a, between = _decays(a_ptr, row, t < T, BLOCK_T)
        until = tl.sum(tl.where((steps == BLOCK_T - 1)[None, :], between, 0.0), axis=1)
        ds = tl.dot(dh, tl.trans(between).to(dh.dtype), input_precision="ieee")
        ds += until[None, :] * later[:, None]
        tl.store(ds_ptr + at, ds.to(ds_ptr.dtype.element_ty), mask=inside)

        follows = inside & (t > 0)[None, :]
        before = tl.load(h_ptr + at - H * D, mask=follows, other=0.0).to(tl.float32)
        before = tl.where((t == 0)[None, :], initial[:, None], before)
        # a sum of sums: in one run of additions the strip would lose digits
        shares = tl.reshape(ds * before, (8, BLOCK_D // 8, BLOCK_T))
        da = tl.sum(tl.sum(shares, axis=1), axis=0)
        tl.store(da_ptr + row, da, mask=t < T)
        later = tl.sum(tl.where((steps == 0)[None, :], ds * a[None, :], 0.0), axis=1)
    if dh0_ptr is not None:
        tl.store(dh0_ptr + first, later.to(dh0_ptr.dtype.element_ty), mask=kept)
