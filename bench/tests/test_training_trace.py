"""What gradients add to the traffic is counted as on paper, and only where a suite asks for it."""

import dataclasses

import pytest

from bench.engine import figures, suite
from bench.engine.metrics import METRICS, TRAINING_TRACE, Way
from bench.engine.runner import problems

B, T, D = 2, 16, 4


def case(run):
    torch = pytest.importorskip("torch")
    from correctness.case import Case
    from correctness.op import find
    from impl.registry import load

    plugin = dataclasses.replace(load("scans.sequential"), run=run)
    sizes = {"B": B, "T": T, "D": D}
    return Case(plugin, find("linear_recurrence"), sizes, torch.float32, "cpu")


def once(a, b, h0):
    """Not the recurrence: a b + h0, whose gradients are three products and sums of known size."""
    return a * b + h0[:, None]


def twice(a, b, h0):
    """The same, with a copy of the result that the gradient passes through."""
    return once(a, b, h0).clone()


def ratio(run):
    found = figures.trace(case(run), ["traffic", *TRAINING_TRACE])
    assert float(found["train_traffic"]) > float(found["traffic"])
    return found["backward_traffic_ratio"]


def test_what_gradients_move_is_counted_by_hand():
    # the product: two gradients, each of two tensors read and one written; the sum over T of h0's
    whole, state = B * T * D, B * D
    moved = 2 * 3 * whole + (whole + state)
    least = (2 * whole + state) + whole + (2 * whole + state)
    assert ratio(once) == pytest.approx(moved / least)


def test_a_copy_in_the_forward_pass_is_no_part_of_the_backward_pass():
    assert ratio(twice) == pytest.approx(ratio(once))


def test_a_backward_pass_that_is_excused_has_no_figure():
    broken = case(once)
    excused = dataclasses.replace(broken.plugin, excuses={"backward": "none"})
    found = figures.trace(dataclasses.replace(broken, plugin=excused), TRAINING_TRACE)
    assert found == dict.fromkeys(TRAINING_TRACE, "none")


def test_training_is_traced_at_its_own_sizes_and_nowhere_else():
    (contest,) = (each for each in suite.load("substrate").contests if each.op == "delta_rule")
    for problem in problems(contest, "cpu"):
        name = "-".join(f"{axis}{size}" for axis, size in problem.sizes.items())
        traced = {each for each in problem.metrics if METRICS[each].way is Way.TRACE}
        assert (name in contest.trained_sizes) == bool(traced & {*TRAINING_TRACE})
        assert (name in contest.modelled_sizes) == ("traffic" in traced)
