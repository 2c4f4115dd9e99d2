"""The head-to-head: invented runs come out as they were put in, and what may not be shown is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.record.measurement import Measurement
from bench.tests import test_page
from bench.tests.test_page_in_browser import CHROMIUM, PHONE, served, walked
from bench.verdict import head_to_head
from suites import tasks

__all__ = ["served"]

S3, Z8 = "word_problem-S3-T16", "word_problem-Z8-T16"
COMMIT, LATER = "a" * 40, "b" * 40
TASK = tasks.find(S3)
GOOD, HALF, LOST = (1.0, 1.0, 0.99, 0.5, 0.2), (1.0, 0.5, 0.4, 0.3, 0.2), (0.3, 0.2, 0.2, 0.2, 0.2)


def run(mixer: str, seed: int, accuracies: tuple[float, ...], **more: Any) -> dict[str, Any]:
    task = tasks.find(more.get("task", S3))
    lengths = [1 + (task.length - 1) * multiple for multiple in (1, 2, 4, 8, 16)]
    by_length = dict(zip(lengths, accuracies, strict=True))
    return {
        "machine": "box",
        "commit": COMMIT[:8],
        "suite": "transitions",
        "task": task.name,
        "mixer": mixer,
        "seed": seed,
        "rate": 0.01,
        "tokens": task.tokens,
        "outcome": "ok",
        "reason": "",
        "accuracy": by_length[task.test_length],
        "accuracies": [],
        "losses": [],
        "gradients": [],
        "by_length": [list(each) for each in by_length.items()],
        "parameters": 100,
        "state_size": 128,
        "flops": 1000,
        "floor": task.floor,
    } | more


def figure(plugin: str = "transitions.dense", **more: Any) -> Measurement:
    given: dict[str, Any] = {
        "plugin": plugin,
        "metric": "accuracy",
        "unit": "fraction",
        "sizes": S3,
        "dtype": "float32",
        "machine": "box",
        "kind": "cpu",
        "samples": (1.0,),
        "low": 1.0,
        "high": 1.0,
        "modelled": False,
        "contract": "ok",
        "commit": COMMIT,
        "position": 1,
    }
    return Measurement(**(given | more))


def panel(runs: list[dict[str, Any]], *known: Measurement) -> dict[str, Any]:
    (found,) = head_to_head.head_to_head(runs, [figure(), *known])["panels"]
    return found


def rows(found: dict[str, Any]) -> dict[str, Any]:
    return {row["mixer"]: row for row in found["rows"]}


def test_a_transition_stops_at_the_last_multiple_that_is_solved() -> None:
    runs = [run("transitions.dense", seed, GOOD) for seed in range(4)]
    runs += [run("transitions.dense", 4, HALF)]
    (row,) = panel(runs)["rows"]
    assert [point["multiple"] for point in row["points"]] == [1, 2, 4, 8, 16]
    assert [point["median"] for point in row["points"]] == list(GOOD)
    assert [point["solved"] for point in row["points"]] == [5, 4, 4, 0, 0]
    assert row["stops"] == {"median": 4, "every seed": 1}
    assert row["points"][1]["range"] == [0.5, 1.0]
    assert row["points"][1]["interval"] == [0.5, 1.0]


def test_what_is_lost_at_once_stops_nowhere() -> None:
    (row,) = panel([run("transitions.dense", seed, LOST) for seed in range(5)])["rows"]
    assert row["stops"] == {"median": 0, "every seed": 0}


def test_a_length_that_is_solved_again_after_a_gap_does_not_count() -> None:
    (row,) = panel([run("transitions.dense", 0, (1.0, 0.2, 1.0, 1.0, 1.0))])["rows"]
    assert row["stops"]["median"] == 1


def test_another_state_size_is_told_apart() -> None:
    sizes = {"transitions.dense": 128, "a_twentieth_more": 134, "more": 135, "less": 64}
    found = panel([run(name, 0, GOOD, state_size=size) for name, size in sizes.items()])
    assert {name for name, row in rows(found).items() if row["equal"]} == {
        "transitions.dense",
        "a_twentieth_more",
    }
    assert found["state"] == 128


def test_a_run_on_a_smaller_budget_does_not_count() -> None:
    runs = [run("transitions.dense", 0, GOOD), run("short", 0, GOOD, tokens=TASK.tokens // 2)]
    assert set(rows(panel(runs))) == {"transitions.dense"}


def test_the_newest_commit_speaks_and_a_commit_without_figures_does_not() -> None:
    runs = [run("transitions.dense", seed, LOST) for seed in range(3)]
    runs += [run("transitions.dense", 0, GOOD, commit=LATER[:8])]
    runs += [run("transitions.dense", 0, HALF, commit="c" * 8)]
    (row,) = panel(runs, figure(commit=LATER, position=2))["rows"]
    assert (row["commit"], row["seeds"]) == (LATER[:8], 1)


def test_what_fails_its_contract_has_no_figure() -> None:
    wrong = figure("transitions.broken", sizes="B1-T64-D32", contract="wrong")
    found = panel(
        [run("transitions.broken(knob=1)", 0, GOOD), run("transitions.dense", 0, GOOD)], wrong
    )
    assert found["broken"] == ["transitions.broken(knob=1)"]
    assert set(rows(found)) == {"transitions.dense"}
    assert "broken" not in json.dumps(found["rows"])


def test_what_was_refused_when_last_tried_is_named_without_its_older_figures() -> None:
    wrong = {"metric": "contract", "samples": (2.0,), "contract": "wrong"}
    runs = [run("transitions.dense", 0, GOOD), run("transitions.lost", 0, GOOD)]
    before = figure("transitions.back", position=0, commit="0" * 40, **wrong)
    now = [
        figure("transitions.lost", position=2, commit=LATER, **wrong),
        figure("transitions.back"),
    ]
    found = panel(runs, before, *now)
    assert found["broken"] == ["transitions.lost"]
    assert set(rows(found)) == {"transitions.dense"}


def test_a_length_that_a_seed_lacks_has_no_median() -> None:
    lacking = run("transitions.dense", 1, GOOD)
    lacking["by_length"] = lacking["by_length"][:-1]
    (row,) = panel([run("transitions.dense", 0, GOOD), lacking])["rows"]
    assert [point["multiple"] for point in row["points"]] == [1, 2, 4, 8]


def test_the_cost_is_of_the_sizes_where_most_were_timed() -> None:
    timed = {"metric": "us_per_token", "unit": "us"}
    known = [
        figure("transitions.dense", sizes="B64-T17-D32", samples=(2.0,), **timed),
        figure("other", sizes="B64-T17-D32", samples=(1.0,), **timed),
        figure("other", sizes="B1-T17-D32", samples=(9.0,), **timed),
        figure("other", sizes="B64-T17-D32", samples=(7.0,), machine="else", **timed),
    ]
    found = panel([run(name, 0, GOOD) for name in ("other", "transitions.dense")], *known)
    assert found["cost_sizes"] == "B64-T17-D32 float32"
    costs = {name: row["cost"]["value"] for name, row in rows(found).items()}
    assert costs == {"other": 1.0, "transitions.dense": 2.0}


def published(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found = head_to_head.head_to_head(runs, [figure()])["published"]
    return {f"{one['task']} {one['mixer']}": one for one in found}


def test_a_published_figure_agrees_or_does_not() -> None:
    two, one = "delta.product(eigenvalues=signed,steps=2)", "delta.product(eigenvalues=signed)"
    found = published([run(two, 0, GOOD), run(one, 0, GOOD)])
    (solved,), (failed,) = (found[f"{S3} {mixer}"]["measured"] for mixer in (two, one))
    assert (solved["outcome"], solved["as_published"]) == ("solved", True)
    assert (failed["outcome"], failed["as_published"]) == ("solved", False)
    assert found[f"{S3} delta.product(steps=2)"]["measured"] == []


def test_every_published_row_names_its_source_and_a_mixer_that_can_be_built() -> None:
    from bench.lab.contestant import contestant

    for row in head_to_head.published():
        assert "arXiv:" in row["source"], row
        assert contestant(row["mixer"])[0] == row["mixer"].partition("(")[0]


def test_a_published_row_with_a_missing_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "published.toml"
    text = head_to_head.PUBLISHED.read_text()
    file.write_text(text.replace("differs ", "difers ", 1))
    with pytest.raises(ValueError, match="row 1: difers, differs, want model"):
        head_to_head.published(file)
    file.write_text(text.replace(S3, "word_problem-S9", 1))
    with pytest.raises(ValueError, match="of 'word_problem-S9', want solved or failed of a task"):
        head_to_head.published(file)


def invented() -> list[dict[str, Any]]:
    """Five seeds of four transitions on two groups, as they are kept."""
    kinds = {
        "transitions.dense": GOOD,
        "transitions.diagonal": LOST,
        "transitions.cauchy": HALF,
        "transitions.cauchy(rank=4)": GOOD,
    }
    found = []
    for task in (S3, Z8):
        for mixer, accuracies in kinds.items():
            for seed in range(5):
                one = run(mixer, seed, accuracies, task=task)
                found.append(one | {"group": ["transitions", task]})
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the miniature and the invented runs beside its newest figures."""
    folder = tmp_path_factory.mktemp("head_to_head")
    test_page.commits(folder)
    results = folder / "results"
    shutil.copytree(test_page.MINIATURE, results)
    newest = max((results / "miniature-cpu").glob("*.curves.jsonl"))
    with newest.open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in invented())
    return test_page.publish(folder, results)


