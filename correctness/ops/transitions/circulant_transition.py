"""A recurrence whose transition is a circulant matrix, named by its first column."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def filters(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """First columns of circulants that neither explode nor vanish at once; extreme: orthogonal ones."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    if extreme:
        spectrum = torch.fft.rfft(draw)
        return torch.fft.irfft(spectrum / spectrum.abs(), n=shape[-1])
    return draw * (0.9 / shape[-1]) ** 0.5


@op(c=filters, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def circulant_transition(
    c: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t][i, j] = c[t][(i - j) mod N]``."""
    n = torch.arange(c.shape[-1])
    return walk(c[..., (n[:, None] - n) % len(n)], b, h0)
