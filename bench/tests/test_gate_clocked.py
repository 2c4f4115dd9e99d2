"""The timed gate takes turns, keeps its budget, names what breaks, and finds what is planted."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.engine.checkout import TREE, Commit
from bench.engine.contest import Problem
from bench.gate import clocked, turns
from bench.gate.clocked import Cell, Taken, findings, take
from bench.gate.finding import Answer, Finding
from bench.gate.sides import Contested
from bench.gate.turns import SIDES, Entry, Lost, Round, Timed, one_round

OWN = Entry(
    plugin="tiny.own",
    op="linear_recurrence",
    sizes="B1-T64-D64",
    dtype="float32",
    device="cpu",
    metric="time",
)
RIVAL = replace(OWN, plugin="tiny.rival")
CELLS = [Cell(OWN), Cell(OWN, RIVAL)]
HERE = Commit("0" * 40, 0, clean=False)


@dataclass(frozen=True)
class Settings:
    margin: float = 0.03
    confidence: float = 0.99
    rounds: int = 12


def series(own: float, rival: float = 0.0, count: int = 12) -> Taken:
    """Rounds whose heads take ``own`` and ``rival`` more of the base's time, one percent about."""
    rng = np.random.default_rng(0)

    def timed(more: float) -> Timed:
        difference = math.log1p(more) + rng.normal(0, 0.01)
        return Timed(base=1e-3, head=1e-3 * math.exp(difference), difference=difference)

    rounds = [
        Round(timed={OWN: timed(own), RIVAL: timed(rival)}, lost={}, dropped=0)
        for _ in range(count)
    ]
    return Taken(rounds=tuple(rounds), lost={}, seconds=1.0)


def judged(taken: Taken, cells: Sequence[Cell] = CELLS) -> list[Finding]:
    return findings(cells, taken, Settings(), "cpu")


def test_a_slower_plugin_loses_its_time_and_its_speed_up() -> None:
    time, speedup = judged(series(0.2))
    assert time.answer is speedup.answer is Answer.REGRESSION
    assert (time.metric, time.unit, speedup.metric, speedup.against) == (
        ("time", "us", "speedup", "tiny.rival")
    )
    assert time.base == pytest.approx(1000)
    assert time.change == pytest.approx(1.2, rel=0.02)
    assert speedup.change == pytest.approx(1 / 1.2, rel=0.02)
    for each in (time, speedup):
        assert each.low is not None and each.change is not None and each.high is not None
        assert each.low < each.change < each.high
    assert time.smallest is not None and 1.03 < time.smallest < 1.1
    assert speedup.smallest is not None and 0.9 < speedup.smallest < 1 / 1.03


def test_a_faster_plugin_is_kept() -> None:
    assert [each.answer for each in judged(series(-0.2))] == [Answer.KEEP, Answer.KEEP]


def test_a_rival_that_got_faster_is_a_speed_up_that_falls() -> None:
    time, speedup = judged(series(0.0, rival=-0.2))
    assert (time.answer, speedup.answer) == (Answer.KEEP, Answer.REGRESSION)


def test_what_scatters_beyond_the_margin_could_not_be_told() -> None:
    taken = series(0.0, count=4)
    loud = [
        replace(each, timed={OWN: Timed(base=1e-3, head=1e-3, difference=0.2 * (-1) ** i)})
        for i, each in enumerate(taken.rounds)
    ]
    (time,) = judged(replace(taken, rounds=tuple(loud)), [Cell(OWN)])
    assert time.answer is Answer.UNCLEAR
    assert time.smallest is not None and time.smallest > 1.2
    assert "4 rounds" in time.why


def test_a_budget_of_no_round_says_what_one_takes() -> None:
    (time,) = judged(Taken(rounds=(), lost={}, seconds=70.0), [Cell(OWN)])
    assert time.answer is Answer.UNCLEAR
    assert "70 s" in time.why


SEGFAULT = Lost(reason="the process ended with status -11", failed=True)
NO_GPU = Lost(reason="a Triton kernel has no time without a GPU", failed=False)
BUSY = Lost(reason=turns.BUSY, failed=False)


