"""A bound is of the ceilings of its own commit, and says which bytes it is about."""

from dataclasses import replace
from typing import Any

import pytest

from bench.engine import ceilings as calibrations
from bench.engine.metrics import METRICS
from bench.hardware.roofline import COPIES
from bench.record.measurement import Measurement
from bench.verdict import rooflines

OLD, NEW = ("1" * 40, "2026-01-01"), ("2" * 40, "2026-01-02")


def figure(metric: str, value: float, at: tuple[str, str] = NEW, **more: str) -> Measurement:
    given: dict[str, Any] = {"plugin": "attention.linear", "sizes": "B1-T8-H1-K2-V2"}
    given |= {"dtype": "float32"} | more
    return Measurement(
        metric=metric,
        unit=METRICS[metric].unit,
        machine=given.pop("machine", "box"),
        kind=given.pop("kind", "cpu"),
        samples=(value, value),
        low=value * 0.9,
        high=value * 1.1,
        modelled=METRICS[metric].modelled,
        contract=given.pop("contract", "not run" if METRICS[metric].aside else "ok"),
        commit=at[0],
        committed=at[1],
        group=f"{at[0]}:SmokeLinearAttention:{given['sizes']}:{given['dtype']}:1",
        suite="smoke",
        **given,
    )


def kernel(at: tuple[str, str] = NEW, **more: str) -> list[Measurement]:
    """1 ms, 2 Mflop, 10 MB moved of which 1 MB is compulsory."""
    values = {"time": 1e3, "flops": 2e6, "traffic": 1e7, "traffic_ratio": 10.0}
    return [figure(metric, value, at, **more) for metric, value in values.items()]


def calibration(at: tuple[str, str] = NEW, **rates: float) -> list[Measurement]:
    copies = [
        figure("copy_bandwidth", rates.get(size, 1e10), at, plugin="machine.copy", sizes=size)
        for size in ("1MiB", "64MiB", "512MiB")
    ]
    product = figure(
        "product_rate", 4e10, at, plugin="machine.product", sizes="1024x1024", dtype="fp32"
    )
    return [replace(one, contract="not run") for one in (*copies, product)]


def only(measurements: list[Measurement]) -> dict:
    ((row,),) = rooflines.rooflines(measurements).values()
    return row


def test_the_bound_is_of_the_compulsory_bytes_and_the_own_bound_of_those_moved() -> None:
    row = only([*kernel(), *calibration()])
    assert (row["op"], row["compulsory"], row["bytes"]) == ("linear_attention", 10**6, 1e7)
    assert row["bytes_are"] == "modelled"
    # 1 MB at 10 GB/s, and 10 MB at 10 GB/s, of 1 ms
    assert row["bound_us"] == pytest.approx(100)
    assert row["efficiency"] == pytest.approx(0.1)
    assert row["own_bound_us"] == pytest.approx(1000)
    assert row["own_efficiency"] == pytest.approx(1.0)
    assert row["term"] == "bandwidth"
    assert row["intensity"] == pytest.approx(0.2)
    assert row["flops_per_s"] == pytest.approx(2e9)


def test_operations_are_in_the_own_bound_only() -> None:
    heavy = [replace(one, samples=(8e7,)) if one.metric == "flops" else one for one in kernel()]
    row = only([*heavy, *calibration()])
    assert row["term"] == "compute"
    assert row["own_bound_us"] == pytest.approx(2000)
    assert row["bound_us"] == pytest.approx(100)


def test_bytes_that_fit_a_cache_are_held_against_a_copy_that_does() -> None:
    fast_in_cache: dict[str, Any] = {"1MiB": 8e10, "64MiB": 2e10, "512MiB": 1e10}
    small = only([*kernel(), *calibration(**fast_in_cache)])
    assert small["bound_us"] == pytest.approx(1e6 / 8e10 * 1e6)
    many = [
        replace(one, samples=(0.01,)) if one.metric == "traffic_ratio" else one for one in kernel()
    ]
    large = only([*many, *calibration(**fast_in_cache)])
    assert large["compulsory"] == 10**9
    assert large["bound_us"] == pytest.approx(1e9 / 1e10 * 1e6)
    # what is moved again may come from a cache, however much it is
    assert large["own_bound_us"] == pytest.approx(1e7 / 8e10 * 1e6)


