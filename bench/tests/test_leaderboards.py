"""Rows by time, ratios paired where the rounds were the same, and a reason for everyone absent."""

import math

import pytest

from bench.engine.metrics import METRICS
from bench.engine.noise import paired_ratio
from bench.record.measurement import Measurement
from bench.verdict import leaderboards

OLD, NEW = ("1" * 40, "2026-01-01"), ("2" * 40, "2026-01-02")
SIZES, FLASH, MAMBA = (
    "B1-T512-H2-K32-V32",
    "attention.flash2",
    "peers.mamba.mamba_chunk_scan_combined",
)
DRIFT = tuple(1 + 0.1 * i for i in range(15))
"""A clock that slows down: the samples spread, and the ratios of rounds do not."""


def figure(
    plugin: str,
    metric: str,
    value: float,
    *,
    subject: str = "SmokeDeltaRule",
    sizes: str = SIZES,
    at: tuple[str, str] = NEW,
    contract: str = "ok",
    date: str = "2026-01-05",
    rounds: str = "1",
) -> Measurement:
    samples = (value,) if METRICS[metric].exact else tuple(value * each for each in DRIFT)
    return Measurement(
        plugin=plugin,
        metric=metric,
        unit=METRICS[metric].unit,
        sizes=sizes,
        dtype="float32",
        machine="box",
        kind="cpu",
        samples=samples,
        low=min(samples),
        high=max(samples),
        modelled=METRICS[metric].modelled,
        contract="not run" if METRICS[metric].aside else contract,
        commit=at[0],
        committed=at[1],
        group=f"{at[0]}:{subject}:{sizes}:float32:{rounds}",
        suite="lengths" if subject.startswith("Lengths") else "smoke",
        date=date,
    )


def reason(plugin: str, why: str, metric: str = "time", outcome: str = "not run") -> dict:
    place = {"machine": "box", "suite": "smoke", "subject": "delta_rule", "commit": NEW[0][:8]}
    said = {"plugin": plugin, "metric": metric, "outcome": outcome, "reason": why}
    return place | said | {"sizes": SIZES, "dtype": "float32"}


def board(measurements: list[Measurement], reasons: list[dict] | None = None) -> dict:
    (found,) = [
        one
        for one in leaderboards.leaderboards(measurements, reasons or [])
        if one["subject"] == "delta_rule"
    ]
    return found


def test_rows_stand_by_time_and_a_ratio_below_one_is_faster() -> None:
    slow, fast = figure("delta.sequential", "time", 40.0), figure("delta.ut", "time", 10.0)
    found = board([slow, fast])
    assert [row["plugin"] for row in found["rows"]] == ["delta.ut", "delta.sequential"]
    # smoke.toml names the sequential one as the baseline
    (against,) = found["rows"][0]["against"].items()
    assert against[0] == "delta.sequential"
    assert against[1]["ratio"] == pytest.approx(0.25)
    assert found["rows"][1]["against"] == {}


def test_a_rival_in_the_same_rounds_is_paired_and_computes_another_function() -> None:
    mine, rival = figure("delta.ut", "time", 10.0), figure(FLASH, "rival_time", 20.0)
    against = board([mine, rival])["rows"][0]["against"][FLASH]
    assert against["name"] == "FlashAttention-2"
    assert against["paired"] is True
    assert against["same_function"] is False
    assert against["interval"] == pytest.approx(list(paired_ratio(mine.samples, rival.samples)))
    assert against["interval"] == pytest.approx([0.5, 0.5])


def test_a_rival_of_other_rounds_has_the_wider_interval_of_two() -> None:
    mine = figure("delta.ut", "time", 10.0)
    theirs = figure(FLASH, "time", 20.0, subject="SmokeSoftmaxAttention")
    against = board([mine, theirs])["rows"][0]["against"][FLASH]
    assert against["paired"] is False
    assert against["ratio"] == pytest.approx(0.5)
    low, high = against["interval"]
    assert low < 0.4
    assert high > 0.6


def test_two_intervals_share_the_chance_of_being_wrong() -> None:
    mine = figure("delta.ut", "time", 10.0)
    other = figure(FLASH, "time", 20.0, subject="SmokeSoftmaxAttention")
    low, high = board([mine, other])["rows"][0]["against"][FLASH]["interval"]
    # with 15 samples 99.5% wants the second lowest and highest, 99% the third
    assert low == pytest.approx(10 * DRIFT[1] / (20 * DRIFT[-2]))
    assert high == pytest.approx(10 * DRIFT[-2] / (20 * DRIFT[1]))


