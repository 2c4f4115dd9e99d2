"""Thirteen commits with planted faults: history names them, verdicts turn and turn back, the gate refuses.

Everything is measured here, by the planted repository's own commands: what is counted at every
commit, the scan timed at those that edit it, the mixer trained at those that edit it and at both ends.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bench.engine.metrics import Way
from bench.record import results_folder
from bench.record.measurement import Measurement
from bench.tests.planted import COMMITS, MIXER, SCAN, Repository
from bench.verdict import claims
from bench.verdict.history import changes, turns

FAULTS = {
    "slow": ("scans.prefix_scan", "time"),
    "traffic": ("scans.prefix_scan", "traffic"),
    "wrong": ("scans.prefix_scan", "contract"),
    "forgetful": ("mixers.diagonal", "accuracy"),
}
"""Each fault, and the series in which it shows."""
TOO_FEW = re.compile("the budget holds no round|rounds, want at least")
"""What the gate says when the machine was too busy for its budget."""
pytestmark = pytest.mark.alone
T = TypeVar("T")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def measured(repository: Repository) -> Repository:
    """Clocks come last and one by one: only what repeats may have a neighbour."""

    def measure(commit: str, *suites: str) -> None:
        for suite in suites:
            done = repository.madbench("run", "--suite", suite, "--commit", commit)
            assert done.returncode == 0, done.stderr

    first, *_, last = repository.commits
    trained = {first, *repository.edits(MIXER), last}

    def repeat(commit: str) -> None:
        # a commit has one file, so its suites take turns
        measure(commit, "counted", *(["trained"] if commit in trained else []))

    side_by_side(repeat, repository.commits)
    wrong = range(repository.place("wrong"), repository.commits.index(repository.undone("wrong")))
    # what is wrong has no time
    right = [each for each in repository.edits(SCAN) if repository.commits.index(each) not in wrong]
    # half of a timed run is the machine's ceilings: the first commit takes its own, the others share
    done = repository.calibrate(right[1:])
    assert done.returncode == 0, done.stderr
    for commit in right:
        measure(commit, "timed")
    return repository


def side_by_side(does: Callable[[str], T], each: Iterable[str]) -> list[T]:
    """Two at a time."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(does, each))


@pytest.fixture(scope="module")
def known(measured: Repository) -> list[Measurement]:
    return results_folder.read_all(measured.folder / "results")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_history_names_the_commit_of_a_fault_and_of_its_undoing(
    measured: Repository, known: list[Measurement], fault: str
) -> None:
    plugin, metric = FAULTS[fault]
    told = [
        one
        for one in changes.changes(known)
        if (one.series.plugin, one.series.metric, one.worse) == (plugin, metric, True)
    ]
    if fault != "slow":
        (found,) = told
        assert (found.commit, found.recovered) == (measured.first(fault), measured.undone(fault))
        return
    # another program that disturbs a run leaves a step of its own, even at the commit that recovers,
    # and no test can forbid it: of a loss by a factor of fifty, the largest steps down and up remain
    found = max(told, key=larger)
    steps = [one for one in changes.changes(known) if one.series == found.series and not one.worse]
    assert (found.commit, max(steps, key=larger).commit) == (
        measured.first(fault),
        measured.undone(fault),
    )
    assert found.recovered in measured.commits[measured.commits.index(measured.undone(fault)) :]


def test_of_what_repeats_the_history_blames_no_other_commit(
    measured: Repository, known: list[Measurement]
) -> None:
    told = [one for one in changes.changes(known) if one.worse and not clocked(one)]
    assert {one.commit for one in told} == {
        measured.first(fault) for fault in FAULTS if fault != "slow"
    }


def test_no_loss_of_time_is_larger_than_the_one_that_was_planted(
    measured: Repository, known: list[Measurement]
) -> None:
    told = [one for one in changes.changes(known) if one.worse and clocked(one)]
    assert max(told, key=larger).commit == measured.first("slow")


def larger(one: changes.Change) -> float:
    return abs(math.log(one.size))


def clocked(one: changes.Change) -> bool:
    return one.series.definition.way is Way.CLOCK


