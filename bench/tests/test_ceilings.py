"""Ceilings are stored once a machine and commit, read apart, and part of every timed run."""

import math
import subprocess
import time
from pathlib import Path

import pytest

from bench import ceilings as seen_by_asv
from bench.engine import ceilings, runner, store
from bench.hardware.roofline import COPIES, OPERANDS, Calibration
from bench.lab.workers import OutOfTime
from bench.record import results_folder

FOUND = Calibration(
    copies={moved: [3e9, 1e9, 2e9] for moved in COPIES["cpu"]},
    products={operand: [5e9, 4e9, 6e9] for operand in OPERANDS["cpu"]},
)


def test_every_sample_is_stored_and_read_apart_from_the_figures_of_plugins(tmp_path: Path) -> None:
    place = store.Place(tmp_path)
    assert not ceilings.are_kept("cpu", place)
    ceilings.keep("cpu", FOUND, place)
    assert ceilings.are_kept("cpu", place)
    assert results_folder.read_all(tmp_path) == []
    read = results_folder.read_all(tmp_path, aside=True)
    copies = {one.sizes: one for one in read if one.metric == "copy_bandwidth"}
    assert {ceilings.moved(sizes) for sizes in copies} == set(COPIES["cpu"])
    assert copies["64MiB"].samples == (3e9, 1e9, 2e9)
    assert copies["64MiB"].unit == "bytes/s"
    products = {one.dtype: one for one in read if one.metric == "product_rate"}
    assert set(products) == set(OPERANDS["cpu"])
    assert products["fp32"].sizes == "1024x1024"


def test_asv_has_a_place_for_every_sample() -> None:
    held = vars(seen_by_asv)[ceilings.NAME]
    for device in ("cpu", "cuda"):
        found = Calibration(
            copies={moved: [1.0] for moved in COPIES[device]},
            products={operand: [1.0] for operand in OPERANDS[device]},
        )
        for metric, each in ceilings.cells(device, found).items():
            assert hasattr(held, f"track_{metric}")
            for place in each:
                assert all(value in axis for value, axis in zip(place, held.params, strict=True))


def test_a_suite_with_something_to_time_begins_with_the_ceilings(tmp_path: Path) -> None:
    timed, trained = (runner.groups(name, out=tmp_path) for name in ("canary", "tasks"))
    assert timed[0].name == ceilings.GROUP
    assert ceilings.GROUP not in [group.name for group in trained]


def test_ceilings_are_measured_once_for_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "measure", lambda device, deadline: FOUND)
    (group, *_) = runner.groups("canary", out=tmp_path)
    assert not group.is_there()
    assert group.measure(None, None) == []
    assert group.is_there()


def test_a_busy_machine_has_no_ceilings_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(device: str, deadline: float | None) -> Calibration:
        raise RuntimeError("no undisturbed sample of fp32: queued for 50%")

    monkeypatch.setattr(ceilings, "measure", busy)
    (group, *_) = runner.groups("canary", out=tmp_path)
    (outcome,) = group.measure(None, None)
    assert outcome.outcome == "not run"
    assert outcome.again
    assert "queued for 50%" in outcome.reason
    assert not group.is_there()


def test_what_the_process_says_last_is_the_reason() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        ceilings.measure("nonsense")


def test_a_calibration_ends_at_the_deadline() -> None:
    with pytest.raises(OutOfTime):
        ceilings.measure("cpu", time.monotonic() + 0.1)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(RuntimeError, match="no ceilings within 120 s"):
        ceilings.measure("cpu")
    assert ceilings.cache("cpu") == {}


def test_the_samples_of_the_process_are_those_of_the_ceilings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = '{"copies": {"1048576": [1.0, 3.0], "4194304": [2.0]}, "products": {"fp32": [4.0]}}'
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, told, "")
    )
    found = ceilings.measure("cpu").ceilings
    assert (found.copies, found.bytes_per_s) == ({2**20: 3.0, 2**22: 2.0}, 2.0)
    assert found.flops_per_s == {"fp32": 4.0}
    assert not math.isnan(found.bandwidth(1))
