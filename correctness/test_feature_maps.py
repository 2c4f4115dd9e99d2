"""How feature maps approach softmax as features are added, and which do not."""

import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from impl.common.feature_attention import FeatureAttention
from impl.common.random_projections import hadamard_transform
from impl.feature_maps.dct import Dct, cosine_transform
from impl.feature_maps.favor_plus import FavorPlus
from impl.feature_maps.saderf import Saderf

WIDTH, TOKENS, DRAWS = 16, 32, 8
FEW, MANY = 32, 16_384
HALF_WAY = (FEW / MANY) ** 0.25
"""The error is to fall as N^-1/2; a fall by half that exponent is none of a kernel that is missed."""

Make = Callable[..., FeatureAttention]


def error(make: Make, features: int, seed: int) -> float:
    """Distance of the weights from softmax's, over their size, of queries and keys of unit length."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mixer = make(WIDTH, features=features).double()
        q, k = torch.nn.functional.normalize(torch.randn(2, 1, 1, TOKENS, WIDTH).double(), dim=-1)
    exact = (q @ k.mT).softmax(-1)
    with torch.no_grad():
        (asked, own), (told, anchor) = (
            mixer.log_features(q, asks=True),
            mixer.log_features(k, asks=False),
        )
        weights = (asked - own).exp() @ (told - anchor.amax()).exp().mT
    found = weights / weights.sum(-1, keepdim=True)
    return float((found - exact).norm() / exact.norm())


def fall(make: Make) -> float:
    """Median error with many features over that with few."""
    many, few = (
        statistics.median(error(make, n, seed) for seed in range(DRAWS)) for n in (MANY, FEW)
    )
    return many / few


APPROACH = {
    "favor_plus": FavorPlus,
    "favor_plus, circulant": partial(FavorPlus, projection="circulant"),
    "saderf": Saderf,
    "dct": Dct,
}


@pytest.mark.parametrize("name", APPROACH)
def test_error_falls_as_features_are_added(name: str) -> None:
    assert fall(APPROACH[name]) < HALF_WAY


def test_no_sequence_of_fixed_directions_falls_faster_than_random_ones() -> None:
    assert fall(Dct) > fall(FavorPlus)


def tuned(lengths: str) -> Make:
    """Features far from FAVOR+'s."""

    def make(width: int, *, features: int) -> FeatureAttention:
        mixer = Saderf(width, features=features, lengths=lengths)
        with torch.no_grad():
            mixer.a.fill_(-1.5)
            mixer.s.normal_().mul_(0.1)
        return mixer

    return make


def test_tuned_features_approach_softmax_on_rows_of_normal_lengths_only() -> None:
    assert fall(tuned("normal")) < HALF_WAY
    assert fall(tuned("equal")) > HALF_WAY


def test_lengths_along_the_same_directions_add_up_to_another_kernel() -> None:
    assert fall(partial(Dct, flips=False)) > HALF_WAY


def test_transforms_are_the_orthogonal_matrices_that_define_them() -> None:
    x = torch.randn(5, WIDTH, dtype=torch.float64)
    n = torch.arange(WIDTH, dtype=torch.float64)
    cosines = (torch.pi / WIDTH * (n + 0.5) * n[:, None]).cos() * (2 / WIDTH) ** 0.5
    cosines[0] /= 2**0.5
    ones = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    butterflies: Tensor = torch.ones(1, 1, dtype=torch.float64)
    while len(butterflies) < WIDTH:
        butterflies = torch.kron(ones, butterflies)
    rounding = WIDTH * torch.finfo(torch.float64).eps
    assert (cosine_transform(x) - x @ cosines.mT).abs().max() < 4 * rounding
    assert (hadamard_transform(x) - x @ butterflies.mT / WIDTH**0.5).abs().max() < 4 * rounding