def test_rounds_of_another_commit_or_machine_are_no_comparison() -> None:
    mine = figure("delta.ut", "time", 10.0)
    theirs = figure(FLASH, "time", 20.0, subject="SmokeSoftmaxAttention", at=OLD)
    assert board([mine, theirs])["rows"][0]["against"] == {}


def test_unequal_work_is_marked_and_both_sides_are_shown() -> None:
    every = [
        figure("delta.ut", "time", 10.0),
        figure("delta.ut", "flops", 1e6),
        figure("delta.ut", "traffic", 3e6),
        figure(FLASH, "rival_time", 20.0),
        figure(FLASH, "flops", 4e6, subject="SmokeSoftmaxAttention"),
        figure(FLASH, "traffic", 2e6, subject="SmokeSoftmaxAttention"),
    ]
    against = board(every)["rows"][0]["against"][FLASH]
    assert (against["flops"], against["bytes"]) == ([1e6, 4e6], [3e6, 2e6])
    assert against["equal_work"] is False
    assert against["note"] == "another function, 0.25x the products, 1.5x the bytes"
    alone = board(every[:4])["rows"][0]["against"][FLASH]
    assert (alone["flops"], alone["equal_work"]) == ([1e6, None], None)


def test_the_sizes_of_a_rival_are_those_of_its_own_op() -> None:
    mine = figure("delta.ut", "time", 10.0)
    theirs = figure(MAMBA, "time", 5.0, subject="SmokeSsd", sizes="B1-T512-H2-P32-G1-N32")
    other = figure(MAMBA, "time", 1.0, subject="SmokeSsd", sizes="B1-T512-H2-P32-G2-N32")
    against = board([mine, theirs, other])["rows"][0]["against"][MAMBA]
    assert against["ratio"] == pytest.approx(2.0)


def test_peers_of_the_op_are_baselines() -> None:
    mine, peer = figure("delta.ut", "time", 10.0), figure("peers.fla.delta", "time", 5.0)
    found = board([mine, peer])
    against = found["rows"][1]["against"]["peers.fla.delta"]
    assert (against["ratio"], against["same_function"]) == (pytest.approx(2.0), True)
    assert against["note"] == ""


def test_whoever_is_absent_has_a_reason() -> None:
    told = [
        reason("peers.fla.chunk_delta_rule", "needs the package fla", metric=""),
        reason(MAMBA, "needs the package mamba_ssm", metric="rival_time"),
        reason("delta.ut", "needs a GPU", metric="peak_memory"),
        reason("delta.wy", "at these sizes: output 0 errs", metric="", outcome="wrong"),
    ]
    found = board([figure("delta.ut", "time", 10.0)], told)
    assert found["absent"] == {
        "delta.wy": "wrong: at these sizes: output 0 errs",
        "peers.fla.chunk_delta_rule": "not run: needs the package fla",
        MAMBA: "not run: needs the package mamba_ssm",
    }


def test_nothing_is_shown_of_what_fails_its_contract_anywhere_at_the_commit() -> None:
    good = figure("delta.ut", "time", 10.0)
    fast = figure("delta.wy", "time", 1.0)
    wrong = figure("delta.wy", "contract", 1.0, contract="wrong")
    rival = figure(FLASH, "rival_time", 1.0)
    broken = figure(FLASH, "contract", 1.0, contract="wrong", subject="SmokeSoftmaxAttention")
    found = board([good, fast, wrong, rival, broken])
    assert [row["plugin"] for row in found["rows"]] == ["delta.ut"]
    assert found["rows"][0]["against"] == {}
    assert found["absent"]["delta.wy"].startswith("wrong")


def test_the_newest_commit_counts_and_of_two_suites_the_later() -> None:
    every = [
        figure("delta.ut", "time", 10.0, at=OLD, date="2026-01-09"),
        figure("delta.ut", "time", 20.0),
        figure("delta.ut", "time", 30.0, subject="LengthsDeltaRule", date="2026-01-06"),
    ]
    found = board(every)
    assert (found["commit"], found["suite"]) == (NEW[0], "lengths")
    assert found["rows"][0]["time"]["value"] == pytest.approx(30.0 * DRIFT[7])
    assert board(every[::-1]) == found


def test_too_few_samples_prove_nothing() -> None:
    mine = figure("delta.ut", "time", 10.0)
    few = figure(FLASH, "time", 20.0, subject="SmokeSoftmaxAttention")
    few = Measurement(**{**vars(few), "samples": few.samples[:3]})
    against = board([mine, few])["rows"][0]["against"][FLASH]
    assert against["interval"] == [0.0, None]
    assert math.isfinite(against["ratio"])