def test_tokens_a_second_that_fall_are_worse_and_that_rise_are_not(
    measured: Repository, known: list[Measurement]
) -> None:
    rates = [one for one in changes.changes(known) if one.series.metric == "tokens_per_s"]
    assert all(one.worse == (one.size < 1) for one in rates)
    # another program leaves smaller steps of its own, as above, in other plugins at the same commit too
    found = max((one for one in rates if one.worse), key=larger)
    steps = [one for one in rates if one.series == found.series and not one.worse]
    assert (found.commit, max(steps, key=larger).commit) == (
        measured.first("slow"),
        measured.undone("slow"),
    )


def test_the_verdict_turns_at_every_fault_and_back(
    measured: Repository, known: list[Measurement]
) -> None:
    (file,) = (measured.folder / "suites" / "claims").glob("*/*.toml")
    case = claims.load(file)
    found = turns.turns({case.proposal: case}, known)[case.proposal]
    verdicts = [(one.commit, str(one.verdict)) for one in found]
    wanted = [(measured.commits[0], "PROCEED")]
    for fault in FAULTS:
        wanted += [(measured.first(fault), "DEBUG"), (measured.undone(fault), "PROCEED")]
    assert verdicts == wanted
    assert all(one.commit in one.rule for one in found if "stopped-holding" in one.rule)


def test_judging_twice_gives_the_same_bytes(measured: Repository) -> None:
    once, again = (measured.madbench("judge", "--json").stdout for _ in range(2))
    assert once == again and '"PROCEED"' in once


def gated(repository: Repository, head: int, *options: str) -> tuple[int, Any]:
    """Exit status and findings of a commit held against its parent."""
    base, head_commit = repository.commits[head - 1], repository.commits[head]
    done = repository.madbench("gate", base, head_commit, "--suite", "planted", *options, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers(repository: Repository) -> dict[str, tuple[int, Any]]:
    """What the gate says of the faults that need no clock."""
    faults = [fault for fault in FAULTS if fault != "slow"]
    found = side_by_side(
        lambda fault: gated(repository, repository.place(fault), "--no-clock"), faults
    )
    return dict(zip(faults, found, strict=True))


@pytest.mark.parametrize("fault", ["traffic", "wrong", "forgetful"])
def test_the_gate_refuses_a_fault(answers: dict[str, tuple[int, Any]], fault: str) -> None:
    status, said = answers[fault]
    plugin, metric = FAULTS[fault]
    worse = {
        (each["plugin"], each["metric"])
        for each in said["findings"]
        if each["answer"] == "regression"
    }
    assert status == 1 and (plugin, metric) in worse
    # the file holds the scan of matrices too, by the same code
    assert {name.removesuffix(".matrix") for name, _ in worse} == {plugin}


def test_the_gate_refuses_a_call_that_sleeps(repository: Repository) -> None:
    status, said = gated(repository, repository.place("slow"), "--clock", "--budget", "60")
    unclear = {each["why"] for each in said["findings"] if each["answer"] == "unclear"}
    if status == 2 and unclear and all(TOO_FEW.search(why) for why in unclear):
        pytest.skip(f"the machine was busy: {'; '.join(sorted(unclear))}")
    worse = {
        (each["plugin"], each["metric"])
        for each in said["findings"]
        if each["answer"] == "regression"
    }
    assert status == 1 and worse and {name for name, _ in worse} == {"scans.prefix_scan"}


@pytest.mark.parametrize("number", [n for n, each in enumerate(COMMITS) if each.harmless])
def test_the_gate_keeps_a_comment_and_a_docstring(repository: Repository, number: int) -> None:
    status, said = gated(repository, number, "--clock")
    assert status == 0 and not [each for each in said["findings"] if each["answer"] != "keep"]


def test_a_bisection_names_the_commit(measured: Repository) -> None:
    good, bad = measured.commits[3], measured.first("traffic")
    done = measured.madbench("bisect", "026/moves-few-bytes", good, bad, "--json")
    assert done.returncode == 0, done.stderr
    assert measured.first("traffic") in done.stdout


def test_a_planted_edit_that_fits_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        COMMITS[2].edit("nothing of the kind")
