"""What the delta family promises of its transitions: which one is DeltaNet, and which cannot grow."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from correctness.case import SLACK
from impl.delta.column_sparse import ColumnSparse
from impl.delta.oscillatory import Oscillatory
from impl.delta.product import Product
from impl.delta.rwkv import FASTEST, Rwkv
from impl.mixers.deltanet import Deltanet

WIDTH, N, V, T = 16, 16, 8, 9
ROUNDING = SLACK * N * torch.finfo(torch.float64).eps
"""N operations an entry, each rounded; times the slack of the contract."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def inputs() -> Tensor:
    """Tokens large enough to saturate every gate somewhere."""
    return 10 * torch.randn(50, 1, WIDTH, dtype=torch.float64)


def unsettled(layer: torch.nn.Module) -> Any:
    """The layer in float64 with parameters drawn afresh, large: nothing is left of its start."""
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    return layer.double()


def transitions(layer: Any, x: Tensor, powerless: Tensor) -> Tensor:
    """The matrices that one token applies: columns of the state, one at a time, nothing written."""
    columns = []
    for start in torch.eye(N, dtype=torch.float64).split(V, dim=-1):
        h0 = start.expand(len(x), N, V)
        columns.append(layer.states(x, powerless, h0)[:, 0])
    return torch.cat(columns, dim=-1)


def nothing(steps: int) -> Tensor:
    """Values of zero for every correction."""
    return torch.zeros(50, 1, steps, V, dtype=torch.float64)


def test_one_positive_correction_is_deltanet() -> None:
    width = 8
    deltanet, product = Deltanet(width).double(), Product(width, keys=width, values=width).double()
    for mine, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "o"), ("beta", "b")):
        getattr(product, mine).load_state_dict(getattr(deltanet, theirs).state_dict())
    x = torch.randn(3, 70, width, dtype=torch.float64)
    h = product.states(x, product.write(x), None)
    _, k, v, beta = (piece[:, 0] for piece in deltanet.project(x))
    system = (beta * (k @ k.mT)).tril(-1)
    u = torch.linalg.solve_triangular(system, beta * v, upper=False, unitriangular=True)
    assert (h[:, -1] - k.mT @ u).norm() <= 70 * ROUNDING * h[:, -1].norm()


@pytest.mark.parametrize("eigenvalues", ["positive", "signed"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_no_delta_product_is_longer_than_one(steps: int, eigenvalues: str) -> None:
    layer = unsettled(Product(WIDTH, steps=steps, eigenvalues=eigenvalues))
    a = transitions(layer, inputs(), nothing(steps))
    assert torch.linalg.matrix_norm(a, ord=2).max() <= 1 + ROUNDING


@pytest.mark.parametrize("oscillation", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_no_oscillatory_transition_is_longer_than_one(*, steps: int, oscillation: bool) -> None:
    layer = unsettled(Oscillatory(WIDTH, steps=steps, oscillation=oscillation))
    a = transitions(layer, inputs(), nothing(steps))
    assert torch.linalg.matrix_norm(a, ord=2).max() <= 1 + ROUNDING


@pytest.mark.parametrize("eigenvalues", ["positive", "signed"])
@pytest.mark.parametrize("routed", [True, False])
def test_no_routed_transition_is_longer_than_one(*, routed: bool, eigenvalues: str) -> None:
    layer = unsettled(ColumnSparse(WIDTH, routed=routed, eigenvalues=eigenvalues))
    a = transitions(layer, inputs(), nothing(1))
    assert torch.linalg.matrix_norm(a, ord=2).max() <= 1 + ROUNDING


def test_routes_that_meet_would_grow_if_they_were_not_scaled() -> None:
    layer = unsettled(ColumnSparse(WIDTH))
    ones = (layer.routes(inputs()) != 0).double()
    assert torch.linalg.matrix_norm(ones, ord=2).max() > 1.4


def test_two_reflections_turn_and_one_cannot() -> None:
    turned = {}
    for steps in (1, 2):
        layer = unsettled(Product(WIDTH, steps=steps, eigenvalues="signed"))
        values = torch.linalg.eigvals(transitions(layer, inputs(), nothing(steps)))
        turned[steps] = values.imag.abs().max().item()
    assert turned[1] <= ROUNDING
    assert turned[2] > 0.1


@pytest.mark.parametrize(
    ("eigenvalues", "least", "passed"),
    [("positive", math.exp(-FASTEST) - 1, 0.0), ("signed", -1.0, math.exp(-FASTEST) - 1)],
)
def test_eigenvalues_of_rwkv_stay_where_they_belong(
    eigenvalues: str, least: float, passed: float
) -> None:
    layer = unsettled(Rwkv(WIDTH, eigenvalues=eigenvalues))
    a = transitions(layer, inputs(), torch.zeros(50, 1, N, V, dtype=torch.float64))
    values = torch.linalg.eigvals(a)
    assert values.imag.abs().max() <= ROUNDING**0.5
    assert values.real.max() <= 1 + ROUNDING**0.5
    assert least - ROUNDING**0.5 <= values.real.min() < passed


def test_rwkv_decays_removes_and_writes_as_published() -> None:
    layer = unsettled(Rwkv(WIDTH))
    x = torch.randn(50, 1, WIDTH, dtype=torch.float64)
    h0 = torch.randn(50, N, V, dtype=torch.float64)
    w, a, k, v = (torch.squeeze(each(x), 1) for each in (layer.w, layer.a, layer.k, layer.v))
    # rows as the authors lay them out: arXiv:2503.14456, with its replacement key and its removal key
    decay, rate = torch.exp(-math.exp(-0.5) / (1 + torch.exp(-w))), 1 / (1 + torch.exp(-a))
    replacement = k * torch.lerp(torch.ones_like(rate), rate, layer.alpha)
    removal = k * layer.xi / (k * layer.xi).square().sum(-1, keepdim=True).sqrt()
    transition = torch.diag_embed(decay) - removal[:, :, None] * (rate * removal)[:, None, :]
    published = h0.mT @ transition + v[:, :, None] * replacement[:, None, :]
    found = layer.states(x, layer.write(x), h0)[:, 0].mT
    torch.testing.assert_close(found, published)


def test_products_of_rwkv_transitions_can_grow_though_no_step_has_an_eigenvalue_above_one() -> None:
    # nothing decays, and the channels that are removed change from token to token
    k = torch.nn.functional.normalize(torch.randn(500, 4, N, dtype=torch.float64), dim=-1)
    a = torch.randint(2, (500, 4, N)).double()
    step = torch.eye(N, dtype=torch.float64) - (a * k)[..., :, None] * k[..., None, :]
    product = step[:, 3] @ step[:, 2] @ step[:, 1] @ step[:, 0]
    assert torch.linalg.eigvals(step).abs().max() <= 1 + ROUNDING**0.5
    assert torch.linalg.eigvals(product).abs().max() > 1 + ROUNDING**0.5
