"""The one store: what is written is read, what is broken is named and kept, nothing is half there."""

import json
import math
from pathlib import Path

import pytest

from bench.engine import contest, overlay, runner, store, suite
from bench.engine.metrics import KERNEL
from bench.hardware import machine
from bench.record import results_folder, tidy_table

ONE, OTHER = "B1-T8-D2", "B2-T16-D4"


@pytest.fixture
def held() -> suite.Contest:
    return suite.Contest(
        op="linear_recurrence",
        plugins=("scans.prefix_scan", "scans.sequential"),
        sizes=(ONE, OTHER),
        modelled_sizes=(ONE, OTHER),
        dtypes=("float32",),
        baseline="scans.sequential",
    )


def results(*times: float) -> contest.Results:
    found = contest.Results()
    for plugin, time in zip(("scans.prefix_scan", "scans.sequential"), times):
        found.exact(plugin, "contract", 0)
        found.figures.append(
            contest.Figure(
                plugin=plugin,
                metric="time",
                samples=tuple(time + i for i in range(9)),
                low=time,
                high=time + 8,
            )
        )
    return found


def problem_at(held: suite.Contest, sizes: str) -> contest.Problem:
    return next(p for p in runner.problems(held, "cpu") if store.sizes_name(p.sizes) == sizes)


def test_what_is_written_is_read(tmp_path: Path, held: suite.Contest) -> None:
    place = store.Place(tmp_path)
    place.add("smoke", held, problem_at(held, ONE), results(10.0, 20.0))
    found = {(m.plugin, m.metric): m for m in results_folder.read_all(tmp_path)}
    fast, slow = found["scans.prefix_scan", "time"], found["scans.sequential", "time"]
    assert fast.samples == tuple(10.0 + i for i in range(9))
    assert (fast.value, fast.low, fast.high) == (14.0, 10.0, 18.0)
    assert (fast.sizes, fast.dtype, fast.suite, fast.contract) == (ONE, "float32", "smoke", "ok")
    assert fast.group == slow.group
    assert fast.group


def test_figures_of_other_sizes_stay_and_are_another_group(
    tmp_path: Path, held: suite.Contest
) -> None:
    place = store.Place(tmp_path)
    early, late = results(10.0, 20.0), results(30.0, 40.0)
    late.began = early.began + 1
    place.add("smoke", held, problem_at(held, ONE), early)
    place.add("smoke", held, problem_at(held, OTHER), late)
    found = {
        (m.plugin, m.sizes): m for m in results_folder.read_all(tmp_path) if m.metric == "time"
    }
    assert found["scans.prefix_scan", ONE].value == 14.0
    assert found["scans.prefix_scan", OTHER].value == 34.0
    assert found["scans.prefix_scan", ONE].group != found["scans.prefix_scan", OTHER].group


def test_a_group_that_is_there_lacks_nothing(tmp_path: Path, held: suite.Contest) -> None:
    place, problem = store.Place(tmp_path), problem_at(held, ONE)
    assert place.lacking("smoke", problem) == ["scans.prefix_scan", "scans.sequential"]
    place.add("smoke", held, problem, results(10.0, 20.0))
    assert place.lacking("smoke", problem) == []
    assert place.lacking("core", problem) == ["scans.prefix_scan", "scans.sequential"]
    assert place.lacking("smoke", problem_at(held, OTHER)) == [
        "scans.prefix_scan",
        "scans.sequential",
    ]


def test_a_reason_counts_unless_it_is_worth_trying_again(
    tmp_path: Path, held: suite.Contest
) -> None:
    place, problem = store.Place(tmp_path), problem_at(held, ONE)
    found = results(10.0)
    found.missing("scans.sequential", "not run", "no answer within 300 s at the stage 'contract'")
    place.add("smoke", held, problem, found)
    assert place.lacking("smoke", problem) == []
    found.missing("scans.prefix_scan", "not run", "the machine was busy", "time", again=True)
    place.add("smoke", held, problem, found)
    assert place.lacking("smoke", problem) == ["scans.prefix_scan"]


def test_a_broken_file_is_named_skipped_and_kept(tmp_path: Path, held: suite.Contest) -> None:
    place, problem = store.Place(tmp_path), problem_at(held, ONE)
    place.add("smoke", held, problem, results(10.0, 20.0))
    file = place.file("cpu")
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    with pytest.warns(results_folder.CorruptResults, match=file.name):
        assert results_folder.read_all(tmp_path) == []
    with pytest.warns(results_folder.CorruptResults, match="kept as"):
        place.add("smoke", held, problem, results(10.0, 20.0))
    assert results_folder.read_all(tmp_path)
    assert file.with_suffix(".json.broken").read_text() == whole[: len(whole) // 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"version": 2}', '{"version": 3}'])
def test_no_content_of_a_file_stops_the_reader(tmp_path: Path, text: str) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "0123abcd-env.json").write_text(text)
    with pytest.warns(results_folder.CorruptResults, match="0123abcd-env"):
        assert results_folder.read_all(tmp_path) == []


def test_asv_reads_what_is_written(tmp_path: Path, held: suite.Contest) -> None:
    from asv.results import iter_results

    store.Place(tmp_path).add("smoke", held, problem_at(held, ONE), results(10.0, 20.0))
    (found,) = iter_results(str(tmp_path))
    name = "kernels.SmokeLinearRecurrence.track_time"
    axes = [[repr(x) for x in axis] for axis in (held.plugins, (ONE, OTHER), ("float32",))]
    first, *_, last = found.get_result_value(name, axes)
    assert first == 14.0
    assert last is None or math.isnan(last)
    facts = json.loads((tmp_path / found.params["machine"] / "machine.json").read_text())
    assert facts["kind"] == "cpu"


def test_the_table_has_a_row_a_measurement(tmp_path: Path, held: suite.Contest) -> None:
    store.Place(tmp_path).add("smoke", held, problem_at(held, ONE), results(10.0, 20.0))
    found = results_folder.read_all(tmp_path)
    table = tidy_table.frame(found)
    assert len(table) == len(found) == 4
    assert set(table["metric"]) <= set(KERNEL)
    tidy_table.export(found, tmp_path / "all.parquet")
    tidy_table.export(found, tmp_path / "all.csv")
    with pytest.raises(ValueError, match=r"all\.xlsx"):
        tidy_table.export(found, tmp_path / "all.xlsx")


def test_a_writer_that_has_imported_torch_stores_the_same_stack() -> None:
    import torch

    assert torch.get_num_threads() and "threads" in machine.stack()
    assert "threads" not in overlay.requirements()
