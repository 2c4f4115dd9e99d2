"""A hang, a crash and a deadline cost what they must, and nothing else."""

import time
from pathlib import Path

import pytest

from bench.engine import contest, isolation

HEADER = """
from impl import implements
import os, signal, time

@implements("linear_recurrence", source="test")
def {name}(a, b, h0=None):
    {body}
"""
BODIES = {
    "hangs": "time.sleep(600)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "prints": "print('noise'); raise ValueError('T=8, want less')",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(name: str) -> str:
        file = tmp_path / f"{name}.py"
        file.write_text(HEADER.format(name=name, body=BODIES[name]))
        return f"{file}:{name}"

    return write


def problem(*plugins: str) -> contest.Problem:
    return contest.Problem(
        op="linear_recurrence",
        plugins=plugins,
        sizes={"B": 1, "T": 8, "D": 2},
        dtype="float32",
        device="cpu",
        metrics=("error", "traffic"),
    )


def reasons(found: contest.Results) -> dict[str, str]:
    return {each.plugin: f"{each.outcome}: {each.reason}" for each in found.outcomes}


def test_a_hang_has_a_name_and_the_others_are_measured(plugin) -> None:
    hangs = plugin("hangs")
    found = isolation.hold_apart(problem(hangs, "scans.sequential"), limit_s=20.0)
    assert "not run: no answer within 20 s at the stage 'contract'" in reasons(found)[hangs]
    assert {f.plugin for f in found.figures} == {"scans.sequential"}


def test_a_crash_has_a_name_and_the_others_are_measured(plugin) -> None:
    crashes = plugin("crashes")
    found = isolation.hold_apart(problem("scans.sequential", crashes))
    assert "SIGSEGV" in reasons(found)[crashes]
    assert {f.plugin for f in found.figures} == {"scans.sequential"}


def test_a_wrong_plugin_leaves_no_figure_but_its_failing_checks(plugin) -> None:
    prints = plugin("prints")
    found = isolation.hold_apart(problem(prints))
    assert [f.metric for f in found.figures] == ["contract"]
    assert found.figures[0].samples[0] > 0
    assert reasons(found)[prints].startswith("wrong")


def test_a_deadline_is_kept(plugin) -> None:
    began = time.monotonic()
    with pytest.raises(isolation.OutOfTime):
        isolation.hold_apart(problem(plugin("hangs")), deadline=began + 3)
    assert time.monotonic() - began < 5


def test_an_unknown_plugin_is_not_run() -> None:
    found = isolation.hold_apart(problem("scans.nothing"))
    assert reasons(found) == {"scans.nothing": "not run: not part of this commit"}
