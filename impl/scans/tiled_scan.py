# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Tiled scan: one pass over the sequence, the state never leaves the chip.

One program owns one row of the batch and a strip of channels. It walks the steps tile by tile, scans
inside the tile with the associative operator

    (a2, b2) o (a1, b1) = (a2 a1, a2 b1 + b2),

and carries only the last state to the next tile. Backwards the same walk runs from the right,

    g[t] = dh[t] + a[t+1] g[t+1],    db = g,    da[t] = g[t] h[t-1],    dh0 = a[0] g[0].

Every input is read once and every output written once, the least that any implementation can move,
at log2 BLOCK_T compositions an element. It pays with T / BLOCK_T dependent tiles in each of
B D / BLOCK_D programs.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from impl.common.sequences import sequence_sizes
from impl.registry import implements


@implements(
    "linear_recurrence",
    source="E. Martin and C. Cundy, ICLR 2018, arXiv:1709.04057",
    trick="recurrence-to-scan-reduction",
    needs=("triton",),
    accepts={"dtype": ["float32", "bfloat16", "float16"]},
    knobs={"block_t": (32, 64, 128), "block_d": (16, 32, 64)},
)
def tiled_scan(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
    *,
    block_t: int = 64,
    block_d: int = 32,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]`` in one pass; the state is float32 on chip."""
    sequence_sizes(tiled_scan, a, b, h0=h0, cu_seqlens=None)
    return _TiledScan.apply(a, b, h0, block_t, block_d)


class _TiledScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a, b, h0, block_t: int, block_d: int):
        a, b, h0 = a.contiguous(), b.contiguous(), None if h0 is None else h0.contiguous()
        batch, length, channels = b.shape
        h = torch.empty_like(b)
        ctx.grid = (batch, triton.cdiv(channels, block_d))
        ctx.sizes = {"T": length, "D": channels, "BLOCK_T": block_t, "BLOCK_D": block_d}
        # 16 elements of a tile a thread
        ctx.sizes["num_warps"] = block_t * block_d // (32 * 16)
        _tiled_scan_kernel[ctx.grid](a, b, h0, h, **ctx.sizes)
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        a, h0, h = ctx.saved_tensors
        dh = grads[0].contiguous()
        da, db = torch.empty_like(a), torch.empty_like(h)
        dh0 = None if h0 is None else torch.empty_like(h0)
        _reverse_tiled_scan_kernel[ctx.grid](a, h0, h, dh, da, db, dh0, **ctx.sizes)
        return da, db, dh0, None, None


@triton.jit
def _compose(a1, b1, a2, b2):
    return a2 * a1, a2 * b1 + b2


@triton.jit
def _scan_tile(a, b, h, BLOCK_T: tl.constexpr):
    """The states of a tile after state ``h``, and the last of them."""
    decay, fresh = tl.associative_scan((a, b), 0, _compose)
    states = decay * h[None, :] + fresh  # [BLOCK_T, BLOCK_D]
    last = (tl.arange(0, BLOCK_T) == BLOCK_T - 1)[:, None]
    return states, tl.sum(tl.where(last, states, 0.0), axis=0)


@triton.jit
def _tiled_scan_kernel(
    a_ptr, b_ptr, h0_ptr, h_ptr, T, D, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    h = tl.zeros((BLOCK_D,), tl.float32)
    if h0_ptr is not None:
        h += tl.load(h0_ptr + row * D + d, mask=d < D, other=0.0)

    # without num_stages only the operands of dots are fetched ahead
    for start in tl.range(0, T, BLOCK_T, num_stages=2):
        t = start + tl.arange(0, BLOCK_T)
        inside = (t < T)[:, None] & (d < D)[None, :]
        at = (row * T + t)[:, None] * D + d[None, :]  # [BLOCK_T, BLOCK_D]
        a = tl.load(a_ptr + at, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(b_ptr + at, mask=inside, other=0.0).to(tl.float32)
        states, h = _scan_tile(a, b, h, BLOCK_T)
        tl.store(h_ptr + at, states.to(h_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _reverse_tiled_scan_kernel(
    a_ptr, h0_ptr, h_ptr, dh_ptr, da_ptr, db_ptr, dh0_ptr,
    T, D, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    before = tl.zeros((BLOCK_D,), tl.float32)
    if h0_ptr is not None:
        before += tl.load(h0_ptr + row * D + d, mask=d < D, other=0.0)
    g = tl.zeros((BLOCK_D,), tl.float32)

    for start in tl.range(0, T, BLOCK_T, num_stages=2):
        t = T - 1 - start - tl.arange(0, BLOCK_T)
        inside = (t >= 0)[:, None] & (d < D)[None, :]
        at = (row * T + t)[:, None] * D + d[None, :]  # [BLOCK_T, BLOCK_D]
        # past the ends a = 1 and dh = 0, the step that changes nothing
        follows = (t + 1 < T)[:, None] & inside
        a = tl.load(a_ptr + at + D, mask=follows, other=1.0).to(tl.float32)
        dh = tl.load(dh_ptr + at, mask=inside, other=0.0).to(tl.float32)
        h = tl.load(h_ptr + at - D, mask=(t >= 1)[:, None] & inside, other=0.0).to(tl.float32)
        h = tl.where((t == 0)[:, None], before[None, :], h)
        states, g = _scan_tile(a, dh, g, BLOCK_T)
        tl.store(da_ptr + at, (states * h).to(da_ptr.dtype.element_ty), mask=inside)
        tl.store(db_ptr + at, states.to(db_ptr.dtype.element_ty), mask=inside)
    if dh0_ptr is not None:
        first = row * T * D + d
        a = tl.load(a_ptr + first, mask=d < D, other=0.0).to(tl.float32)
        tl.store(dh0_ptr + row * D + d, (a * g).to(dh0_ptr.dtype.element_ty), mask=d < D)