def test_the_ceilings_are_those_of_the_same_commit_or_the_newest_there_are() -> None:
    slow = {"1MiB": 1e9, "64MiB": 1e9, "512MiB": 1e9}
    both = [*calibration(OLD), *calibration(NEW, **slow)]
    assert only([*kernel(OLD), *both])["ceiling"] == OLD[0]
    assert only([*kernel(NEW), *both])["efficiency"] == pytest.approx(1.0)
    late = ("3" * 40, "2026-01-03")
    assert only([*kernel(late), *both])["ceiling"] == NEW[0]


def test_a_card_without_a_calibration_has_its_data_sheet_and_a_cpu_has_nothing() -> None:
    assert only(kernel(kind="h200"))["ceiling"] == "data sheet"
    assert only(kernel(kind="h200"))["bound_us"] == pytest.approx(1e6 / 4.8e12 * 1e6)
    row = only(kernel())
    assert (row["ceiling"], row["bound_us"], row["efficiency"], row["term"]) == (None,) * 4


def test_operands_without_a_peak_have_no_own_bound_but_the_bound_of_all() -> None:
    row = only([*kernel(dtype="float16"), *calibration()])
    assert row["own_bound_us"] is None
    assert row["bound_us"] == pytest.approx(100)


def test_what_a_counter_saw_comes_before_what_was_modelled() -> None:
    row = only([*kernel(), figure("dram_traffic", 5e6), *calibration()])
    assert (row["bytes"], row["bytes_are"]) == (5e6, "measured")


def test_the_newest_commit_with_all_that_is_wanted_counts() -> None:
    alone = figure("time", 5.0, NEW)
    row = only([*kernel(OLD), alone, *calibration(OLD)])
    assert (row["commit"], row["time_us"]) == (OLD[0], 1e3)


def test_nothing_is_drawn_of_what_fails_its_contract_anywhere_at_the_commit() -> None:
    elsewhere = figure("contract", 1.0, sizes="B1-T9-H1-K2-V2", contract="wrong")
    assert rooflines.rooflines([*kernel(), elsewhere, *calibration()]) == {}
    assert rooflines.rooflines(kernel(contract="not run")) == {}


def test_ceilings_are_listed_newest_first_by_their_best_samples() -> None:
    uneven = [replace(one, samples=(1e9, 3e9)) for one in calibration(OLD)]
    found = rooflines.ceilings([*uneven, *calibration(NEW), *kernel()])["box"]
    assert [row["commit"] for row in found] == [NEW[0], OLD[0]]
    assert found[1]["bytes_per_s"] == 3e9
    assert found[1]["flops_per_s"] == {"fp32": 3e9}
    assert [moved for moved, _ in found[0]["copies"]] == [2**20, 2**26, 2**29]
    assert found[0]["origin"] == "measured"


def test_every_copy_of_a_calibration_has_a_name_that_is_read_back() -> None:
    for copies in COPIES.values():
        named = calibrations.axes()["sizes"]
        assert {calibrations.moved(name) for name in named if name.endswith("MiB")} >= set(copies)


def test_the_compulsory_bytes_that_were_stored_come_before_those_that_follow() -> None:
    row = only([*kernel(), figure("compulsory", 5e5), *calibration()])
    assert row["compulsory"] == 500000
    assert row["bound_us"] == pytest.approx(50)


def test_the_order_of_the_files_decides_nothing() -> None:
    every = [*kernel(OLD), *kernel(NEW), *calibration(OLD), *calibration(NEW)]
    assert rooflines.rooflines(every) == rooflines.rooflines(every[::-1])
    assert rooflines.ceilings(every) == rooflines.ceilings(every[::-1])
