"""FAVOR+: softmax attention with its exponential estimated by positive random features.

    exp(q . k) = E[phi(q) phi(k)],   log phi(x) = w . x - |x|^2 / 2,   w normal

over N directions w, orthogonal to one another or, in the twin, shifts of few vectors. The estimate is
unbiased for any rows that are normal each by itself; its error falls as N^-1/2 and grows with the
exponential of |q + k|^2, so that sharp attention is out of reach. Orthogonal rows cost N K multiply-adds
a token, circulant ones N log2 K.

``stabiliser`` says how overflow is kept away. Exactly, a key is held against the largest log feature so
far. As printed with the method, log phi is held against the largest w . x alone and 1e-4 is added to the
features: a long key then has no feature above that floor, and attention to it is uniform and without
gradient.
"""

from jaxtyping import Float
from torch import Tensor

from impl.common.feature_attention import FeatureAttention
from impl.common.random_projections import Circulant, Orthogonal
from impl.registry import mixer

FLOOR = 1e-4
"""What the printed stabiliser adds to each feature."""
PROJECTIONS = {"orthogonal": Orthogonal, "circulant": Circulant}


@mixer(
    source="K. Choromanski et al., ICLR 2021, arXiv:2009.14794; circulant rows: F. X. Yu et al., ICML 2014",
    trick="favor-plus",
    knobs={
        "projection": ("orthogonal", "circulant"),
        "stabiliser": ("exact", "printed"),
        "features": (32, 64),
    },
)
class FavorPlus(FeatureAttention):
    """``W_o`` of the mean of the values, weighted by products of positive random features."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        features: int = 64,
        projection: str = "orthogonal",
        stabiliser: str = "exact",
    ) -> None:
        printed = stabiliser == "printed"
        super().__init__(width, heads=heads, features=features, floor=FLOOR if printed else 0.0)
        if projection not in PROJECTIONS:
            raise ValueError(f"projection={projection!r}, want one of {', '.join(PROJECTIONS)}")
        if stabiliser not in ("exact", "printed"):
            raise ValueError(f"stabiliser={stabiliser!r}, want 'exact' or 'printed'")
        self.w = PROJECTIONS[projection](features, self.channels)

    def log_features(
        self, x: Float[Tensor, "B H T K"], *, asks: bool
    ) -> tuple[Float[Tensor, "B H T N"], Float[Tensor, "B H T 1"]]:
        """``w . x - |x|^2 / 2``, held against its largest, or against the largest ``w . x``."""
        met = self.w(x)
        found = met - x.square().sum(-1, keepdim=True) / 2
        return found, (met if self.floor else found).amax(-1, keepdim=True)
