"""Spectrum: a circulant that shrinks nothing it need not, from one of any size.

    c'^[k] = c^[k] / max(1, |c^[k]|),   c^ = F c

|c^| are the singular values of circ(c), so circ(c') is the nearest matrix of norm at most 1 (in the
sum of squares), and where all |c^| >= 1 it is orthogonal. Bounding sum |c| by 1 instead would bound
them too, and leave of the orthogonal circulants only the signed shifts.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def clipped(c: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
    """First column ``c'`` of the circulant nearest to ``circ(c)`` of norm at most 1."""
    spectrum = torch.fft.rfft(c)
    return torch.fft.irfft(spectrum / spectrum.abs().clamp_min(1.0), n=c.shape[-1])
