"""Matrix scan for training on a CPU: a plain loop over dense transitions whose backward is one too.

    h[t] = A[t] h[t-1] + b[t],   g[t] = dh[t] + A[t+1]^T g[t+1],   dA[t] = g[t] h[t-1]^T

with h N x V. The adjoint g is walked by hand and dA is one batched product at the end, so that no
graph of T nodes is built. N^2 (T elements of A) and N V are read and written a step: for transitions
that are no products of their own kind, and hence have no scan cheaper than this one.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def matrix_scan(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    if h0 is not None:
        first = a[:, 0] @ h0 + b[:, 0]
        b = torch.cat([first[:, None], b[:, 1:]], dim=1)
    states: Tensor = _MatrixScan.apply(a, b)  # pyright: ignore[reportAssignmentType]
    return states


class _MatrixScan(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        # time first: every step then reads and writes one contiguous block
        a, b = a.transpose(0, 1).contiguous(), b.transpose(0, 1).contiguous()
        h = torch.empty_like(b)
        h[0] = b[0]
        for t in range(1, len(b)):
            torch.baddbmm(b[t], a[t], h[t - 1], out=h[t])
        return h.transpose(0, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, h = (saved.transpose(0, 1) for saved in ctx.saved_tensors)
        back = a.mT.contiguous()
        g = grads[0].transpose(0, 1).clone(memory_format=torch.contiguous_format)
        for t in range(len(g) - 2, -1, -1):
            g[t].baddbmm_(back[t + 1], g[t + 1])
        da = torch.zeros_like(back)
        torch.matmul(g[1:], h[:-1].mT, out=da[1:])
        return da.transpose(0, 1), g.transpose(0, 1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Tensor, int]:
        """Models trained together lie behind one another in the batch."""
        many = info.batch_size
        a, b = (
            x.expand(many, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(args, in_dims, strict=True)
        )
        states: Tensor = _MatrixScan.apply(a.flatten(0, 1), b.flatten(0, 1))  # pyright: ignore[reportAssignmentType]
        return states.unflatten(0, (many, -1)), 0