def test_the_page_has_every_panel_with_its_figures(site: Path) -> None:
    text = (site / "data" / "head_to_head" / "transitions.js").read_text()
    whole = json.loads(text.partition("] = ")[2].removesuffix(";\n"))
    found = {one["task"]: rows(one) for one in whole["panels"]}
    assert set(found) == {S3, Z8}
    assert {mixer: row["stops"]["median"] for mixer, row in found[S3].items()} == {
        "transitions.cauchy": 1,
        "transitions.cauchy(rank=4)": 4,
        "transitions.dense": 4,
        "transitions.diagonal": 0,
    }
    summary = (site / "verdicts.js").read_text()
    assert '"transitions":{"mixers":["transitions.cauchy"' in summary


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("flags", [(), ("--blink-settings=preferredColorScheme=0",)])
def test_the_page_is_drawn_whole_on_a_phone(
    site: Path, served: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    pages = ["#/transitions", "#/transitions/022", "#/transitions/all"]
    found = {one["page"]: one for one in walked(site, served, tmp_path, pages, *flags, width=PHONE)}
    assert max(one["width"] for one in found.values()) <= PHONE
    # three of one idea each, or the control, dense, and two of Cauchy; and two lines of a bound
    wanted = {"#/transitions": 5, "#/transitions/022": 6, "#/transitions/all": 6}
    for name, one in found.items():
        assert not one["late"] and [plot["drawn"] for plot in one["plots"]] == [wanted[name]] * 2
        assert all(plot["rows"] and not plot["wide"] for plot in one["plots"])
