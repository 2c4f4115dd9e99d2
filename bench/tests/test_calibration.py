"""A calibration plants what it says, counts trials honestly, and goes on where it was cut off."""

import ast
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import cli
from bench.commands import status
from bench.gate import calibration, plants, turns
from bench.gate.allowance import settings
from bench.gate.calibration import Plan
from bench.gate.plants import Plant, planted, sown, wished
from bench.gate.turns import Entry, Lost, Round, Timed
from impl.registry import lookup, read

SUBJECT = "attention.linear"
ENTRY = Entry(
    plugin=SUBJECT,
    op="linear_attention",
    sizes="B1-T64-H2-K8-V8",
    dtype="float32",
    device="cpu",
    metric="time",
)
RIVAL = replace(ENTRY, plugin="attention.flash2", op="softmax_attention")


def plant(kind: str, share: float | None = None, **more: Any) -> Plant:
    name = f"{kind}_{share * 100:.0f}" if share else kind
    return Plant(subject=SUBJECT, kind=kind, name=name, share=share, **more)


def plan_of(folder: Path, *sown: Plant) -> Plan:
    return Plan(plants=sown, entries={SUBJECT: ENTRY}, rivals={SUBJECT: RIVAL}, folder=folder)


def rounds_of(plan: Plan, count: int, scatter: float = 0.02, seed: int = 0) -> list[Round]:
    """Rounds in which every plant costs exactly what it was sized to."""
    rng = np.random.default_rng(seed)

    def timed(share: float) -> Timed:
        difference = math.log1p(share) + rng.normal(0, scatter)
        return Timed(base=1e-3, head=1e-3 * math.exp(difference), difference=difference)

    return [
        Round(
            timed={plan.entry(each): timed(each.share or 0.0) for each in plan.plants}
            | {RIVAL: timed(0.0)},
            lost={},
            dropped=0,
        )
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Told:
    margin: float = 0.03
    confidence: float = 0.99
    rounds: int = 12


def test_large_slow_downs_are_found_and_no_change_is_not(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, plant("same", 0.0), plant("sleep", 0.1), plant("copy", 0.3))
    facts = calibration._judged(plan, rounds_of(plan, 60), settings_of(Told()))
    same, rows = facts["unchanged"], {row["name"]: row for row in facts["planted"]}
    assert (same["trials"], same["regressions"]) == (5, 0)
    assert same["again"]["draws"] == calibration.DRAWS
    assert same["again"]["regressions"] == 0
    for name, share in (("sleep_10", 0.1), ("copy_30", 0.3)):
        row = rows[name]
        assert (row["trials"], row["found"]) == (5, 5)
        estimate, low, high = row["change"]
        assert low < 1 + share < high
        assert estimate == pytest.approx(1 + share, rel=0.01)
        assert row["again"]["regressions"] > 0.99 * calibration.DRAWS


def settings_of(told: Told) -> Any:
    return told


def test_a_rule_that_cries_wolf_is_exposed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, plant("same", 0.0))
    trigger_happy = settings_of(Told(margin=1e-6, confidence=0.4))
    same = calibration._judged(plan, rounds_of(plan, 120), trigger_happy)["unchanged"]
    assert same["regressions"] >= 2
    assert same["low"] > 0.01
    assert same["again"]["regressions"] > 0.1 * calibration.DRAWS


def test_each_round_serves_one_trial_and_a_rest_serves_none(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, plant("same", 0.0))
    for count, trials in ((11, 0), (12, 1), (35, 2)):
        same = calibration._judged(plan, rounds_of(plan, count), settings_of(Told()))["unchanged"]
        assert same["trials"] == trials
        assert (same["low"] is None) == (trials == 0)
        assert (same["again"]["draws"] == 0) == (trials == 0)


def test_the_interval_of_a_rate_is_clopper_and_pearsons() -> None:
    # no event in n trials: up to 1 - (alpha / 2)**(1 / n)
    ends = calibration._interval(0, 30)
    assert ends["low"] == 0.0
    assert ends["high"] == pytest.approx(1 - 0.025 ** (1 / 30))


def test_rounds_are_kept_and_half_a_line_is_none(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, plant("same", 0.0))
    entries = [plan.entry(plan.plants[0]), RIVAL]
    lost = Lost(reason="the process ended", failed=True)
    first = rounds_of(plan, 1)[0]
    second = replace(first, timed={RIVAL: first.timed[RIVAL]}, lost={(entries[0], "head"): lost})
    for each in (first, second):
        calibration._keep(plan, entries, each, 2.5)
    with (tmp_path / "rounds.jsonl").open("a") as lines:
        lines.write('{"timed": {"0"')
    assert calibration._kept(plan, entries) == [first, second]
    calibration._keep(plan, entries, first, 2.5)
    assert calibration._kept(plan, entries) == [first, second, first]


