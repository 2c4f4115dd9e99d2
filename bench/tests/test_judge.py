"""The judge: states follow the intervals, verdicts follow the rules, order changes nothing."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine.metrics import METRICS
from bench.record.measurement import Measurement
from bench.verdict.claims import Case, Claim
from bench.verdict.judging.judge import judge, judge_all
from bench.verdict.judging.judgement import Judgement, State, Verdict
from bench.verdict.judging.weighing import weigh

NOISE = (0.99, 1.0, 1.01, 0.995, 1.005, 1.0, 0.99, 1.01, 1.0, 1.0)


def claim(**changes: object) -> Claim:
    return replace(
        Claim(
            id="half-the-time",
            says="At T = 1024 it takes at most half the time.",
            metric="time",
            plugin="ours",
            against="theirs",
            comparison="ratio",
            bounds={"at_most": 0.5},
            over=None,
            where={"machine": ["cpu"], "T": 1024},
            role="success",
            source="test",
            reported=(),
        ),
        **changes,
    )


def case(*claims: Claim) -> Case:
    return Case(
        proposal="026", title="t", needs=("ours", "theirs"), claims=claims, file=Path("026.toml")
    )


def measured(plugin: str, figure: float, **changes: object) -> Measurement:
    made = Measurement(
        plugin=plugin,
        metric="time",
        unit="us",
        sizes="B1-T1024-N32",
        dtype="float32",
        machine="a-cpu",
        kind="cpu",
        samples=tuple(figure * noise for noise in NOISE),
        low=math.nan,  # the judge works its own interval out
        high=math.nan,
        modelled=False,
        contract="ok",
        commit="c1",
        group="g1",
        committed="2026-01-01",
    )
    made = replace(made, **changes)
    return replace(made, modelled=METRICS[made.metric].modelled)


def pair(ratio: float, **changes: object) -> list[Measurement]:
    return [measured("ours", ratio, **changes), measured("theirs", 1.0, **changes)]


def verdict(*measurements: Measurement, claims: tuple[Claim, ...] = ()) -> Judgement:
    return judge(case(*(claims or (claim(),))), measurements, controls={})


@pytest.mark.parametrize(
    ("ratio", "state"),
    [(0.4, State.CONFIRMED), (0.6, State.REFUTED), (0.5, State.CONFIRMED)],
)
def test_state_follows_the_paired_ratio(ratio: float, state: State) -> None:
    assert weigh(claim(), pair(ratio)).state is state


def test_straddling_interval_is_inconclusive_although_the_median_is_inside() -> None:
    ours = measured("ours", 0.49, samples=tuple(0.49 * n for n in (1, 1, 1, 1, 1, 1.2, 1.2, 1.2)))
    theirs = measured("theirs", 1.0, samples=(1.0,) * 8)
    judged = weigh(claim(), [ours, theirs])
    assert judged.evidence[0].value == pytest.approx(0.49)
    assert judged.state is State.INCONCLUSIVE


def test_too_few_samples_settle_nothing() -> None:
    few = pair(0.1, samples=())
    few = [replace(one, samples=(s,) * 7) for one, s in zip(few, (0.1, 1.0), strict=True)]
    judgement = verdict(*few)
    assert judgement.claims[0].state is State.INCONCLUSIVE
    assert judgement.missing[0]["reason"] == "too few samples, want at least 8"
    assert judgement.claims[0].facts()["interval"] == [0.0, None]


def test_pairing_removes_a_drift_that_both_share() -> None:
    drift = tuple(1 + 0.2 * i for i in range(10))
    ours = measured("ours", 1, samples=tuple(0.45 * d for d in drift))
    theirs = measured("theirs", 1, samples=drift)
    assert weigh(claim(), [ours, theirs]).state is State.CONFIRMED
    apart = [ours, replace(theirs, group="another")]
    assert weigh(claim(), apart).state is State.INCONCLUSIVE


def test_never_mixes_machines_sizes_dtypes_or_commits() -> None:
    ours, theirs = pair(0.4)
    for changes in (
        {"machine": "another-cpu"},
        {"sizes": "B2-T1024-N32"},
        {"dtype": "float64"},
        {"commit": "c2"},
    ):
        assert weigh(claim(), [ours, replace(theirs, **changes)]).state is State.UNTESTED


def test_machine_outside_the_claim_leaves_it_untested() -> None:
    elsewhere = pair(0.4, machine="a-gpu", kind="h200")
    assert weigh(claim(), elsewhere).state is State.UNTESTED
    assert verdict(*elsewhere).rule == "nothing-measured"


def test_modelled_figure_never_judges_a_measured_metric() -> None:
    modelled = [replace(one, modelled=True) for one in pair(0.4)]
    assert weigh(claim(), modelled).state is State.UNTESTED


def test_exact_metric_needs_one_sample_and_meets_equality() -> None:
    same = claim(metric="traffic", comparison="difference", bounds={"equals": 0.0})
    one = [replace(m, samples=(4096.0,)) for m in pair(1, metric="traffic", group="")]
    assert weigh(same, one).state is State.CONFIRMED
    more = [replace(one[0], samples=(4097.0,)), one[1]]
    assert weigh(same, more).state is State.REFUTED


def test_value_and_slope_are_judged() -> None:
    small = claim(metric="error", against=None, comparison="value", bounds={"at_most": 1e-5})
    exact = measured("ours", 1, metric="error", samples=(9e-6,))
    assert weigh(small, [exact]).state is State.CONFIRMED
    assert weigh(small, [replace(exact, samples=(2e-5,))]).state is State.REFUTED
    linear = claim(
        against=None, comparison="slope", bounds={"at_most": 1.1}, over="T", where={"N": 32}
    )
    steps = [measured("ours", t, sizes=f"B1-T{t}-N32") for t in (256, 512, 1024, 2048)]
    assert weigh(linear, steps).state is State.CONFIRMED
    square = [measured("ours", t * t, sizes=f"B1-T{t}-N32") for t in (256, 512, 1024, 2048)]
    assert weigh(linear, square).state is State.REFUTED
    assert weigh(linear, square).evidence[0].value == pytest.approx(2)


def test_axes_that_grow_along_are_no_line_of_their_own() -> None:
    alone = claim(against=None, comparison="slope", bounds={"at_most": 1.6}, over="N", where={})
    steps = [measured("ours", n**1.5, sizes=f"B1-N{n}-G{round(n**0.5)}") for n in (16, 64, 256)]
    assert weigh(alone, steps).state is State.UNTESTED
    along = replace(alone, along=("G",))
    assert weigh(along, steps).state is State.CONFIRMED
    assert weigh(along, steps).evidence[0].value == pytest.approx(1.5)


def test_one_bad_case_refutes() -> None:
    good, bad = pair(0.4, sizes="B1-T1024-N32"), pair(0.9, sizes="B8-T1024-N32")
    assert weigh(claim(), good + bad).state is State.REFUTED


def test_broken_contract_beats_every_figure_and_names_itself() -> None:
    broken = measured(
        "theirs", 1, metric="contract", samples=(3.0,), commit="c2", committed="2026-02-01"
    )
    judgement = verdict(*pair(0.4), broken)
    assert judgement.verdict is Verdict.DEBUG
    assert judgement.rule == "contract-broken: theirs on a-cpu since c2"
    assert judgement.claims[0].evidence == ()
    mended = verdict(*pair(0.4), replace(broken, committed="2025-01-01"))
    assert mended.verdict is Verdict.PROCEED


def test_figures_without_a_passed_contract_do_not_count() -> None:
    assert verdict(*pair(0.4, contract="not run")).verdict is Verdict.UNTESTED


def test_verdicts_follow_the_rules() -> None:
    kill = claim(id="kill", role="kill", bounds={"at_least": 0.3})
    other = claim(id="other", where={"T": 4096})
    assert verdict().rule == "nothing-measured"
    assert verdict(*pair(0.4)).verdict is Verdict.PROCEED
    assert verdict(*pair(0.6)).rule == "success-refuted: half-the-time"
    assert verdict(*pair(0.4), claims=(claim(), kill)).rule == "kill-confirmed: kill"
    assert verdict(*pair(0.4), claims=(claim(), other)).rule == "part-unmeasured"
    background = claim(id="aside", role="background", bounds={"at_most": 0.1})
    assert verdict(*pair(0.4), claims=(claim(), background)).verdict is Verdict.PROCEED


def test_misbehaving_control_is_debugged_before_anything_is_believed() -> None:
    recall = claim(
        metric="accuracy",
        comparison="difference",
        bounds={"at_least": 0.1},
        where={"task": "mqar"},
    )
    runs = pair(0.5, metric="accuracy", sizes="mqar-T64")
    for outcome, expected in (("ok", Verdict.ABANDON), ("failed at 0.3", Verdict.DEBUG)):
        controls = {"mqar-T64": {"mixers.softmax": outcome}}
        assert judge(case(recall), runs, controls=controls).verdict is expected
    elsewhere = {"word_problem-S5": {"mixers.softmax": "failed at 0.3"}}
    assert judge(case(recall), runs, controls=elsewhere).verdict is Verdict.ABANDON


def test_claim_that_stopped_holding_names_the_commit() -> None:
    history = [
        *pair(0.4, commit="aaaa", committed="2026-01-01"),
        *pair(0.7, commit="bbbb", committed="2026-01-02"),
        *pair(0.8, commit="cccc", committed="2026-01-03"),
    ]
    assert verdict(*history).rule == "stopped-holding: half-the-time since bbbb"
    mended = [*history, *pair(0.4, commit="dddd", committed="2026-01-04")]
    assert verdict(*mended).verdict is Verdict.PROCEED


def test_a_claim_that_broke_with_its_contract_names_the_first_commit_and_recovers() -> None:
    broken = {"metric": "contract", "samples": (3.0,), "contract": "wrong"}
    history = [
        *pair(0.4, commit="aaaa", committed="2026-01-01"),
        measured("ours", 1, commit="bbbb", committed="2026-01-02", **broken),
        measured("ours", 1, commit="cccc", committed="2026-01-03", **broken),
    ]
    assert verdict(*history).rule == "contract-broken: ours on a-cpu since bbbb"
    elsewhere = {"metric": "contract", "samples": (0.0,), "sizes": "B1-T64-N32"}
    mended = measured("ours", 1, commit="dddd", committed="2026-01-04", **elsewhere)
    assert verdict(*history, mended).verdict is Verdict.PROCEED


def test_another_stack_is_not_the_fault_of_a_commit() -> None:
    old, new = {"torch": "2.13.0"}, {"torch": "2.14.0"}
    held = pair(0.4, commit="aaaa", committed="2026-01-01", stack=old)
    lost = pair(0.7, commit="bbbb", committed="2026-01-02", stack=new)
    found = verdict(*held, *lost)
    assert found.verdict is Verdict.DEBUG
    assert found.rule == "stopped-holding: half-the-time with torch 2.14.0, at bbbb"
    earlier = pair(0.4, commit="0000", committed="2025-12-31", stack=new)
    assert verdict(*earlier, *held, *lost).rule == "stopped-holding: half-the-time since bbbb"


def test_a_problem_that_never_held_has_not_stopped() -> None:
    held = pair(0.4, commit="aaaa", committed="2026-01-01")
    fresh = pair(0.9, commit="bbbb", committed="2026-01-02", sizes="B8-T1024-N32")
    assert verdict(*held, *fresh).rule == "success-refuted: half-the-time"


def test_a_card_that_never_held_has_not_stopped_beside_one_that_holds() -> None:
    history = [
        one
        for commit, committed in (("aaaa", "2026-01-01"), ("bbbb", "2026-01-02"))
        for kind, ratio in (("sm_80", 0.4), ("sm_90", 0.9))
        for one in pair(ratio, commit=commit, committed=committed, kind=kind)
    ]
    binaries = claim(where={"machine": ["sm_80", "sm_90"]})
    assert verdict(*history, claims=(binaries,)).rule == "success-refuted: half-the-time"


def test_a_binary_is_compared_with_that_for_the_same_card() -> None:
    binaries = [
        measured(plugin, figure * scale, kind=kind)
        for kind, scale in (("sm_80", 1.0), ("sm_90", 10.0))
        for plugin, figure in (("ours", 0.4), ("theirs", 1.0))
    ]
    scope = claim(where={"machine": ["sm_80", "sm_90"]})
    assert verdict(*binaries, claims=(scope,)).verdict is Verdict.PROCEED


def test_a_claim_stops_on_the_machine_it_held_on() -> None:
    here = pair(0.4, commit="aaaa", committed="2026-01-01")
    there = pair(0.7, commit="bbbb", committed="2026-01-02", machine="b-cpu")
    assert verdict(*here, *there).rule == "success-refuted: half-the-time"
    lost = pair(0.7, commit="cccc", committed="2026-01-03")
    assert verdict(*here, *there, *lost).rule == "stopped-holding: half-the-time since cccc"


def test_ancestry_orders_commits_of_one_second() -> None:
    held = pair(0.4, commit="bbbb", position=1)
    lost = pair(0.7, commit="aaaa", position=2)
    assert verdict(*held, *lost).rule == "stopped-holding: half-the-time since aaaa"
    assert verdict(*lost, *[replace(one, position=3) for one in held]).verdict is Verdict.PROCEED


def test_figures_of_two_stacks_are_never_compared() -> None:
    ours, theirs = pair(0.4)
    assert weigh(claim(), [ours, replace(theirs, stack={"torch": "9"})]).state is State.UNTESTED


def test_proposal_without_claims_is_untested_and_says_so() -> None:
    judgements = judge_all({"026": case(claim())}, [], proposals=["001", "026"])
    assert [one.rule for one in judgements.values()] == ["no-claims", "nothing-measured"]


ratios = st.sampled_from([0.3, 0.5, 0.6, 0.9])
moments = st.sampled_from([("c1", "2026-01-01"), ("c2", "2026-01-02"), ("c3", "2026-01-03")])
machines = st.sampled_from([("a-cpu", "cpu"), ("b-cpu", "cpu"), ("a-gpu", "h200")])
problems = st.sampled_from(["B1-T1024-N32", "B8-T1024-N32", "B1-T64-N32"])


@st.composite
def histories(draw: st.DrawFn) -> list[Measurement]:
    found: list[Measurement] = []
    for _ in range(draw(st.integers(0, 5))):
        commit, date = draw(moments)
        machine, kind = draw(machines)
        found += pair(
            draw(ratios),
            commit=commit,
            committed=date,
            machine=machine,
            kind=kind,
            sizes=draw(problems),
            contract=draw(st.sampled_from(["ok", "ok", "ok", "wrong", "not run"])),
            group=f"g{draw(st.integers(0, 2))}",
        )
    return found


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_order_changes_nothing(history: list[Measurement], random: object) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    assert verdict(*history).facts() == verdict(*shuffled).facts()


@settings(max_examples=120, deadline=None)
@given(histories(), moments, machines, problems, st.sampled_from([0.6, 0.9]))
def test_refuting_measurement_never_makes_proceed(
    history: list[Measurement],
    moment: tuple[str, str],
    machine: tuple[str, str],
    problem: str,
    ratio: float,
) -> None:
    before = verdict(*history).verdict
    refuting = pair(
        ratio,
        commit=moment[0],
        date=moment[1],
        machine=machine[0],
        kind=machine[1],
        sizes=problem,
        group="fresh",
    )
    after = verdict(*history, *refuting).verdict
    assert after is not Verdict.PROCEED or before is Verdict.PROCEED
