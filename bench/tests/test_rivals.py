"""A rival of another op is timed in the rounds of a contest, and is no figure of the op."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.engine import contest, figures, isolation, rivals, runner, store, suite
from bench.record import measurement, results_folder

SIZES = "B1-T16-H1-K4-V4"
PLUGIN, RIVAL = "attention.linear", "attention.flash2"
CRASHES = """
from impl import implements
import os, signal

@implements("softmax_attention", source="test")
def crashes(q, k, v, scale=1.0):
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def held() -> suite.Contest:
    return suite.Contest(
        op="linear_attention",
        plugins=(PLUGIN,),
        sizes=(SIZES,),
        modelled_sizes=(),
        dtypes=("float32",),
        baseline=PLUGIN,
        rivals=rivals.of((PLUGIN,), [measurement.dims(SIZES)]),
    )


def problem() -> contest.Problem:
    (one,) = runner.problems(held(), "cpu")
    return replace(one, rounds=9, metrics=("time", "contract"))


def test_a_rival_is_timed_in_the_same_rounds_and_read_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the machine may be busy: what is asked is where the samples go, not what they are
    monkeypatch.setattr(contest.clock, "_queued_ns", lambda: 0)
    results = contest.hold(problem(), lambda plugin, stage: None)
    assert {(f.plugin, f.metric) for f in results.figures} == {
        (PLUGIN, "contract"),
        (PLUGIN, "time"),
        (RIVAL, "rival_time"),
    }
    store.Place(tmp_path).add("smoke", held(), problem(), results)
    own, asides = (results_folder.read_all(tmp_path, aside=aside) for aside in (False, True))
    assert {one.plugin for one in own} == {PLUGIN}
    (mine,) = [one for one in own if one.metric == "time"]
    (theirs,) = asides
    assert (theirs.plugin, theirs.metric, theirs.sizes) == (RIVAL, "rival_time", SIZES)
    assert theirs.group == mine.group
    assert len(theirs.samples) == len(mine.samples) == 9


def test_a_rival_that_may_not_be_timed_says_why_and_costs_no_figure() -> None:
    (peer,) = set(problem().rivals) - {RIVAL}
    results = contest.hold(replace(problem(), rounds=1), lambda plugin, stage: None)
    (told,) = [one for one in results.outcomes if one.plugin == peer]
    assert (told.outcome, told.metric) == ("not run", "rival_time")
    assert told.reason.startswith("needs")
    assert not [f for f in results.figures if f.plugin == peer]


def test_a_rival_that_crashes_is_named_and_the_others_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "crashes.py"
    file.write_text(CRASHES)
    bad = f"{file}:crashes"
    theirs = {bad: problem().rivals[RIVAL]}
    found = isolation.hold_apart(replace(problem(), rivals=theirs, metrics=("contract",)))
    told = {one.plugin: one for one in found.outcomes}
    assert "SIGSEGV" in told[bad].reason
    assert told[bad].metric == "rival_time"
    assert {f.plugin for f in found.figures} == {PLUGIN}


def test_a_contest_has_the_rivals_that_its_sizes_have_a_place_for() -> None:
    by_op = {each.op: each for each in suite.load("smoke").contests}
    assert RIVAL in by_op["delta_rule"].everyone
    assert RIVAL in by_op["softmax_attention"].plugins
    assert RIVAL not in [each.plugin for each in by_op["softmax_attention"].rivals]
    assert not by_op["linear_recurrence"].rivals
    (timed,) = runner.problems(by_op["ssd"], "cpu")
    assert timed.rivals[RIVAL] == (
        "softmax_attention",
        {"B": 1, "T": 512, "H": 4, "K": 32, "V": 32},
    )


def test_no_rival_where_nothing_is_timed() -> None:
    traced = replace(held(), sizes=(), modelled_sizes=(SIZES,))
    (one,) = runner.problems(traced, "cpu")
    assert not one.rivals


@pytest.mark.parametrize("lacking", ["name", "axes"])
def test_a_baseline_that_lacks_something_is_refused(lacking: str) -> None:
    table = {"name": "x", "plugin": "x", "op": "x", "axes": []}
    with pytest.raises(ValueError, match=f"{lacking}, want"):
        rivals.read([{key: value for key, value in table.items() if key != lacking}])


def test_a_call_that_cannot_be_timed_costs_its_own_figure_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def training_step(case: object) -> object:
        raise MemoryError("3 GB wanted")

    monkeypatch.setattr(contest.clock, "_queued_ns", lambda: 0)
    clocked = {figures.forward: ("time",), training_step: ("train_time",)}
    monkeypatch.setattr(figures, "CLOCKED", clocked)
    both = replace(problem(), rounds=2, metrics=("time", "train_time", "contract"), rivals={})
    results = contest.hold(both, lambda plugin, stage: None)
    assert "time" in {f.metric for f in results.figures}
    (told,) = results.outcomes
    assert (told.plugin, told.metric) == (PLUGIN, "train_time")
    assert told.reason == "MemoryError: 3 GB wanted"
