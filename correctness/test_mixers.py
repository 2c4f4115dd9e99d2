"""Every mixer obeys the mixer laws, and each law catches a mixer that all other laws let through."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from correctness.mixer_laws import LAWS, LENGTH, WIDTH, Subject, check, subjects
from impl.mixers.linear_attention import LinearAttention
from impl.registry import index, load

MIXERS = [plugin.id for plugin in index().values() if plugin.kind == "mixer"]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_mixer_obeys(mixer: str, law: str) -> None:
    broken = {s.name: LAWS[law](s) for s in subjects(load(mixer))}
    assert not {name: found for name, found in broken.items() if found}


class LooksAhead(LinearAttention):
    """Scales by the largest input of the whole sequence, which ordinary inputs never exceed."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.abs().amax(dim=1, keepdim=True).clamp_min(10.0))

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]):
        return super().step(x / 10.0, state)


class StepForgets(LinearAttention):
    """Its step form loses a hundredth of the memory at each token."""

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]):
        return super().step(x, (0.99 * state[0], state[1]))


class DeclaresLess(LinearAttention):
    """Counts the memory and forgets the normaliser."""

    def state_size(self, length: int) -> int:
        return super().state_size(length) - self.channels


class KeepsItself(LinearAttention):
    """Holds the memory in the module: the second sequence writes into the first."""

    def initial(self, batch: int, device="cpu", dtype=torch.float32):
        self.kept = super().initial(batch, device, dtype)
        return self.kept

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]):
        out, self.kept = super().step(x, self.kept)
        return out, self.kept


class RaisesOnce(LinearAttention):
    """Takes no sequence of one token."""

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]):
        raise RuntimeError("no single tokens")


def test_an_error_of_a_mixer_is_its_answer() -> None:
    broken = check(Subject("raises", RaisesOnce))
    assert broken["steps"] == "raises RuntimeError: no single tokens"


class DropsTheRest(LinearAttention):
    """Works on blocks of 16 and passes what does not fill one through unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        whole = x.shape[1] // LENGTH * LENGTH
        return torch.cat([super().forward(x[:, :whole]), x[:, whole:]], dim=1)


class DividesByItsNorm(LinearAttention):
    """Normalises its input by a root that has no derivative at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / (1.0 + x.square().sum(-1, keepdim=True).sqrt()))

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]):
        return super().step(x / (1.0 + x.square().sum(-1, keepdim=True).sqrt()), state)


class CarriesBallast(LinearAttention):
    """Has parameters that do nothing, so that it looks as large as a better mixer."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__(width, heads=heads)
        self.ballast = nn.Parameter(torch.zeros(width, width))


MUTANTS = {
    LooksAhead: "causal",
    StepForgets: "steps",
    DeclaresLess: "state",
    KeepsItself: "state",
    DropsTheRest: "lengths",
    DividesByItsNorm: "gradients",
    CarriesBallast: "parameters",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_caught_by_its_law_alone(mutant: Callable[..., nn.Module]) -> None:
    subject = Subject(mutant.__name__, mutant)
    caught = [name for name, law in LAWS.items() if law(subject)]
    assert caught == [MUTANTS[mutant]]


def test_every_law_has_a_mutant() -> None:
    assert set(MUTANTS.values()) == set(LAWS)


def test_check_reports_nothing_for_a_mixer_that_obeys() -> None:
    assert check(Subject("mixers.linear_attention", LinearAttention)) == {}


def test_check_names_the_broken_law() -> None:
    assert list(check(Subject("ballast", CarriesBallast))) == ["parameters"]


@pytest.mark.parametrize(
    ("mixer", "knobs", "wish"),
    [
        ("mixers.softmax", {"heads": 3}, "width=16, want a multiple of heads=3"),
        ("mixers.cosformer", {"horizon": 8}, "T=16, want at most horizon=8"),
        ("mixers.gated_cosformer", {"position": "inside"}, "want 'before' or 'after'"),
        ("mixers.gated_cosformer", {"gate": "shut"}, "want 'open' or 'half'"),
        ("mixers.diagonal", {"spectrum": "imaginary"}, "want 'positive' or 'signed'"),
        ("mixers.diagonal", {"heads": 2}, "heads=2, want 1"),
        ("mixers.oscillator", {"heads": 2}, "heads=2, want 1"),
    ],
)
def test_refuses_with_the_value_and_the_wish(mixer: str, knobs: dict, wish: str) -> None:
    factory = load(mixer).run
    assert factory is not None
    with pytest.raises(ValueError, match=wish):
        factory(WIDTH, **knobs)(torch.zeros(1, LENGTH, WIDTH))


def test_gate_starts_as_its_name_says() -> None:
    gated = load("mixers.gated_cosformer").run
    assert gated is not None
    for gate, share in (("open", 0.95), ("half", 0.5)):
        opening = torch.sigmoid(gated(WIDTH, gate=gate).g.bias)
        assert {round(each, 2) for each in opening.tolist()} == {share}
