"""A contract that cannot fail proves nothing: each mutant is caught by its check and by no other."""

import pytest

from correctness.contract import Outcome, attempt, cases
from correctness.mutants import MUTANTS, honest, plugin
from correctness.promises import CHECKS, Check, allocations_hold, stream
from impl.registry import Plugin


def outcomes(check: Check, mutant: Plugin) -> set[Outcome]:
    # other checks must not depend on what happened to lie in fresh bytes
    with allocations_hold(0.0):
        return {attempt(check, case).outcome for case in cases(check, mutant, "cpu")}


@pytest.mark.parametrize(("mutant", "promise"), MUTANTS, ids=[each.id for each, _ in MUTANTS])
def test_is_caught_by_its_check_alone(mutant, promise):
    catching = [check.promise for check in CHECKS if Outcome.WRONG in outcomes(check, mutant)]
    assert catching == [promise]


def test_honest_is_caught_by_none():
    impl = plugin(honest, "linear_recurrence")
    assert not [check.name for check in CHECKS if Outcome.WRONG in outcomes(check, impl)]


def test_every_check_has_a_mutant():
    # beside the caller's stream there is nothing to be wrong about without a GPU
    untested = {check.promise for check in CHECKS} - {promise for _, promise in MUTANTS}
    assert untested == {stream}
