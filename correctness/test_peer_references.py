# pyright: reportMissingImports=false, reportOptionalCall=false
"""At the shapes at which fla tests its kernels: its plain references and our torch forms, against ours.

fla's references are an oracle that nobody here wrote. They compute in float32, some take heads before
time and most scale the query by a hidden ``K ** -0.5``; each is called below in its own convention.
fla divides logarithms of decays by a normaliser: 0.01 forgets nearly everything at every step, 10
remembers for hundreds.
"""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from correctness import op as ops
from correctness.case import DRAWS, Comparison, Figures, compare_all, gradients, rms, to
from correctness.op import log_decay, outputs
from impl.registry import index, load

SHAPES = ((63, 60, 0.01), (63, 100, 10.0), (500, 60, 1.0), (500, 100, 0.1), (1000, 100, 1.0))
"""Steps, width of keys and values, and what the logarithms of decays are divided by."""
NAMES = [f"T{steps}-D{width}-over{normaliser:g}" for steps, width, normaliser in SHAPES]

Shape = tuple[int, int, float]
Call = Callable[..., tuple[Tensor, Tensor]]


@functools.cache
def drawn(name: str, shape: Shape, seed: int = 0) -> Mapping[str, Tensor]:
    """Float32 inputs of two heads, every decay to the power of one over the normaliser."""
    steps, width, normaliser = shape
    op = ops.find(name)
    dims = {"B": 1, "T": steps, "H": 2, "G": 1, "R": 2, **dict.fromkeys("KVNPD", width)}
    inputs = op.inputs({axis: dims[axis] for axis in op.axes()}, seed)
    for each, law in op.draw.items():
        if law is log_decay:
            inputs[each] /= normaliser
    if name == "ssd":
        inputs["a"] /= normaliser
    if name == "sigmoid_mlstm":
        kept = torch.nn.functional.logsigmoid(inputs["f"]) / normaliser
        # the logit of exp(kept)
        inputs["f"] = -torch.expm1(-kept).log()
    return to(inputs, torch.float32)


@functools.cache
def references(
    name: str, shape: Shape, what: str, seed: int = 0
) -> tuple[dict[Any, Tensor], dict[Any, Tensor]]:
    """The loop in float64 and in float32: outputs by place, or gradients by name."""
    op, inputs = ops.find(name), drawn(name, shape, seed)
    return told(op, to(inputs, torch.float64), what), told(op, inputs, what)


def told(run: Callable[..., Any], inputs: Mapping[str, Tensor], what: str) -> dict[Any, Tensor]:
    """``output `` by place, or ``gradient of `` by name."""
    if what == "output ":
        return dict(enumerate(outputs(run(**inputs))))
    return gradients(run, inputs)


def own_errors(name: str, shape: Shape, what: str) -> Mapping[Any, Figures]:
    """The worst figures of the loop in float32 over further draws.

    And at least, for the largest element, what a sum of as many products as a head is wide rounds off
    in any order: half a rounding each, adding up as their square root. Where nearly all is forgotten
    one such sum may scale a whole row.
    """
    summed = shape[1] ** 0.5 / 2 * torch.finfo(torch.float32).eps
    truth = references(name, shape, what)[0]
    worst = {each: (0.0, summed * peak(true) / rms(true)) for each, true in truth.items()}
    for seed in range(1, DRAWS + 1):
        truth, plain = references(name, shape, what, seed)
        for each, true in truth.items():
            error, before = plain[each].double() - true, worst[each]
            worst[each] = (
                max(before[0], rms(error) / rms(true)),
                max(before[1], peak(error) / rms(true)),
            )
    return worst


def peak(x: Tensor) -> float:
    """Size of the largest element."""
    return x.abs().max().item()


