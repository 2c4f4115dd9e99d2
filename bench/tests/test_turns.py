"""Turns of a verdict: the commit at which it became what it is, there and back."""

import random
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from bench.record.measurement import Measurement
from bench.tests.test_judge import case, claim, measured, pair
from bench.verdict.claims import Case
from bench.verdict.history.turns import Turn, turns
from bench.verdict.judging import judge
from bench.verdict.judging.judgement import Verdict


def day(number: int) -> dict[str, str]:
    return {
        "commit": f"c{number:03}",
        "committed": f"2026-{number // 28 + 1:02}-{number % 28 + 1:02}",
    }


def of(known: Sequence[Measurement], about: Case | None = None) -> list[Turn]:
    about = about or case(claim())
    return turns({about.proposal: about}, known)[about.proposal]


def told(known: Sequence[Measurement]) -> list[tuple[str, str, str]]:
    return [(one.commit, str(one.verdict), one.rule.partition(":")[0]) for one in of(known)]


def test_a_verdict_names_the_commit_at_which_it_became_so() -> None:
    known = [*pair(0.7, **day(0)), *pair(0.7, **day(1)), *pair(0.4, **day(2)), *pair(0.4, **day(3))]
    assert told(known) == [
        ("c000", "ABANDON", "success-refuted"),
        ("c002", "PROCEED", "success-confirmed"),
    ]


def test_a_claim_that_stops_and_recovers_turns_there_and_back() -> None:
    known = [*pair(0.4, **day(0)), *pair(0.7, **day(1)), *pair(0.8, **day(2)), *pair(0.4, **day(3))]
    assert told(known) == [
        ("c000", "PROCEED", "success-confirmed"),
        ("c001", "DEBUG", "stopped-holding"),
        ("c003", "PROCEED", "success-confirmed"),
    ]
    assert "since c001" in of(known)[1].rule


def test_a_broken_contract_turns_once_however_long_it_lasts() -> None:
    broken = {"metric": "contract", "samples": (2.0,), "contract": "wrong"}
    known = [
        *pair(0.4, **day(0)),
        measured("ours", 1, **day(1), **broken),
        measured("ours", 1, **day(2), **broken),
        *pair(0.4, **day(3)),
    ]
    assert [(commit, verdict) for commit, verdict, _ in told(known)] == [
        ("c000", "PROCEED"),
        ("c001", "DEBUG"),
        ("c003", "PROCEED"),
    ]


def test_a_turn_has_the_evidence_of_its_time() -> None:
    known = [*pair(0.7, **day(0)), *pair(0.4, **day(1))]
    first, second = (one.judgement.claims[0].evidence[0] for one in of(known))
    assert (first.commit, round(first.value, 9)) == ("c000", 0.7)
    assert (second.commit, round(second.value, 9)) == ("c001", 0.4)


def test_the_last_turn_is_the_verdict_of_today() -> None:
    known = [*pair(0.4, **day(0)), *pair(0.7, **day(1), machine="b-cpu"), *pair(0.7, **day(2))]
    today = judge.judge(case(claim()), known, controls={})
    assert (of(known)[-1].verdict, of(known)[-1].rule) == (today.verdict, today.rule)


def test_what_is_of_other_plugins_turns_nothing() -> None:
    known = [*pair(0.4, **day(0)), measured("another", 9.0, **day(1))]
    assert len(of(known)) == 1
    assert of([measured("another", 9.0, **day(0))]) == []


def test_a_control_that_misbehaves_turns_a_verdict_at_its_own_commit() -> None:
    recall = claim(
        metric="accuracy", comparison="difference", bounds={"at_least": 0.1}, where={"task": "mqar"}
    )
    runs = {"metric": "accuracy", "sizes": "mqar-T64"}
    known = [*pair(0.5, **runs, **day(0)), measured("control", 0.3, **runs, **day(1))]

    def controls(seen: list[Measurement]) -> judge.Controls:
        failed = any(one.plugin == "control" for one in seen)
        return {"mqar-T64": {"control": "failed at 0.3" if failed else "ok"}}

    found = turns({"026": case(recall)}, known, controls=controls)["026"]
    assert [(one.commit, one.verdict) for one in found] == [
        ("c000", Verdict.ABANDON),
        ("c001", Verdict.DEBUG),
    ]


def test_order_of_the_measurements_changes_nothing() -> None:
    known = [each for i in range(6) for each in pair(0.4 + 0.3 * (i % 2), **day(i))]
    shuffled = random.Random(0).sample(known, len(known))
    assert [one.facts() for one in of(known)] == [one.facts() for one in of(shuffled)]


def test_a_hundred_commits_are_judged_in_seconds() -> None:
    commits = 100
    known = [
        replace(each, sizes=sizes)
        for i in range(commits)
        for sizes in ("B1-T1024-N32", "B8-T1024-N32")
        for each in pair(0.4 + 0.3 * (i % 2), **day(i))
    ]
    began = perf_counter()
    assert len(of(known)) == commits
    assert perf_counter() - began < 20
