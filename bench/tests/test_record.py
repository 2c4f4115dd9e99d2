"""Reading results: each file that is not what it says is one clear line, and the rest still counts."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.record import results_folder
from bench.record.measurement import Measurement
from bench.record.results_folder import CorruptResults, DoubtfulResults
from bench.tests.test_page import MINIATURE

NAME = "13814785-overlay-py3.11.json"
COMMIT = "13814785"
YEAR_2100 = 4102444800000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature's machine, to be spoilt."""
    others = shutil.ignore_patterns("miniature-card")
    shutil.copytree(MINIATURE, tmp_path / "results", ignore=others)
    return tmp_path / "results" / "miniature-cpu"


def read(folder: Path, **more: Any) -> tuple[list[Measurement], list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = results_folder.read_all(folder.parent, **more)
    assert all(issubclass(each.category, CorruptResults) for each in told)
    return found, [str(each.message) for each in told]


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(file: Path) -> None:
        data = json.loads(file.read_text())
        change(data)
        file.write_text(json.dumps(data))

    return spoil


def written(content: str | bytes) -> Callable[[Path], object]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda file: file.write_bytes(raw)


def with_text(data: dict[str, Any]) -> None:
    for row in data["results"].values():
        row[0] = ["fast" for _ in row[0]]


SPOILT = {
    "empty": (written(""), "not read, JSONDecodeError"),
    "cut off": (lambda file: file.write_text(file.read_text()[:500]), "not read, JSONDecodeError"),
    "no object": (written("null"), "not read, ValueError: no JSON object"),
    "no text": (written(b"\xff\xfe\x00"), "not read, UnicodeDecodeError"),
    "too deep": (written("[" * 100_000), "not read, RecursionError"),
    "half of it": (written('{"version": 2, "params": {}}'), "no commit_hash, date, env_name"),
    "version 3": (edited(lambda data: data.update(version=3)), "version 3 of asv's format, want 2"),
    "no commit": (edited(lambda data: data.update(commit_hash="main")), "commit 'main', want 40"),
    "no date": (edited(lambda data: data.update(date="today")), "not read, TypeError"),
    "no figures": (edited(with_text), r"is \('fast',\), want numbers|want numbers"),
    "other machine": (
        edited(lambda data: data["params"].update(machine="b-cpu")),
        "not used, it is of the machine 'b-cpu', want it in the folder of that name",
    ),
    "other commit": (
        edited(lambda data: data.update(commit_hash="f" * 40)),
        "it holds commit ffffffff in overlay-py3.11, want the name ffffffff-overlay-py3.11.json",
    ),
    "future": (
        edited(lambda data: data.update(date=YEAR_2100)),
        "is dated 2100-01-01T00:00:00.00:00, figures of it 2026-.*: one clock is wrong",
    ),
    "other project": (
        edited(lambda data: data.update(results={"benchmarks.Sort.time_list": [[1.0], []]})),
        "not used, it has no benchmark of this project",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_not_what_it_says_is_one_line_and_the_rest_counts(
    folder: Path, how: str
) -> None:
    spoil, said = SPOILT[how]
    whole, _ = read(folder)
    spoil(folder / NAME)
    found, told = read(folder)
    (line,) = told
    assert f"miniature-cpu/{NAME}: not " in line and re.search(said, line) and "\n" not in line
    assert found == [one for one in whole if not one.commit.startswith(COMMIT)]


def test_a_copy_counts_once(folder: Path) -> None:
    whole, _ = read(folder)
    shutil.copy(folder / NAME, folder / f"{COMMIT}-overlay-py3.11 (copy).json")
    found, (line,) = read(folder)
    assert found == whole
    assert f"want the name {NAME}, which is there" in line


def test_figures_that_are_in_two_files_count_once(folder: Path) -> None:
    whole, _ = read(folder)
    copy = folder / f"{COMMIT}-overlay-py3.12.json"
    shutil.copy(folder / NAME, copy)
    edited(lambda data: data.update(env_name="overlay-py3.12"))(copy)
    found, (line,) = read(folder)
    assert found == whole
    assert f"{copy.name}: not used, its figures are those of {NAME}" in line


def history(known: list[Measurement]) -> dict[str, int]:
    """The commits of the miniature, a day apart, as its repository has them."""
    commits = sorted({(one.committed, one.commit) for one in known})
    return {commit: 1767225600000 + 86400000 * day for day, (_, commit) in enumerate(commits)}


def test_commits_are_in_the_order_of_the_history(folder: Path) -> None:
    known, _ = read(folder)
    found, told = read(folder, history=history(known))
    assert told == []
    by_day = sorted({one.commit: one.committed for one in known}.items(), key=lambda each: each[1])
    assert [commit for commit, _ in by_day] == [
        commit for _, commit in sorted({(one.position, one.commit) for one in found})
    ]


def test_a_commit_outside_the_history_is_foreign(folder: Path) -> None:
    known, _ = read(folder)
    ours = {
        commit: date for commit, date in history(known).items() if not commit.startswith(COMMIT)
    }
    found, (line,) = read(folder, history=ours)
    assert f"not used, commit {COMMIT} is not in this history" in line
    assert {one.commit for one in found} == set(ours)


def test_a_commit_dated_otherwise_than_in_the_history_is_not_used(folder: Path) -> None:
    known, _ = read(folder)
    moved = {
        commit: date - 1000 * commit.startswith(COMMIT) for commit, date in history(known).items()
    }
    found, (line,) = read(folder, history=moved)
    assert f"commit {COMMIT} is dated" in line and "in this history" in line
    assert COMMIT not in {one.commit[:8] for one in found}


def test_a_file_of_none_of_our_plugins_is_foreign(folder: Path) -> None:
    assert read(folder, plugins={"scans.kogge_stone.matrix", "mixers.cosformer"})[1] == []
    found, told = read(folder, plugins={"sorts.quick"})
    assert found == [] and all("none of its plugins is here: " in line for line in told)


def test_an_unknown_metric_is_named_and_the_rest_of_the_file_counts(folder: Path) -> None:
    whole, _ = read(folder)

    def rename(data: dict[str, Any]) -> None:
        name = next(name for name in data["results"] if name.endswith("track_time"))
        data["results"][name.replace("track_time", "track_beauty")] = data["results"][name]

    edited(rename)(folder / NAME)
    found, (line,) = read(folder)
    assert found == whole and "passed over, no metric of ours: track_beauty" in line


def test_a_broken_line_beside_the_figures_is_named_and_the_rest_counts(folder: Path) -> None:
    file = folder / f"{COMMIT}-overlay-py3.11.curves.jsonl"
    file.write_text('{"seed": 0}\n{"seed": \n[1]\n{"seed": 1}\n')
    with pytest.warns(CorruptResults, match=r"a line not read, line 2: .* and 1 more") as told:
        found = list(results_folder.beside(folder.parent, "curves"))
    assert found == [("miniature-cpu", COMMIT, {"seed": 0}), ("miniature-cpu", COMMIT, {"seed": 1})]
    assert len(told) == 1


@pytest.mark.parametrize("ending", ["curves", "outcomes"])
def test_lines_beside_no_figures_of_ours_are_not_used(folder: Path, ending: str) -> None:
    for old in folder.glob("*.jsonl"):
        old.unlink()
    (folder / f"notes.{ending}.jsonl").write_text('{"seed": 0}\n')
    with pytest.warns(DoubtfulResults, match="want the name <commit>-<environment>"):
        assert list(results_folder.beside(folder.parent, ending)) == []
    (folder / f"notes.{ending}.jsonl").rename(folder / f"ffffffff-env.{ending}.jsonl")
    with pytest.warns(DoubtfulResults, match="commit ffffffff is not in this history"):
        assert list(results_folder.beside(folder.parent, ending, {"a" * 40: 0})) == []


def test_another_budget_of_a_task_is_another_question(folder: Path) -> None:
    def again(data: dict[str, Any]) -> None:
        for name, row in data["results"].items():
            if name.startswith("tasks."):
                row[2] = "another version"

    edited(again)(folder / NAME)
    found, _ = read(folder)
    settings = {one.settings for one in found if one.metric == "accuracy"}
    assert len(settings) == 2 and all(settings)
    assert {one.settings for one in found if one.metric == "time"} == {""}
