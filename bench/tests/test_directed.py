"""asv's own pages: only losses are regressions, whichever way is worse, and only what counts is shown."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from asv import util

from bench.tests.test_page import MINIATURE, ROOT, commits

DAY_MS = 86_400_000
SLOWED, HASTENED = "scans.prefix_scan", "scans.sequential"
SLOW = (1.0, 1.001, 0.999, 2.0, 2.002, 1.0)
FAST = (1.0, 1.001, 0.999, 0.5, 0.5005, 0.5)
"""Microseconds a token at each of six commits: a loss that is made good, and a gain."""
FIGURES = {
    "us_per_token": ("us", {SLOWED: SLOW, HASTENED: FAST}),
    "tokens_per_s": (
        "1/s",
        {SLOWED: [1e6 / us for us in SLOW], HASTENED: [1e6 / us for us in FAST]},
    ),
    "traffic": ("bytes", {SLOWED: [64.0] * 5 + [65.0], HASTENED: [64.0] * 6}),
    "contract": ("count", {SLOWED: [0.0] * 6, HASTENED: [0.0] * 6}),
}
AXES = [[repr(SLOWED), repr(HASTENED)], ["'B1-T64-D8'"], ["'float32'"]]


def name(metric: str) -> str:
    return f"kernels.SmokeLinearRecurrence.track_{metric}"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write(results: Path, hashes: Sequence[str]) -> None:
    """Results of six commits, as the suite stores them."""
    machine = results / "miniature-cpu"
    machine.mkdir(parents=True)
    shutil.copy(MINIATURE / "miniature-cpu" / "machine.json", machine)
    facts = json.loads((machine / "machine.json").read_text())
    stack = {"torch": "2.13.0"}
    columns = ["result", "params", "version", "started_at", "samples"]
    for day, commit in enumerate(hashes):
        date = 1_767_225_600_000 + DAY_MS * day
        rows = {}
        for metric, (_, series) in FIGURES.items():
            values = [series[plugin][day] for plugin in (SLOWED, HASTENED)]
            samples = [[value * (1 + 1e-3 * i) for i in range(-4, 5)] for value in values]
            rows[name(metric)] = [values, AXES, "1", date + 1000, samples]
        data = {
            "version": 2,
            "commit_hash": commit,
            "env_name": "overlay-py3.11",
            "date": date,
            "params": {**facts, "python": "3.11", **stack},
            "python": "3.11",
            "requirements": stack,
            "env_vars": {},
            "result_columns": columns,
            "results": rows,
            "durations": {},
        }
        data["params"].pop("version", None)
        (machine / f"{commit[:8]}-overlay-py3.11.json").write_text(json.dumps(data))
    benchmarks: dict[str, Any] = {"version": 2}
    for metric, (unit, _) in FIGURES.items():
        benchmarks[name(metric)] = {
            "code": "",
            "name": name(metric),
            "param_names": ["plugin", "sizes", "dtype"],
            "params": AXES,
            "type": "track",
            "unit": unit,
            "version": "1",
            "timeout": 60,
        }
    (results / "benchmarks.json").write_text(json.dumps(benchmarks))


def publish(folder: Path) -> str:
    """What ``asv publish`` says, with this project's own configuration."""
    configured = util.load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    configured |= {"results_dir": "results", "html_dir": "html", "env_dir": ".asv/env"}
    (folder / "asv.conf.json").write_text(json.dumps(configured))
    offline = {**os.environ, "MADBENCH_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "asv", "publish"],
        cwd=folder,
        env=offline,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("directed")
    commits(made)
    write(made / "results", git(made, "rev-list", "--reverse", "main").split())
    publish(made)
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> Mapping[tuple[str, str], list[Any]]:
    """Rows of ``regressions.json`` by metric and plugin."""
    found = json.loads((folder / "html" / "regressions.json").read_text())["regressions"]
    return {
        (row[0].partition("(")[0].rpartition("track_")[2], row[0].split("'")[1]): row
        for row in found
    }


def test_a_fall_of_tokens_a_second_is_a_regression_and_a_rise_is_none(
    rows: Mapping[tuple[str, str], list[Any]],
) -> None:
    assert set(rows) == {("us_per_token", SLOWED), ("tokens_per_s", SLOWED), ("traffic", SLOWED)}


def test_a_row_names_the_commit_and_the_levels_the_right_way_up(
    folder: Path, rows: Mapping[tuple[str, str], list[Any]]
) -> None:
    *_, latest, best, jumps = rows["tokens_per_s", SLOWED]
    ((before_it, at, before, after),) = jumps
    named = json.loads((folder / "html" / "index.json").read_text())["revision_to_hash"]
    hashes = git(folder, "rev-list", "--reverse", "main").split()
    assert before_it is None and named[str(at)] == hashes[3]
    assert before == pytest.approx(1e6, rel=0.01) and after == pytest.approx(5e5, rel=0.01)
    assert latest == pytest.approx(best, rel=0.01)


def test_a_loss_that_lasts_is_worse_than_its_best(
    rows: Mapping[tuple[str, str], list[Any]],
) -> None:
    *_, latest, best, _ = rows["traffic", SLOWED]
    assert (latest, best) == (65.0, 64.0)


def test_the_feed_has_the_losses_and_no_gain(folder: Path) -> None:
    feed = (folder / "html" / "regressions.xml").read_text()
    assert feed.count("<entry>") == 3
    assert f"track_tokens_per_s('{SLOWED}'" in feed and HASTENED not in feed


def test_the_list_shows_our_changes_and_calls_no_gain_a_loss(folder: Path) -> None:
    (file,) = (folder / "html" / "graphs").rglob("summary.json")
    shown = {
        (row["name"].rpartition("track_")[2], row["idx"]): row
        for row in json.loads(file.read_text())
    }
    assert shown["tokens_per_s", 0]["prev_value"] is None
    assert shown["tokens_per_s", 1]["prev_value"] is None
    fast = shown["us_per_token", 1]
    assert fast["last_value"] / fast["prev_value"] == pytest.approx(0.5, rel=0.01)
    assert shown["traffic", 1]["prev_value"] is None


def test_spoilt_files_are_one_line_each_and_the_site_is_that_without_them(folder: Path) -> None:
    machine = folder / "results" / "miniature-cpu"
    names = ("regressions.json", "verdicts.js")
    before = [(folder / "html" / each).read_bytes() for each in names]
    whole = next(machine.glob("*-overlay-py3.11.json"))
    foreign = json.loads(whole.read_text()) | {"commit_hash": "e" * 40}
    spoilt = {
        "aaaaaaaa-overlay-py3.11.json": "",
        "bbbbbbbb-overlay-py3.11.json": "null",
        "cccccccc-overlay-py3.11.json": whole.read_text(),
        "dddddddd-overlay-py3.11.json": whole.read_text()[:99],
        "eeeeeeee-overlay-py3.11.json": json.dumps(foreign),
        f"{whole.name[:8]}-future.json": json.dumps(
            json.loads(whole.read_text()) | {"env_name": "future", "date": 4_102_444_800_000}
        ),
    }
    try:
        for file, text in spoilt.items():
            (machine / file).write_text(text)
        said = publish(folder).splitlines()
    finally:
        for file in spoilt:
            (machine / file).unlink()
    for file in spoilt:
        assert len([line for line in said if file in line]) == 1, file
    assert [(folder / "html" / each).read_bytes() for each in names] == before