def beyond(run: Callable[..., Any], name: str, shape: Shape, what: str) -> list[Comparison]:
    """What of ``run`` leaves the bound, which is that of the contract but for wide sums."""
    mine = told(run, drawn(name, shape), what)
    found = compare_all(what, mine, *references(name, shape, what), torch.float32)
    if all(each.excess <= 1 for each in found):
        return []
    # further draws are taken where the first does not settle it: they take longest
    own = own_errors(name, shape, what)
    found = compare_all(what, mine, *references(name, shape, what), torch.float32, own)
    return [each for each in found if not each.excess <= 1]


FORMS = [
    plugin.id
    for plugin in index().values()
    if plugin.kind == "impl"
    and not plugin.needs
    and {"V", "P"} & {axis for axes in ops.find(plugin.op or "").output_axes for axis in axes}
    and ops.find(plugin.op or "").state
    and "transition" not in (plugin.op or "")
]


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
@pytest.mark.parametrize("plugin_id", FORMS)
def test_a_form_holds_its_bound_at_the_shapes_of_the_peers(plugin_id: str, shape: Shape) -> None:
    run, name = load(plugin_id).run, index()[plugin_id].op or ""
    assert run
    assert beyond(run, name, shape, "output ") == []
    # 1000 steps twice more add minutes and no other arithmetic
    if shape[0] < 1000:
        assert beyond(run, name, shape, "gradient of ") == []


def fla(path: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function of ``fla.ops``, or a skip that says why there is none."""
    pytest.importorskip("fla", reason="not run: fla is not installed")
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        # what it says about the machine on import
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"fla.ops.{module}"), name)


def heads_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def unscaled(q: Tensor) -> Tensor:
    """A query that a hidden ``K ** -0.5`` takes back to ``q``."""
    return q * q.shape[-1] ** 0.5


def linear_attention(q: Tensor, k: Tensor, v: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    run = fla("linear_attn.naive.naive_recurrent_linear_attn")
    return run(q, k, v, scale=1.0, initial_state=h0, output_final_state=True)


def gated_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("gla.naive.naive_recurrent_gla")
    return run(unscaled(q), k, v, g, initial_state=h0, output_final_state=True)


def ssd(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("simple_gla.naive.naive_recurrent_simple_gla")
    q, k = (each.expand(-1, -1, x.shape[2], -1) for each in (c, b))
    return run(q, k, x * dt[..., None], dt * a, scale=1.0, initial_state=h0)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    run = fla("delta_rule.naive.delta_rule_recurrence")
    o, state = run(*map(heads_first, (unscaled(q), k, v, beta)), initial_state=h0)
    return heads_first(o), state


def gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("gated_delta_rule.naive.naive_recurrent_gated_delta_rule")
    return run(q, k, v, beta, g, scale=1.0, initial_state=h0, output_final_state=True)


def channel_gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("kda.naive.naive_recurrent_kda")
    return run(q, k, v, g, beta, scale=1.0, initial_state=h0, output_final_state=True)


def generalised_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, kappa: Tensor, eta: Tensor, g: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("generalized_delta_rule.dplr.naive.dplr_recurrence")
    given = (unscaled(q), k, v, -kappa, eta * kappa, g)
    o, state = run(*map(heads_first, given), initial_state=h0)
    return heads_first(o), state


def delta_product(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    run = fla("gated_delta_product.naive.naive_recurrent_gated_delta_product")
    k, v, beta = (each.flatten(1, 2) for each in (k, v, beta))
    return run(
        q, k, v, None, beta, 1.0, initial_state=h0, output_final_state=True, num_householder=2
    )


PEERS: tuple[Call, ...] = (
    linear_attention,
    gated_linear_attention,
    ssd,
    delta_rule,
    gated_delta_rule,
    channel_gated_delta_rule,
    generalised_delta_rule,
    delta_product,
)
"""Named as the op of which each is fla's reference."""


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
@pytest.mark.parametrize("peer", PEERS, ids=[each.__name__ for each in PEERS])
def test_the_reference_of_fla_agrees_with_ours(peer: Call, shape: Shape) -> None:
    assert beyond(peer, peer.__name__, shape, "output ") == []