@pytest.mark.parametrize(
    ("lost", "answer", "says"),
    [
        ({"head": SEGFAULT}, Answer.REGRESSION, "not at the head: the process ended"),
        ({"base": SEGFAULT}, Answer.KEEP, "not at the base: the process ended"),
        ({"base": SEGFAULT, "head": SEGFAULT}, Answer.UNCLEAR, "not timed on either side"),
        ({"base": NO_GPU, "head": NO_GPU}, Answer.KEEP, "without a GPU"),
        ({"head": NO_GPU}, Answer.UNCLEAR, "not at the head"),
    ],
)
def test_what_breaks_has_its_own_line(lost: dict[str, Lost], answer: Answer, says: str) -> None:
    taken = replace(series(0.0), lost={(OWN, side): why for side, why in lost.items()})
    for found in judged(taken):
        assert found.answer is answer
        assert says in found.why


def test_a_rival_that_breaks_costs_the_speed_up_only() -> None:
    time, speedup = judged(replace(series(0.2), lost={(RIVAL, "base"): SEGFAULT}))
    assert (time.answer, speedup.answer) == (Answer.REGRESSION, Answer.UNCLEAR)
    assert "tiny.rival is not timed at the base" in speedup.why


def test_a_busy_round_is_left_out_and_no_reason() -> None:
    (time,) = judged(replace(series(0.0), lost={(OWN, "head"): BUSY}), [Cell(OWN)])
    assert time.answer is Answer.KEEP


class FakeWorker:
    """Notes who was asked what; a sample takes a millisecond, at the head a tenth more."""

    def __init__(self, side: str, notes: list[tuple[str, str]]) -> None:
        self.side, self._notes = side, notes

    def call(self, function: Callable[..., Any], _: Any) -> Any:
        self._notes.append((self.side, function.__name__))
        answers = {
            "awake": None,
            "ready": 1.0,
            "sample": 1e-3 * (1.1 if self.side == "head" else 1),
        }
        return answers[function.__name__]


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """What was asked of each pair of processes."""
    every: list[list[tuple[str, str]]] = []

    @contextmanager
    def pair(*_: object) -> Iterator[dict[str, FakeWorker]]:
        every.append([])
        yield {side: FakeWorker(side, every[-1]) for side in SIDES}

    monkeypatch.setattr(turns, "_pair", pair)
    return every


def test_each_side_comes_first_as_often_and_every_round_has_a_fresh_pair(
    notes: list[list[tuple[str, str]]],
) -> None:
    found = [one_round([OWN, RIVAL], HERE, HERE, number) for number in range(2)]
    assert len(notes) == 2
    for asked in notes:
        sides = [side for side, what in asked if what == "sample"]
        half = len(sides) // 2
        for entry in (sides[:half], sides[half:]):
            couples = list(zip(entry[::2], entry[1::2], strict=True))
            assert all(set(couple) == set(SIDES) for couple in couples)
            first = [couple[0] for couple in couples]
            four = [first[i : i + 4] for i in range(0, len(first), 4)]
            assert all(each.count("base") == each.count("head") == 2 for each in four)
    assert found[0].timed[OWN].difference == pytest.approx(math.log(1.1))


def test_both_sides_keep_the_pages_they_were_given(sides: tuple[Commit, Commit]) -> None:
    with turns._pair(*sides, 60.0) as pair:
        kept = [worker.call(os.getenv, "MALLOC_TRIM_THRESHOLD_") for worker in pair.values()]
    assert kept == [turns.ALLOCATOR["MALLOC_TRIM_THRESHOLD_"]] * len(SIDES)


def test_a_disturbed_sample_voids_its_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"base": [1.0] * 8, "head": [2.0] * 8}
    found = turns._Found()
    turns._conclude(taken, found)
    assert found.timed == Timed(base=1.0, head=2.0, difference=math.log(2))
    found = turns._Found()
    turns._conclude({side: seconds[:3] for side, seconds in taken.items()}, found)
    assert found.timed is None
    assert found.lost == dict.fromkeys(SIDES, BUSY)


