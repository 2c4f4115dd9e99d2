"""Chunks: a sequence cut into pieces of equal length, and joined again.

Zeros fill the last piece. They change nothing where a step of zeros writes nothing: a key, a value,
a rate or the logarithm of a decay.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def cut(x: Float[Tensor, "B T H *F"], chunk: int) -> Float[Tensor, "B H N C *F"]:
    """Cut ``T`` into ``N`` pieces of ``chunk`` steps; at least float32."""
    fill = (0, 0) * (x.dim() - 2) + (0, -x.shape[1] % chunk)
    pieces = functional.pad(x.to(accumulation_dtype(x)), fill).unflatten(1, (-1, chunk))
    return pieces.movedim(3, 1)


def join(x: Float[Tensor, "B H N C F"], length: int) -> Float[Tensor, "B T H F"]:
    """Undo ``cut``, keeping the first ``length`` steps."""
    return x.movedim(1, 3).flatten(1, 2)[:, :length]


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.promote_types(x.dtype, torch.float32)
