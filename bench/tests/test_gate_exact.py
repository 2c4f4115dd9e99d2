"""Figures that repeat, held against each other, and what is said of them."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.engine.checkout import Commit
from bench.engine.contest import Problem
from bench.gate import allowance, exact, report, sides
from bench.gate.allowance import FILE, settings
from bench.gate.binaries import Target, identical
from bench.gate.exact import Place, Score
from bench.gate.finding import Answer, Finding
from bench.gate.reach import Reach, Side
from bench.gate.sides import UNMEASURED, Sight

KEEP, REGRESSION, UNCLEAR = Answer.KEEP, Answer.REGRESSION, Answer.UNCLEAR
HERE = Place(plugin="scans.one", sizes="B1-T64-D8", dtype="float32")
WRONG = Sight(outcome="wrong", reason="forward: output 0", failing=2)
REFUSED = Sight(outcome="unsupported", reason="T=64, want at most 32")
GONE = Sight(outcome="not run", reason="No module named impl.gone")

NEVER = Sight(outcome=UNMEASURED, reason="KeyError: 'x'")


@pytest.mark.parametrize(
    ("metric", "base", "head", "answer"),
    [
        ("traffic", 4096, 4096, KEEP),
        ("traffic", 4096, 4097, REGRESSION),
        ("traffic", 4096, 2048, KEEP),
        ("launches", 1, 2, REGRESSION),
        ("live_bytes", 0, 1, REGRESSION),
        ("spills", 0, 8, REGRESSION),
        ("flops", 1, 100, KEEP),
        ("error", 1e-6, 1.1e-6, KEEP),
        ("error", 1e-6, 1.2e-6, REGRESSION),
        ("error", 0.0, 5e-8, KEEP),
        ("error", 0.0, 7e-8, REGRESSION),
        ("error", 1e-6, math.nan, REGRESSION),
        ("mma", 128, 8, KEEP),
        ("mma", 8, 0, REGRESSION),
        ("mma", 0, 0, KEEP),
    ],
)
def test_a_worsening_beyond_the_allowance_is_a_regression(
    metric: str, base: float, head: float, answer: Answer
) -> None:
    allowed = settings().allowances[metric]
    assert exact.compare(HERE, allowed, base, head).answer is answer


@pytest.mark.parametrize(
    ("base", "head", "shares", "answer"),
    [
        (64, 72, (0.5, 0.5), KEEP),
        (64, 72, (0.5, 0.4375), REGRESSION),
        (72, 64, (0.5, 0.4375), KEEP),
    ],
)
def test_registers_and_shared_bytes_count_when_occupancy_falls(
    base: float, head: float, shares: tuple[float, float], answer: Answer
) -> None:
    for metric in ("registers", "shared"):
        found = exact.compare(HERE, settings().allowances[metric], base, head, shares)
        assert found.answer is answer


@pytest.mark.parametrize(
    ("base", "head", "answer", "says"),
    [
        (Sight(), WRONG, REGRESSION, "ok at the base, now wrong: forward: output 0"),
        (Sight(), REFUSED, REGRESSION, "T=64, want at most 32"),
        (Sight(), GONE, REGRESSION, "No module named impl.gone"),
        (WRONG, Sight(), KEEP, "mended: the base is wrong"),
        (WRONG, WRONG, KEEP, "on both sides wrong: forward: output 0"),
        (WRONG, replace(WRONG, failing=3), REGRESSION, "more checks fail"),
        (REFUSED, REFUSED, KEEP, "on both sides unsupported"),
        (REFUSED, WRONG, REGRESSION, "refused at the base, now wrong"),
        (GONE, WRONG, KEEP, "not run at the base, now wrong"),
        (NEVER, Sight(), UNCLEAR, "the base cannot be measured with this ruler: KeyError"),
        (Sight(), NEVER, UNCLEAR, "the head cannot be measured with this ruler: KeyError"),
    ],
)
def test_a_side_that_breaks_gets_a_line(
    base: Sight, head: Sight, answer: Answer, says: str
) -> None:
    found = exact.outcome(HERE, base, head)
    assert found is not None and found.answer is answer and says in found.why


def test_a_side_that_the_ruler_fails_on_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such op")

    monkeypatch.setattr(sides, "hold_apart", fails)
    problem = Problem(
        op="none", plugins=("scans.one",), sizes={}, dtype="float32", device="cpu", metrics=()
    )
    found = sides.exact(problem, Commit("a" * 40, 0, clean=True), lambda _: None)
    assert found["scans.one"].outcome == UNMEASURED


def test_what_is_ok_on_both_sides_has_figures_instead() -> None:
    assert exact.outcome(HERE, Sight(), Sight()) is None


def test_a_figure_that_is_gone_is_a_regression() -> None:
    traced = Sight(figures={"traffic": (8.0,), "error": (1e-7,)})
    blind = Sight(figures={"error": (1e-7,)}, missing={"trace": "OutOfBounds: x"})
    gone = {each.metric: each for each in exact.figures(HERE, traced, blind, settings())}
    assert gone["traffic"].answer is REGRESSION and "OutOfBounds" in gone["traffic"].why
    back = {each.metric: each for each in exact.figures(HERE, blind, traced, settings())}
    assert back["traffic"].answer is KEEP


KERNELS = Target(
    figures={"registers": 64.0, "spills": 0.0, "shared": 1024.0, "mma": 8.0},
    occupancy=0.5,
    broken="",
    identity=("kernel (1,) abc",),
)
UNFIT = replace(KERNELS, figures={}, broken="kernel needs 300000 bytes of shared storage a block")


def test_kernels_are_compared_card_by_card() -> None:
    spilled = replace(KERNELS, figures={**KERNELS.figures, "spills": 16.0})
    found = [
        *exact.binaries(
            HERE,
            {"sm_80": KERNELS, "sm_90": KERNELS},
            {"sm_80": KERNELS, "sm_90": spilled},
            settings(),
        )
    ]
    worse = [(each.target, each.metric) for each in found if each.answer is REGRESSION]
    assert worse == [("sm_90", "spills")] and len(found) == 8


@pytest.mark.parametrize(
    ("base", "head", "answer"),
    [
        ({"sm_90": KERNELS}, {"sm_90": UNFIT}, REGRESSION),
        ({"sm_90": UNFIT}, {"sm_90": KERNELS}, KEEP),
        ({"sm_90": UNFIT}, {"sm_90": UNFIT}, KEEP),
        ({"sm_90": KERNELS}, "CompilationError: x", REGRESSION),
        ("CompilationError: x", {"sm_90": KERNELS}, KEEP),
        ("CompilationError: x", "CompilationError: x", KEEP),
        ({"sm_90": KERNELS}, {}, KEEP),
    ],
)
def test_a_kernel_that_a_card_cannot_launch_any_more_is_a_regression(
    base: dict[str, Target] | str, head: dict[str, Target] | str, answer: Answer
) -> None:
    (found,) = exact.binaries(HERE, base, head, settings())
    assert found.answer is answer


def test_binaries_are_identical_when_every_launch_is() -> None:
    other = replace(KERNELS, identity=("kernel (2,) abc",))
    assert identical({"sm_90": KERNELS}, {"sm_90": KERNELS})
    assert not identical({"sm_90": KERNELS}, {"sm_90": other})
    assert not identical({"sm_90": KERNELS}, {"sm_90": KERNELS, "sm_100": KERNELS})
    assert not identical({"sm_90": UNFIT}, {"sm_90": UNFIT})
    assert not identical({}, {}) and not identical("x", "x")


@pytest.mark.parametrize(
    ("base", "head", "answer"),
    [
        ((1.0, 0.98, 0.99), (1.0, 0.98, 0.99), KEEP),
        ((1.0, 0.98, 0.99), (0.99, 0.98, 1.0), KEEP),
        ((0.1, 0.2, 0.1), (0.9, 1.0, 0.95), KEEP),
        ((1.0, 0.98, 0.99), (0.11, 0.12, 0.1), REGRESSION),
        ((1.0, 0.98, 0.99), (1.0, 0.1, 0.99), UNCLEAR),
        ((1.0,), (0.1,), UNCLEAR),
    ],
)
def test_accuracy_that_falls_clearly_is_a_regression(
    base: tuple[float, ...], head: tuple[float, ...], answer: Answer
) -> None:
    score = Score(place=HERE, metric="accuracy", base=base, head=head)
    (found,) = exact.seeds([score], settings())
    assert found.answer is answer and found.difference
    json.dumps(found.facts(), allow_nan=False)


def test_a_loss_that_rises_is_shown_only() -> None:
    score = Score(place=HERE, metric="loss", base=(0.1, 0.1), head=(0.9, 0.8))
    (found,) = exact.seeds([score], settings())
    assert (found.answer, found.why) == (KEEP, "shown only")


def test_every_metric_that_is_compared_has_an_allowance() -> None:
    assert set(settings().allowances) == set(allowance.COMPARED)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("launches ", "lunches ", "lunches"),
        ('worse = "vanish"', 'worse = "fade"', "'fade'"),
        ("by = 0.15", "by = -0.15", "by = -0.15"),
        ("by = 0.15,", "", "no by"),
        ("margin     = 0.03", "margin     = 3", "between 0 and 1"),
        ("rounds     = 20", "rounds     = 0", "above 0"),
        ("[clock]", "[clock", "gate.toml"),
    ],
)
def test_a_settings_file_that_is_wrong_says_where(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text, count = re.subn(old, new, FILE.read_text())
    assert count
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(ValueError, match=r"suites/gate.toml") as raised:
        settings(tmp_path / "gate.toml")
    assert says in str(raised.value)


def told(*findings: Finding) -> report.Report:
    nothing = Side(root=Path(), files={}, plugins={}, unreadable={})
    return report.Report(
        findings=findings,
        base=Commit("a" * 40, 0, clean=True),
        head=Commit("b" * 40, 0, clean=False),
        suite="canary",
        device="cpu",
        machine="miniature",
        stack={"python": "3.11"},
        ruler=Commit("b" * 40, 0, clean=False),
        reach=Reach(
            base=nothing, head=nothing, changed=(), plugins=("scans.one",), new=(), removed=()
        ),
        everything=False,
        clock=False,
        budget_s=300.0,
        notes=("a|b\nc",),
    )


TIMED = Finding(
    plugin="scans.one",
    metric="speedup",
    unit="x",
    answer=UNCLEAR,
    why="the margin lies inside",
    change=0.96,
    low=0.9,
    high=1.02,
    smallest=0.91,
    against="attention.flash2",
)


def test_a_report_shows_the_worst_first() -> None:
    worse = exact.compare(HERE, settings().allowances["traffic"], 10, 11)
    better = exact.compare(HERE, settings().allowances["traffic"], 10, 9)
    same = exact.compare(HERE, settings().allowances["launches"], 1, 1)
    found = told(same, better, TIMED, worse)
    lines = report.text(found).splitlines()
    assert lines[0] == "REGRESSION: 1 worse, 1 unclear, 2 kept"
    titles = [
        line
        for line in lines
        if line in ("Regressions", "Could not tell, in time", "Changed and kept")
    ]
    assert titles == ["Regressions", "Could not tell, in time", "Changed and kept"]
    (row,) = [line for line in lines if "attention.flash2" in line]
    assert "-4.0%" in row and "-10.0% to +2.0%" in row and "-9.0%" in row
    assert "unchanged: 1 figures of scans.one" in lines
    assert lines[-1] == "again: madbench gate aaaaaaaaaaaa --suite canary --no-clock"


def test_a_comment_cannot_be_broken_by_what_it_quotes() -> None:
    evil = exact.outcome(
        HERE, Sight(), Sight(outcome="wrong", reason="</details> | @all\n# <img src=x>", failing=1)
    )
    assert evil is not None
    text = report.markdown(told(evil))
    assert "<img" not in text and "</details>" not in text and "\n# " not in text
    (row,) = [line for line in text.splitlines() if "details" in line]
    cells = row.replace("\\|", "").count("|")
    assert "@" not in text
    assert cells == text.splitlines()[6].count("|")
    assert "a\\|b c" in text


def test_the_facts_are_json() -> None:
    facts = json.loads(json.dumps(told(TIMED).facts(), allow_nan=False))
    assert facts["answer"] == "unclear" and facts["findings"][0]["smallest"] == 0.91
    assert facts["head"]["clean"] is False and facts["again"].endswith("--no-clock")
