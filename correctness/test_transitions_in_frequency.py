"""What circulant and Cayley transitions promise of their spectra, and what each would break without."""

import pytest
import torch
from torch import Tensor

from correctness.ops.transitions.cayley_circulant_transition import skew_circulant
from correctness.ops.transitions.cayley_transition import cayley
from correctness.ops.transitions.circulant_transition import circulant_transition
from correctness.ops.transitions.neumann_cayley_transition import contracting_skew
from impl.common.spectrum import clipped
from impl.registry import load
from impl.transitions.cayley_circulant import CayleyCirculant
from impl.transitions.cayley_circulant import scan as cayley_circulant
from impl.transitions.neumann_cayley import neumann_cayley

EPS = torch.finfo(torch.float64).eps
WIDTH = 16
NEVER_GROWING = {
    "transitions.diagonal": ("spectrum", ("positive", "signed", "complex")),
    "transitions.circulant": (None, (None,)),
    "transitions.circulant_diagonal": (None, (None,)),
    "transitions.cayley_circulant": (None, (None,)),
    "transitions.neumann_cayley": ("terms", (4, 8, 0)),
    "transitions.group_matrix": ("weights", ("softmax",)),
}


def rounding(n: int) -> float:
    """What products of N numbers and a transform of them may err by in float64, generously."""
    return 16 * n * EPS


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def transitions_of(mixer: str, x: Tensor, **knobs: object) -> Tensor:
    """``A(x)``, a matrix for each row of ``x``: where the columns of the identity go in one step."""
    torch.manual_seed(0)
    factory = load(mixer).run
    assert factory is not None
    layer = factory(WIDTH, **knobs).double()
    identity = torch.eye(layer.keys, dtype=x.dtype).expand(len(x), -1, -1)
    with torch.no_grad():
        return layer.states(x[:, None], torch.zeros_like(identity)[:, None], identity)[:, 0]


def norms(a: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(a, ord=2)


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_eigenvalues_of_cayley_circulant_have_modulus_one(n: int, size: float) -> None:
    identity = torch.eye(n, dtype=torch.float64).expand(4, n, n)
    a = cayley_circulant(size * draw(4, 1, n), torch.zeros(4, 1, n, n).double(), identity)[:, 0]
    moduli = torch.linalg.eigvals(a).abs()
    assert (moduli - 1).abs().max() <= rounding(n)
    assert norms(a.mT @ a - identity).max() <= rounding(n)


def test_a_skew_circulant_that_is_not_skew_symmetric_gives_other_moduli() -> None:
    moduli = torch.linalg.eigvals(cayley(skew_circulant(draw(4, 16) / 16))).abs()
    assert (moduli - 1).abs().max() > 1e6 * rounding(16)


def test_cayley_circulant_turns_every_wave_when_the_size_of_the_state_is_even() -> None:
    identity = torch.eye(16, dtype=torch.float64)[None]
    a = cayley_circulant(draw(1, 1, 16), torch.zeros(1, 1, 16, 16).double(), identity)[0, 0]
    assert torch.linalg.eigvals(a).imag.abs().min() > 1e6 * rounding(16)


def test_cayley_circulant_keeps_a_state_for_four_thousand_steps() -> None:
    state, steps = draw(1, 16, 8), 4096
    h = cayley_circulant(draw(1, steps, 16), torch.zeros(1, steps, 16, 8).double(), state)
    lengths = torch.linalg.vector_norm(h, dim=(-2, -1)) / torch.linalg.vector_norm(state)
    assert (lengths - 1).abs().max() <= rounding(16)


def test_half_of_the_numbers_of_a_column_say_every_cayley_circulant() -> None:
    layer, x = CayleyCirculant(WIDTH).double(), draw(5, WIDTH)
    free = layer.c(x).detach()
    whole = torch.nn.functional.pad(free, (1, 7))
    s = skew_circulant(whole)
    mirrored = torch.zeros_like(whole)
    mirrored[:, 1:] = whole[:, 1:] + whole[:, 1:].flip(-1)
    assert torch.allclose(s - s.mT, skew_circulant(mirrored), atol=rounding(16))


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("norm", [0.1, 0.5, 0.9])
def test_error_of_neumann_cayley_is_the_norm_to_the_power_of_its_terms(
    terms: int, norm: float
) -> None:
    s = 2 * norm * contracting_skew((4, 16, 16), torch.Generator().manual_seed(0), extreme=False)
    error = norms(neumann_cayley(s, terms=terms) - neumann_cayley(s, terms=0))
    assert (error - norm**terms).abs().max() <= rounding(16)


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 8])
def test_neumann_cayley_departs_from_orthogonality_as_its_spectrum_says(terms: int) -> None:
    s = contracting_skew((4, 16, 16), torch.Generator().manual_seed(0), extreme=False)
    predicted = (1 - (-torch.linalg.eigvals(s)) ** terms).abs().sort(dim=-1).values
    stretch = torch.linalg.svdvals(neumann_cayley(s, terms=terms)).sort(dim=-1).values
    assert (stretch - predicted).abs().max() <= rounding(16)
    grown = stretch.max() > 1 + rounding(16)
    assert grown == (terms % 4 != 0)


def test_exact_cayley_is_orthogonal() -> None:
    a = neumann_cayley(contracting_skew((4, 16, 16), torch.Generator(), extreme=True), terms=0)
    assert norms(a.mT @ a - torch.eye(16)).max() <= rounding(16)


@pytest.mark.parametrize("mixer", NEVER_GROWING)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_no_product_of_these_transitions_grows(mixer: str, size: float) -> None:
    knob, values = NEVER_GROWING[mixer]
    for value in values:
        a = transitions_of(mixer, size * draw(32, WIDTH), **({knob: value} if knob else {}))
        assert norms(a).max() <= 1 + rounding(16)


def test_two_terms_of_neumann_cayley_do_grow() -> None:
    a = transitions_of("transitions.neumann_cayley", 1e4 * draw(32, WIDTH), terms=2)
    assert norms(a).min() > 1.1


@pytest.mark.parametrize("mixer", NEVER_GROWING)
def test_a_transition_follows_the_token(mixer: str) -> None:
    a = transitions_of(mixer, draw(2, WIDTH))
    assert norms(a[0] - a[1]) > 1e-3


def circulants(c: Tensor) -> Tensor:
    """``circ(c)`` as the op builds it."""
    n = c.shape[-1]
    zeros, identity = torch.zeros(len(c), 1, n, n).double(), torch.eye(n).double()
    return circulant_transition(c=c[:, None], b=zeros, h0=identity.expand(len(c), n, n))[0][:, 0]


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_a_cut_spectrum_has_norm_one_and_leaves_rotations_alone(n: int) -> None:
    c = 2 * draw(8, n)
    assert norms(circulants(clipped(c))).max() <= 1 + rounding(n)
    shifts = torch.eye(n, dtype=torch.float64)
    assert (clipped(shifts) - shifts).abs().max() <= rounding(n)
    rotations = circulants(clipped(1e3 * draw(8, n)))
    assert norms(rotations.mT @ rotations - torch.eye(n)).max() <= rounding(n)


def test_a_cut_circulant_is_the_nearest_one_of_norm_one() -> None:
    c = draw(1, 16)
    mine = torch.linalg.vector_norm(c - clipped(c))
    rivals = clipped(clipped(c) + 0.1 * draw(256, 16))
    assert (torch.linalg.vector_norm(c - rivals, dim=-1) >= mine).all()
    by_sum = c / c.abs().sum()
    assert torch.linalg.vector_norm(c - by_sum) > mine
