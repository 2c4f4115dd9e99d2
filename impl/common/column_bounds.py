"""Column bounds: no coordinate of the state leaves a step longer than it came, and permutations stay.

    A[:, j] / max(1, |A[:, j]|),   lengths Euclidean

Orthogonal transitions lie on the bound and are not shrunk. Products are not bounded by it: a step can
lengthen a sum of coordinates by up to sqrt N, as a dense transition under the same bound can. Scaling
columns keeps P (Lambda + U V^T) and diagonal plus Cauchy-like what they are: V and the right-hand
generators are scaled.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def bounded_columns(a: Float[Tensor, "*batch M N"]) -> Float[Tensor, "*batch M N"]:
    """Every column divided by its length where that is above 1."""
    return a / torch.linalg.vector_norm(a, dim=-2, keepdim=True).clamp_min(1.0)