@pytest.mark.parametrize(("budget_s", "count"), [(100.0, 9), (45.0, 3), (19.0, 0), (5.0, 0)])
def test_the_budget_settles_the_rounds_before_the_first(
    monkeypatch: pytest.MonkeyPatch, budget_s: float, count: int
) -> None:
    now = [0.0]

    def ten_seconds(*_: object, **__: object) -> Round:
        now[0] += 10.0
        return series(0.5).rounds[0]

    monkeypatch.setattr(clocked.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(turns, "one_round", ten_seconds)
    taken = take(CELLS, HERE, HERE, budget_s=budget_s, rounds=12)
    assert len(taken.rounds) == count
    assert now[0] <= max(budget_s, 10.0)


def test_what_failed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Entry]] = []

    def broken_rival(entries: Sequence[Entry], *_: object, **__: object) -> Round:
        asked.append(list(entries))
        return Round(timed={}, lost={(RIVAL, "head"): SEGFAULT, (OWN, "head"): BUSY}, dropped=0)

    monkeypatch.setattr(turns, "one_round", broken_rival)
    take(CELLS, HERE, HERE, budget_s=60.0, rounds=3)
    assert asked == [[OWN, RIVAL], [OWN], [OWN], [OWN]]


PLUGIN = """
import os, time
import torch
from jaxtyping import Float
from torch import Tensor
from impl.registry import implements

@implements("linear_recurrence", source="a test")
def {name}(
    a: Float[Tensor, "B T D"], b: Float[Tensor, "B T D"], h0: Float[Tensor, "B D"]
) -> Float[Tensor, "B T D"]:
    until = time.perf_counter_ns() + 500_000
    while time.perf_counter_ns() < until:
        pass
    {more}
    return b
"""
SLOWER = "time.sleep(250e-6)"
EDITS = {
    "same": ("pass", "pass"),
    "slower": ("pass", SLOWER),
    "crashes": ("pass", "os._exit(7)"),
    "mended": ("raise OSError('lost')", "pass"),
    "hangs": ("pass", "time.sleep(3600)"),
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Commit, Commit]:
    """Two trees of tiny plugins, edited between them."""
    found = []
    for number, side in enumerate(SIDES):
        tree = tmp_path_factory.mktemp(side)
        shutil.copytree(TREE / "correctness", tree / "correctness")
        (tree / "impl" / "tiny").mkdir(parents=True)
        shutil.copytree(TREE / "impl" / "common", tree / "impl" / "common")
        for file in (TREE / "impl").glob("*.py"):
            shutil.copy(file, tree / "impl")
        for name, edits in EDITS.items():
            text = PLUGIN.format(name=name, more=edits[number])
            (tree / "impl" / "tiny" / f"{name}.py").write_text(text)
        found.append(Commit("0" * 40, 0, clean=False, tree=Path(tree)))
    return found[0], found[1]


@pytest.mark.alone
def test_what_is_planted_is_found_end_to_end(
    sides: tuple[Commit, Commit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "ENTRY_S", 0.1)
    problem = Problem(
        op="linear_recurrence",
        plugins=tuple(f"tiny.{name}" for name in EDITS if name != "hangs"),
        sizes={"B": 1, "T": 64, "D": 64},
        dtype="float32",
        device="cpu",
        metrics=("time", "error"),
    )
    work = [Contested(problem=problem, baselines=())]
    found = clocked.clocked(work, *sides, device="cpu", budget_s=120.0, settings=Settings(rounds=4))
    by_plugin = {each.plugin.removeprefix("tiny."): each for each in found}
    assert len(found) == len(by_plugin) == len(problem.plugins)
    if "the machine was busy" in by_plugin["slower"].why:
        pytest.skip("the machine was busy in nearly every sample")
    assert by_plugin["slower"].answer is Answer.REGRESSION
    assert by_plugin["slower"].change == pytest.approx(1.5, rel=0.2)
    assert by_plugin["same"].answer is not Answer.REGRESSION
    assert by_plugin["crashes"].answer is Answer.REGRESSION
    assert "status 7" in by_plugin["crashes"].why
    assert by_plugin["mended"].answer is Answer.KEEP
    assert "OSError: lost" in by_plugin["mended"].why


@pytest.mark.alone
def test_a_hang_at_the_head_costs_its_own_line(sides: tuple[Commit, Commit]) -> None:
    hanging = replace(OWN, plugin="tiny.hangs")
    with ThreadPoolExecutor(1) as threads:
        started = threads.submit(one_round, [hanging], *sides, 0, limit_s=10.0)
        found = started.result(timeout=60)
    assert list(found.lost) == [(hanging, "head")]
    assert found.lost[hanging, "head"].failed
    assert "limit 10 s" in found.lost[hanging, "head"].reason
