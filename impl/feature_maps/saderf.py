"""Dense-exponential features on structured rows: random features whose variance is tuned, by transforms.

    log phi_q(x) = a |w|^2 + b w . (x / s) - |x / s|^2 / 2,   phi_k likewise with s x,   b = sqrt(1 - 4 a)

estimates exp(q . k) without bias for every a <= 0 and every positive s a channel, as long as w is normal:
a < 0 bounds the features, s evens out the lengths of queries and keys. Rows H D H D H D of a Hadamard
transform and random signs cost N log2 K multiply-adds a token, where dense ones take N K.

The two do not fit as they are: such rows are all equally long, exp(a |w|^2) then is one factor of all
features and cancels, and what is left estimates exp((1 - 4 a) q . k + ...), another temperature, however
many features there are. ``lengths`` normal draws the rows' lengths as those of normal vectors.

a and s are trained, from a = 0 and s = 1, where the features are FAVOR+'s; moments of the sequence, which
the method fits them to, would let a token see later ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.feature_attention import FeatureAttention
from impl.common.random_projections import Hadamard
from impl.registry import mixer


@mixer(
    source="V. Likhosherstov et al., 2023, arXiv:2302.00787; F. X. Yu et al., NeurIPS 2016, arXiv:1610.09072",
    trick="saderf-dense-exponential-features",
    knobs={"lengths": ("normal", "equal"), "features": (32, 64)},
)
class Saderf(FeatureAttention):
    """``W_o`` of the mean of the values, weighted by products of tuned positive features."""

    def __init__(
        self, width: int, *, heads: int = 1, features: int = 64, lengths: str = "normal"
    ) -> None:
        super().__init__(width, heads=heads, features=features)
        if lengths not in ("normal", "equal"):
            raise ValueError(f"lengths={lengths!r}, want 'normal' or 'equal'")
        self.w = Hadamard(features, self.channels, lengths=lengths)
        # softplus(-7) is below a thousandth
        self.a = nn.Parameter(torch.full((heads, 1, 1), -7.0))
        self.s = nn.Parameter(torch.zeros(heads, 1, self.channels))

    def log_features(
        self, x: Float[Tensor, "B H T K"], *, asks: bool
    ) -> tuple[Float[Tensor, "B H T N"], Float[Tensor, "B H T 1"]]:
        """``a |w|^2 + b w . x - |x|^2 / 2`` of the scaled ``x``, held against its largest."""
        a = -nn.functional.softplus(self.a)
        x = x * (-self.s if asks else self.s).exp()
        size = self.w.get_buffer("lengths").square()
        found = a * size + (1 - 4 * a).sqrt() * self.w(x) - x.square().sum(-1, keepdim=True) / 2
        return found, found.amax(-1, keepdim=True)
