# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
"""Chunk states: every program walks all steps with its strip of the state in registers.

    h = a[t] h + s[t]

One multiply-add an element, the least there is, in T dependent steps; the D elements of a state
fill a GPU with programs that need nothing of each other. Every input is read once and every output
written once. It pays with the depth: a step is loaded while those before it are added, but no two
are added at once. Backwards the same walk runs from the right and adds up ds h for each step.
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
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060, section 6: state passing",
    needs=("triton",),
    accepts={"dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (128, 512)},
)
def chunk_states(
    a: Float[Tensor, "B T H"],
    s: Float[Tensor, "B T H D"],
    h0: Float[Tensor, "B H D"] | None = None,
    *,
    strip: int = 512,
) -> Float[Tensor, "B T H D"]:
    """``h[t] = a[t] h[t-1] + s[t]``, a step at a time; the state is float32 on chip."""
    sequence_sizes(chunk_states, a, s, h0=h0, cu_seqlens=None)
    # 8 numbers a thread: 16 bytes of half precision in one load
    warps = max(1, strip // (32 * 8))
    kernels = _chunk_states_kernel, _reverse_chunk_states_kernel
    return scan_states(a, s, h0, kernels, strip, num_warps=warps)


@triton.jit
def _chunk_states_kernel(a_ptr, s_ptr, h0_ptr, h_ptr, T, H, D, BLOCK_D: tl.constexpr):
    d, inside, sequence, head, first = strip_of(H, D, BLOCK_D)
    h = load_start(h0_ptr, first, inside, BLOCK_D)
    # without num_stages only the operands of dots are fetched ahead
    for t in tl.range(0, T, num_stages=4):
        row = (sequence * T + t) * H + head
        a = tl.load(a_ptr + row).to(tl.float32)
        h = a * h + tl.load(s_ptr + row * D + d, mask=inside, other=0.0)
        tl.store(h_ptr + row * D + d, h.to(h_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _reverse_chunk_states_kernel(
    a_ptr, h0_ptr, h_ptr, dh_ptr, da_ptr, ds_ptr, dh0_ptr, T, H, D, BLOCK_D: tl.constexpr
):  # fmt: skip
    d, inside, sequence, head, first = strip_of(H, D, BLOCK_D)
    start = load_start(h0_ptr, first, inside, BLOCK_D)
    da_ptr += tl.program_id(0).to(tl.int64) * tl.num_programs(2) * T * H
    later = tl.zeros((BLOCK_D,), tl.float32)  # a[t+1] ds[t+1]
    for i in tl.range(0, T, num_stages=4):
        t = T - 1 - i
        row = (sequence * T + t) * H + head
        at = row * D + d
        ds = later + tl.load(dh_ptr + at, mask=inside, other=0.0)
        before = tl.load(h_ptr + at - H * D, mask=inside & (t > 0), other=0.0).to(tl.float32)
        before = tl.where(t > 0, before, start)
        tl.store(da_ptr + row, tl.sum(ds * before, axis=0))
        tl.store(ds_ptr + at, ds.to(ds_ptr.dtype.element_ty), mask=inside)
        later = tl.load(a_ptr + row).to(tl.float32) * ds
    if dh0_ptr is not None:
        tl.store(dh0_ptr + first, later.to(dh0_ptr.dtype.element_ty), mask=inside)
