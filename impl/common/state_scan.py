# pyright: basic, reportArgumentType=false
"""State scan: what the kernels of a recurrence of whole states, and their backward pass, share.

    h[t] = a[t] h[t-1] + s[t],    a one number, h and s D numbers that never meet

Programs take a strip of D, and backwards each adds up its own share of

    ds[t] = dh[t] + a[t+1] ds[t+1],    da[t] = ds[t] . h[t-1],    dh0 = a[0] ds[0].

Forwards s is read and h written, once; backwards dh and h are read and ds written, once, and a share
of da a strip written and added up.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


def scan_states(
    a: Tensor, s: Tensor, h0: Tensor | None, kernels: tuple[Any, Any], strip: int, **options: int
) -> Tensor:
    """``h`` by a kernel that walks from the left; its gradient by one that walks from the right."""
    return _Scan.apply(a, s, h0, kernels, strip, options)  # pyright: ignore[reportReturnType]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a, s, h0, kernels: tuple[Any, Any], strip: int, options: dict[str, int]):
        a, s, h0 = a.contiguous(), s.contiguous(), None if h0 is None else h0.contiguous()
        batch, length, heads = a.shape
        width = s.shape[-1]
        ctx.grid = (triton.cdiv(width, strip), heads, batch)
        ctx.options = {"T": length, "H": heads, "D": width, "BLOCK_D": strip, **options}
        ctx.reverse = kernels[1]
        h = torch.empty_like(s)
        kernels[0][ctx.grid](a, s, h0, h, **ctx.options)
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        a, h0, h = ctx.saved_tensors
        ds, dh0 = torch.empty_like(h), None if h0 is None else torch.empty_like(h0)
        da = torch.empty(ctx.grid[0], *a.shape, dtype=torch.float32, device=a.device)
        ctx.reverse[ctx.grid](a, h0, h, grads[0].contiguous(), da, ds, dh0, **ctx.options)
        return da.sum(0).to(a.dtype), ds, dh0, None, None, None


@triton.jit
def strip_of(H, D, BLOCK_D: tl.constexpr):
    """This program's strip of D, whether it is inside, its sequence, head and first state."""
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    head, sequence = tl.program_id(1), tl.program_id(2).to(tl.int64)
    return d, d < D, sequence, head, (sequence * H + head) * D + d


@triton.jit
def load_start(h0_ptr, first, inside, BLOCK_D: tl.constexpr):
    """The strip of the state before the first step, in float32; zero where there is none."""
    h = tl.zeros((BLOCK_D,), tl.float32)
    if h0_ptr is not None:
        h += tl.load(h0_ptr + first, mask=inside, other=0.0)
    return h