def test_what_is_planted_is_the_plugin_and_one_edit(tmp_path: Path) -> None:
    told = [
        plant("same", 0.0),
        plant("sleep", 0.05, amount=1000),
        plant("copy", 0.05, amount=7),
        plant("tile", amount=16, knob="chunk"),
    ]
    base, head = planted(told, tmp_path, "cpu")
    for each in told:
        place = Path("impl", "planted", each.name, "linear.py")
        before, after = ((side.tree / place).read_text() for side in (base, head))
        assert before == lookup(SUBJECT).file.read_text()
        changed = set(after.splitlines()) ^ set(before.splitlines())
        assert len(changed) == {"same": 0, "sleep": 3, "copy": 2, "tile": 2}[each.kind]
        (found,) = read(head.tree / place, f"planted.{each.name}.linear")
        assert (found.id, found.op) == (each.plugin, "linear_attention")
    assert (base.tree / "correctness" / "op.py").is_file()
    assert "chunk: int = 16" in (head.tree / "impl" / "planted" / "tile" / "linear.py").read_text()


def run_of(source: str) -> Callable[..., Any]:
    made: dict[str, Any] = {"__name__": "planted"}
    exec(compile(source, "planted", "exec"), made)
    return made["linear"]


def test_a_planted_wait_takes_its_time_and_changes_no_answer() -> None:
    inputs = [torch.randn(1, 64, 2, 8) for _ in range(3)]
    plain = run_of(sown(plant("same", 0.0), "cpu"))(*inputs)
    waiting = run_of(sown(plant("sleep", 0.1, amount=20_000_000), "cpu"))
    start = time.perf_counter()
    waited = waiting(*inputs)
    assert time.perf_counter() - start >= 0.02
    copied = run_of(sown(plant("copy", 0.1, amount=10), "cpu"))(*inputs)
    for each in (waited, copied):
        assert all(torch.equal(a, b) for a, b in zip(plain, each, strict=True))


def test_on_a_gpu_the_wait_is_the_gpus() -> None:
    source = sown(plant("sleep", 0.1, amount=12345), "cuda")
    assert "_sleep(12345)" in source
    assert "perf_counter" not in source
    ast.parse(source)


def test_every_kind_and_size_is_wished_for() -> None:
    found = wished(lookup(SUBJECT), (0.01, 0.1), unchanged=2)
    assert [each.name for each in found] == [
        "same_0", "same_1", "sleep_1", "sleep_10", "copy_1", "copy_10",
        "tile_chunk_16", "tile_chunk_128",
    ]  # fmt: skip
    assert len({each.plugin for each in found}) == len(found)


@pytest.mark.alone
def test_a_larger_share_is_a_larger_plant() -> None:
    told = [plant(kind, share) for kind in ("sleep", "copy") for share in (0.1, 10.0)]
    try:
        little_wait, long_wait, little_copy, long_copy = plants.amounts((told, ENTRY))
    except ValueError as busy:
        pytest.skip(str(busy))
    assert long_wait == pytest.approx(100 * little_wait, rel=0.01)
    assert long_copy > 2 * little_copy > 0


def test_copies_are_counted_and_what_is_unchanged_is_not(tmp_path: Path) -> None:
    told = [plant("same", 0.0), plant("copy", 0.01, amount=1), plant("copy", 0.1, amount=50)]
    plan = plan_of(tmp_path, *told)
    sides = planted(told, tmp_path, "cpu")
    found = calibration._counted(plan, sides, settings(), lambda _: None)
    assert found == {
        "unchanged": {"trials": 1, "regressions": 0},
        "copies": {"trials": 2, "found": 2},
    }


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Rounds that take no time; their numbers."""
    numbers: list[int] = []

    def sized(told: Sequence[Plant], _: object) -> list[Plant]:
        return list(told)

    def one_round(entries: Sequence[Entry], *sides: object) -> Round:
        numbers.append(int(str(sides[-1])))
        if len(numbers) % 4 == 0:
            raise KeyboardInterrupt
        told = {entry: Timed(base=1e-3, head=1e-3, difference=0.0) for entry in entries}
        return Round(timed=told, lost={}, dropped=0)

    def counted(*_: object) -> Mapping[str, Any]:
        none = {"trials": 1, "regressions": 0}
        return {"unchanged": none, "copies": {"trials": 1, "found": 1}}

    monkeypatch.setattr(calibration, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(calibration, "DRAWS", 3)
    monkeypatch.setattr(plants, "sized", sized)
    monkeypatch.setattr(turns, "one_round", one_round)
    monkeypatch.setattr(calibration, "_counted", counted)
    return numbers


def test_what_was_cut_off_goes_on(
    instant: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", "--machine", "cpu", "--json", "--out", str(tmp_path), "--budget"]
    for _ in range(7):
        assert cli.main([*command, "1000"]) == status.INTERRUPTED
    assert instant == [number for i in range(0, 21, 3) for number in range(i, i + 4)]
    assert not list(tmp_path.glob("*/gate.*"))
    capsys.readouterr()
    assert cli.main([*command, "1e-9"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (file,) = tmp_path.glob("*/gate.calibration.jsonl")
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == printed
    assert printed["rounds"] == 21
    assert printed["unchanged"]["regressions"] == 0


def test_a_run_without_a_trial_says_so_and_replaces_nothing(
    instant: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", "--machine", "cpu", "--out", str(tmp_path), "--budget"]
    assert cli.main([*command, "1000"]) == status.INTERRUPTED
    assert cli.main([*command, "1e-9"]) == 0
    assert "no trial yet" in capsys.readouterr().out
    assert not list(tmp_path.glob("*/gate.*"))


def test_plants_can_be_kept_as_json() -> None:
    one = plant("tile", amount=16, knob="chunk")
    assert Plant(**json.loads(json.dumps(asdict(one)))) == one
