"""In float32 the error of 65536 steps is held to what the reference errs by in 256.

The torch forms of every op with a state, forward and backward. In float64 a form equals the loop over
256 steps; the truth of a longer sequence is then that form on pieces of 256, the state handed on, which
is what the loop does and takes seconds instead of minutes. Not asked here: the forms that are loops
themselves, and the kernels, which share the arithmetic of a chunk with them and would be interpreted
for minutes.

The bound is four times the worst that the loop errs by in float32 on 64 such pieces, each a draw of its
own. It does not grow with T. Roundings of independent sign add up as the square root of their number,
so that is the most an error may grow by where a state forgets nothing: exponent 1/2.
"""

import functools
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from correctness import op as ops
from correctness.case import Comparison, Figures, compare, gradients, rms, to
from correctness.contract import Outcome, results_of
from correctness.mutants import plugin as wrong_on_purpose
from correctness.op import Op, outputs
from correctness.promises import CHECKS, growth
from impl.registry import Plugin, index, load

PIECE, PIECES = 256, 64
LENGTHS = (1024, 4096, 16384, 65536)
EXPONENT = 0.5
SIZES = {"B": 1, "H": 1, "G": 1, "K": 8, "N": 8, "V": 4, "P": 4, "D": 4, "R": 2, "T": LENGTHS[-1]}
"""Small: an error per step does not depend on them, and 65536 steps are many."""
SAME_AT_EVERY_STEP = ("coupled_oscillators",)
"""Ops of one transition for all steps: what its rounding costs does not average out, but adds up."""
STATEFUL = [
    plugin.id
    for plugin in index().values()
    if plugin.kind == "impl"
    and not plugin.needs
    and "transition" not in (plugin.op or "")
    and plugin.op not in SAME_AT_EVERY_STEP
    and ".sequential" not in plugin.id
    and ops.find(plugin.op or "").state is not None
]
EXCUSED = [each for each in STATEFUL if index()[each].excuse("growth", "cpu")]
"""Forms that say of themselves that their error grows."""
FORMS = [each for each in STATEFUL if each not in EXCUSED]

Answers = dict[str, Tensor]
"""Outputs and gradients by name."""


@functools.cache
def drawn(name: str) -> Mapping[str, Tensor]:
    """Inputs of the longest problem; a shorter one takes their first steps."""
    op = ops.find(name)
    return to(op.inputs({axis: SIZES[axis] for axis in op.axes()}), torch.float32)


@functools.cache
def pieces(name: str) -> Mapping[str, Tensor]:
    """Sequences of one piece, each a draw of its own."""
    op = ops.find(name)
    dims = {axis: SIZES[axis] for axis in op.axes()} | {"B": PIECES, "T": PIECE}
    return to(op.inputs(dims, seed=1), torch.float32)


def steps(op: Op, inputs: Mapping[str, Tensor], start: int, length: int) -> dict[str, Tensor]:
    """Some steps of the inputs, and the state as it is."""
    return {
        name: x.narrow(op.inputs_axes[name].index("T"), start, length)
        if "T" in op.inputs_axes[name]
        else x
        for name, x in inputs.items()
    }


def answers(run: Callable[..., object], inputs: Mapping[str, Tensor]) -> Answers:
    """What ``run`` returns, and the gradient of every input through all of it."""
    kept: list[Tensor] = []

    def told(**given: Tensor) -> tuple[Tensor, ...]:
        kept[:] = outputs(run(**given))  # pyright: ignore[reportArgumentType]
        return tuple(kept)

    found = gradients(told, inputs)
    return {**{f"output {i}": x.detach() for i, x in enumerate(kept)}, **found}


def in_pieces(op: Op, run: Callable[..., object]) -> Callable[..., tuple[Tensor, ...]]:
    """``run`` on pieces, each from the state that the one before ended in."""
    kept = op.state or ""

    def whole(**given: Tensor) -> tuple[Tensor, ...]:
        state, found, axes = given[kept], [], op.inputs_axes
        # cut at once: the gradient of a slice is as large as what it was taken from
        cut = {n: x.split(PIECE, axes[n].index("T")) for n, x in given.items() if "T" in axes[n]}
        for each in zip(*cut.values(), strict=True):
            piece = run(**{**given, **dict(zip(cut, each, strict=True)), kept: state})
            found.append(outputs(piece))  # pyright: ignore[reportArgumentType]
            state = op.final_state(found[-1])
        return torch.cat([each[0] for each in found], dim=1), *found[-1][1:]

    return whole


