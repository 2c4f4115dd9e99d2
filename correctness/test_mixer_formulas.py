"""Mixers that write their states out compute the op that they name, not only the same thing twice."""

import torch
from torch import Tensor
from torch.nn import functional

from correctness.op import find
from impl.common.decay_gates import log_decay
from impl.memory.second_order import SecondOrder
from impl.mixers.gla import Gla
from impl.mixers.kda import Kda

WIDTH, HEADS, TOKENS = 8, 2, 9
ROUNDING = TOKENS**2 * WIDTH * torch.finfo(torch.float64).eps


def parts(mixer: torch.nn.Module, x: Tensor, *names: str) -> list[Tensor]:
    """Projections [B, T, H, K] in the layout of the ops."""
    return [mixer.get_submodule(name)(x).unflatten(-1, (HEADS, -1)) for name in names]


def unit(x: Tensor) -> Tensor:
    """Unit queries and keys."""
    return functional.normalize(functional.silu(x), dim=-1)


def apart(mixer: Gla | Kda | SecondOrder, x: Tensor, o: Tensor) -> float:
    """Distance of the layer from its own output projection of what the reference reads."""
    return (mixer.o(mixer.norm(o).flatten(-2)) - mixer(x)).abs().max().item()


def test_gla_is_gated_linear_attention() -> None:
    for decay in ("sigmoid", "stable"):
        mixer = Gla(WIDTH, heads=HEADS, decay=decay).double()
        x = torch.randn(3, TOKENS, WIDTH, dtype=torch.float64)
        q, k, v, f = parts(mixer, x, "q", "k", "v", "g")
        q = q / mixer.channels**0.5
        o, _ = find("gated_linear_attention")(q=q, k=k, v=v, g=log_decay(f, decay))
        assert apart(mixer, x, o) < ROUNDING


def test_kda_is_the_channel_gated_delta_rule() -> None:
    mixer = Kda(WIDTH, heads=HEADS).double()
    x = torch.randn(3, TOKENS, WIDTH, dtype=torch.float64)
    q, k, v, f = parts(mixer, x, "q", "k", "v", "g")
    given = {"q": unit(q), "k": unit(k), "v": v, "g": log_decay(f, "sigmoid")}
    o, _ = find("channel_gated_delta_rule")(**given, beta=torch.sigmoid(mixer.b(x)))
    assert apart(mixer, x, o) < ROUNDING


def test_second_order_is_the_generalised_delta_rule_along_the_moments_direction() -> None:
    mixer = SecondOrder(WIDTH, heads=HEADS).double()
    x = torch.randn(3, TOKENS, WIDTH, dtype=torch.float64)
    q, k, v, f = parts(mixer, x, "q", "k", "v", "g")
    k, beta = unit(k), torch.sigmoid(mixer.b(x))[..., None]
    assert mixer.gamma is not None
    gamma, moment, directions = torch.sigmoid(mixer.gamma), 0.0, []
    for t in range(TOKENS):
        moment = gamma[:, None, None] * moment + k[:, t, :, :, None] * k[:, t, :, None, :]
        directions.append(functional.normalize((moment @ k[:, t, :, :, None])[..., 0], dim=-1))
    given = {"q": unit(q), "k": beta * k, "v": v, "g": log_decay(f, "sigmoid")}
    kappa, eta = torch.stack(directions, dim=1), beta.expand_as(k)
    o, _ = find("generalised_delta_rule")(**given, kappa=kappa, eta=eta)
    assert apart(mixer, x, o) < ROUNDING


def test_stable_decays_cost_no_weight() -> None:
    for kind in (Gla, Kda):
        plain, stable = (kind(WIDTH, heads=HEADS, decay=decay) for decay in ("sigmoid", "stable"))
        assert [p.shape for p in plain.parameters()] == [p.shape for p in stable.parameters()]
