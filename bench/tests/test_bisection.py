"""Bisection: the first bad commit whatever is in between, and a clear line for a bad question."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.engine import checkout, contest, runner, store
from bench.engine.contest import Problem, Results
from bench.engine.overlay import requirements
from bench.hardware import machine
from bench.record.measurement import Measurement
from bench.tests.test_judge import case, claim
from bench.verdict.claims import Claim
from bench.verdict.history import bisection
from bench.verdict.history.bisection import Prober, Step, search

COMMITS = [f"c{i}" for i in range(9)]


def answers(first: int, unclear: Sequence[int] = ()) -> dict[str, bool | None]:
    return {commit: None if i in unclear else i < first for i, commit in enumerate(COMMITS)}


@pytest.mark.parametrize("first", range(9))
def test_the_first_bad_commit_is_found_wherever_it_is(first: int) -> None:
    asked: list[str] = []

    def holds(commit: str) -> bool | None:
        asked.append(commit)
        return answers(first)[commit]

    assert search(COMMITS, holds) == (COMMITS[first],)
    assert len(asked) <= 4 and len(asked) == len(set(asked))


def test_what_cannot_be_told_is_passed_over() -> None:
    assert search(COMMITS, answers(2, unclear=[4, 5]).get) == ("c2",)


def test_where_it_lies_among_what_cannot_be_told_all_are_named() -> None:
    assert search(COMMITS, answers(5, unclear=[3, 4]).get) == ("c3", "c4", "c5")
    assert search(COMMITS, dict.fromkeys(COMMITS).get) == tuple(COMMITS)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four commits of a repository, which the bisection takes for this one."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=m", "-c", "user.email=m@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    for number in range(4):
        git("commit", "-q", "--allow-empty", "-m", f"commit {number}")
    monkeypatch.setattr(checkout, "git", git)
    monkeypatch.setattr(
        checkout, "find", lambda name: checkout.Commit(git("rev-parse", name), 0, clean=True)
    )
    return git("rev-list", "--reverse", "HEAD").split()


def ask(holds: Mapping[str, bool | None]) -> bisection.Ask:
    return lambda commit: Step(commit=commit, holds=holds[commit], said="0.4 x", measured=True)


def test_good_and_bad_are_asked_first(repository: list[str]) -> None:
    holds = dict(zip(repository, (True, True, False, False), strict=True))
    found = bisection.bisect(repository[0], "main", "026/x", ask(holds))
    assert found.first == (repository[2],)
    assert [step.commit for step in found.steps][:2] == [repository[0], repository[3]]


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        ((False, True, True, False), "GOOD .*: the claim does not hold: 0.4 x"),
        ((None, True, True, False), "GOOD .*: the claim could not be told: 0.4 x"),
        ((True, True, True, True), "BAD .*: the claim holds: 0.4 x"),
        ((True, True, True, None), "BAD .*: the claim could not be told: 0.4 x"),
    ],
)
def test_ends_that_are_not_what_they_are_called_are_refused(
    repository: list[str], holds: Sequence[bool | None], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bisection.bisect("main~3", "main", "x", ask(dict(zip(repository, holds, strict=True))))


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("main", "main~1", "main does not come before main~1"),
        ("main", "main", "main and main are the same commit"),
    ],
)
def test_ends_in_the_wrong_order_are_refused(
    repository: list[str], good: str, bad: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bisection.bisect(good, bad, "x", ask(dict.fromkeys(repository)))


def test_a_claim_is_called_by_its_id_where_that_is_enough() -> None:
    cases = {
        "026": case(claim(id="faster"), claim(id="smaller")),
        "027": case(claim(id="faster")),
    }
    assert bisection.claim_called("smaller", cases)[0] == "026/smaller"
    assert bisection.claim_called("027/faster", cases)[1].id == "faster"
    with pytest.raises(ValueError, match="2 claims are called 'faster'; it is 026/faster and 027"):
        bisection.claim_called("faster", cases)
    with pytest.raises(ValueError, match="0 claims are called 'nope', want one like 026/faster"):
        bisection.claim_called("nope", cases)


SCAN, LOOP = "scans.kogge_stone", "scans.sequential"


def about(**changes: object) -> Claim:
    """A claim about two plugins that the smoke suite measures."""
    made = claim(plugin=SCAN, against=LOOP, where={"T": 512, "machine": ["cpu"]})
    return replace(made, **changes)


def results(problem: Problem, ratio: float) -> Results:
    found = Results()
    for plugin, time in ((SCAN, ratio), (LOOP, 1.0)):
        found.exact(plugin, "contract", 0)
        found.figures.append(
            contest.Figure(
                plugin=plugin, metric="time", samples=(time,) * problem.rounds, low=time, high=time
            )
        )
    return found


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """The problems that would have been measured; the claim holds at each."""
    asked: list[Problem] = []

    def hold(problem: Problem, **_: object) -> Results:
        asked.append(problem)
        return results(problem, 0.4)

    monkeypatch.setattr(bisection, "hold_apart", hold)
    here = checkout.here()
    monkeypatch.setattr(checkout, "find", lambda name: replace(here, hash=name))
    return asked


def test_a_commit_is_measured_on_the_claims_own_problem(held: list[Problem]) -> None:
    step = Prober(about(), [], device="cpu")("a" * 40)
    assert (step.holds, step.measured, step.said) == (True, True, "0.4 x [0.4, 0.4]")
    (problem,) = held
    assert problem.plugins == (SCAN, LOOP) and problem.metrics == ("time",)
    assert problem.sizes["T"] == 512 and problem.op == "linear_recurrence"


def stored(problem: Problem, ratio: float, commit: str) -> list[Measurement]:
    """As they are read back: asv stores neither the Python nor the threads of the process."""
    at = replace(checkout.here(), hash=commit)
    found = store.measurements(problem, results(problem, ratio), at)
    return [replace(one, stack=requirements()) for one in found]


def test_what_is_stored_and_settles_it_is_not_measured_again(held: list[Problem]) -> None:
    Prober(about(), [], device="cpu")("a" * 40)
    (problem,) = held
    ask = Prober(about(), stored(problem, 0.7, "b" * 40), device="cpu")
    assert (ask("b" * 40).holds, ask("b" * 40).measured) == (False, False)
    assert len(held) == 1
    elsewhere = [replace(one, machine="b-cpu") for one in stored(problem, 0.7, "b" * 40)]
    assert Prober(about(), elsewhere, device="cpu")("b" * 40).measured
    other_stack = [replace(one, stack={"torch": "1"}) for one in stored(problem, 0.7, "b" * 40)]
    assert Prober(about(), other_stack, device="cpu")("b" * 40).measured


def test_what_is_unclear_is_measured_once_more_with_more_rounds(
    held: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(problem: Problem, **_: object) -> Results:
        held.append(problem)
        found = results(problem, 0.5)
        wide = (0.3, 0.7) * problem.rounds
        found.figures[1] = replace(found.figures[1], samples=wide[: problem.rounds])
        return found

    monkeypatch.setattr(bisection, "hold_apart", hold)
    assert Prober(about(), [], device="cpu")("a" * 40).holds is None
    rounds = [problem.rounds for problem in held]
    assert rounds == [runner.ROUNDS, bisection.AGAIN * runner.ROUNDS]


@pytest.mark.parametrize(
    ("outcome", "reason", "holds"),
    [("not run", "not part of this commit", None), ("wrong", "output errs 1", False)],
)
def test_a_commit_without_the_plugin_is_passed_over_and_a_wrong_one_is_bad(
    held: list[Problem],
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
    reason: str,
    *,
    holds: bool | None,
) -> None:
    def hold(problem: Problem, **_: object) -> Results:
        found = Results()
        if outcome == "wrong":
            found.exact(SCAN, "contract", 1)
        found.missing(SCAN, outcome, reason)
        return found

    monkeypatch.setattr(bisection, "hold_apart", hold)
    step = Prober(about(), [], device="cpu")("a" * 40)
    assert step.holds is holds and f"{SCAN}: {reason}" in step.said


def test_a_claim_about_another_machine_is_refused() -> None:
    here = machine.record("cpu").name
    elsewhere = about(where={"machine": ["h200"], "T": 512})
    with pytest.raises(ValueError, match=f"about .*h200.*, this machine is {here}"):
        Prober(elsewhere, [], device="cpu")


def test_a_claim_that_no_suite_measures_is_refused() -> None:
    with pytest.raises(ValueError, match="no suite measures time of what half-the-time is about"):
        Prober(about(where={"T": 3}), [], device="cpu")