@functools.cache
def references(name: str) -> tuple[Answers, Mapping[str, Figures]]:
    """The loop in float64 over the pieces, and the worst that it errs by in float32 on any."""
    op, inputs, worst = ops.find(name), pieces(name), {}
    truth, plain = answers(op, to(inputs, torch.float64)), answers(op, inputs)
    for each, true in truth.items():
        # what has no axis for the batch is one answer to all of it
        batch = PIECES if len(true) == PIECES else 1
        error, size = (x.reshape(batch, -1) for x in (plain[each].double() - true, true))
        scale = size.square().mean(1).sqrt()
        spread = error.square().mean(1).sqrt() / scale
        worst[each] = spread.max().item(), (error.abs().amax(1) / scale).max().item()
    return truth, worst


def compared(got: Answers, truth: Answers, name: str) -> list[Comparison]:
    """Errors beside the bound of one piece in float32."""
    own = references(name)[1]
    # the truth, against itself, adds nothing to the bound
    return [
        compare(each, got[each], truth[each], truth[each], torch.float32, own[each]) for each in got
    ]


def exponent(figures: Mapping[int, float]) -> float:
    """Slope of a line through the logarithms."""
    x, y = ([math.log(each) for each in side] for side in (figures, figures.values()))
    middle = sum(x) / len(x)
    slopes = sum((a - middle) * b for a, b in zip(x, y, strict=True))
    return slopes / sum((a - middle) ** 2 for a in x)


def grown(plugin: Plugin) -> list[str]:
    """What leaves its bound at any length, and what grows faster than roundings do."""
    run, name = plugin.run, plugin.op
    assert run and name
    op, found, told = ops.find(name), [], {}
    for length in LENGTHS:
        inputs = steps(op, drawn(name), 0, length)
        mine = answers(run, inputs)
        truth = answers(in_pieces(op, run), to(inputs, torch.float64))
        found += [
            f"{each.what} errs {each.excess:.2f} times its bound at T={length}"
            for each in compared(mine, truth, name)
            if not each.excess <= 1
        ]
        told[length] = {each: rms(mine[each].double() - true) for each, true in truth.items()}
        told[length] = {each: error / rms(truth[each]) for each, error in told[length].items()}
    slopes = {each: exponent({n: told[n][each] for n in LENGTHS}) for each in told[LENGTHS[0]]}
    return found + [
        f"{each} grows as T to the {slope:.2f}"
        for each, slope in slopes.items()
        if not slope <= EXPONENT
    ]


@pytest.mark.parametrize("plugin_id", FORMS)
def test_in_float64_a_form_equals_the_loop_over_one_piece(plugin_id: str) -> None:
    plugin = load(plugin_id)
    run, name = plugin.run, plugin.op
    assert run and name
    mine = answers(run, to(pieces(name), torch.float64))
    found = compared(mine, references(name)[0], name)
    # what the truth errs by is less than float32 tells apart in the bound
    assert max(each.excess for each in found) <= torch.finfo(torch.float32).eps


@pytest.mark.parametrize("plugin_id", FORMS)
def test_the_error_of_long_sequences_is_that_of_short_ones(plugin_id: str) -> None:
    assert grown(load(plugin_id)) == []


def test_every_op_with_a_state_has_a_form_but_one_and_those_whose_transitions_are_the_idea() -> (
    None
):
    stateful = {name for name in ops.names() if ops.find(name).state and "transition" not in name}
    # the state of gated_readout is that of linear attention, and it has kernels only
    without = {"gated_readout", *SAME_AT_EVERY_STEP}
    assert stateful - {index()[each].op for each in FORMS} == without


@pytest.mark.parametrize("plugin_id", EXCUSED)
def test_a_form_that_is_excused_needs_its_excuse(plugin_id: str) -> None:
    assert grown(load(plugin_id))


def drifts(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """Right to a quarter of a rounding at 1024 steps, wrong by sixteen at 65536."""
    h = load("scans.prefix_scan").run(a, b, h0)  # pyright: ignore[reportOptionalCall]
    return h * (1 + torch.finfo(torch.float32).eps * b.shape[1] / 4096)


def forgets_after_long(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """Right in float32 and in float64 up to 5000 steps, and starts anew there."""
    run = load("scans.prefix_scan").run
    assert run
    if b.shape[1] <= 5000:
        return run(a, b, h0)
    return torch.cat([run(a[:, :5000], b[:, :5000], h0), run(a[:, 5000:], b[:, 5000:])], dim=1)


@pytest.mark.parametrize("mutant", [drifts, forgets_after_long])
def test_what_goes_wrong_beyond_the_contract_is_noticed(mutant: Callable[..., Tensor]) -> None:
    plugin = wrong_on_purpose(mutant, "linear_recurrence")
    (check,) = [each for each in CHECKS if each.promise is growth]
    assert {each.outcome for each in results_of(check, plugin, "cpu")} == {Outcome.OK}
    assert grown(plugin)
