"""Learning curves are read as they were kept, with the floor of their task."""

import json
from pathlib import Path

import pytest

from bench.engine import store
from bench.lab import tryout_record
from bench.lab.training.run import Run
from bench.record.results_folder import CorruptResults
from bench.verdict import curves
from suites import tasks

TASK = "mqar-T32"


def run(seed: int, **more: object) -> Run:
    given: dict[str, object] = {
        "mixer": "mixers.linear_attention",
        "task": TASK,
        "seed": seed,
        "rate": 0.01,
        "tokens": 2000,
        "accuracy": 0.5,
        "accuracy_trained": 0.75,
        "normalised": 0.5,
        "tokens_to_threshold": None,
        "outcome": "ok",
        "losses": ((1000, 2.5), (2000, 1.5)),
        "accuracies": ((1000, 0.25), (2000, 0.75)),
        "by_length": ((32, 0.75), (64, 0.5)),
        "gradients": ((1000, 1.5), (2000, 0.5)),
        "flops": 300,
        "parameters": 10,
        "state_size": 20,
        "seconds": 1.0,
        "device": "cpu",
    }
    return Run(**{**given, **more})  # type: ignore[arg-type]


def kept(folder: Path, *runs: Run) -> Path:
    place = store.Place(folder)
    place.keep_curves("cpu", ["smoke", TASK], [tryout_record.curve(each) for each in runs])
    (file,) = folder.glob("*/*.curves.jsonl")
    return file


def test_what_was_kept_is_read_with_the_floor_of_the_task(tmp_path: Path) -> None:
    file = kept(tmp_path, run(1), run(0))
    first, second = curves.curves(tmp_path)
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first == {
        "machine": file.parent.name,
        "suite": "smoke",
        "task": TASK,
        "mixer": "mixers.linear_attention",
        "seed": 0,
        "rate": 0.01,
        "tokens": 2000,
        "outcome": "ok",
        "accuracy": 0.5,
        "accuracies": [[1000, 0.25], [2000, 0.75]],
        "losses": [[1000, 2.5], [2000, 1.5]],
        "commit": file.name[:8],
        "floor": tasks.find(TASK).floor,
        "metric": "accuracy",
        "unit": "fraction",
        "higher_is_better": True,
        "by_length": [[32, 0.75], [64, 0.5]],
        "gradients": [[1000, 1.5], [2000, 0.5]],
        "reason": "",
        "flops": 300,
        "parameters": 10,
        "state_size": 20,
    }


def test_a_line_of_before_more_was_told_is_read(tmp_path: Path) -> None:
    file = kept(tmp_path, run(0))
    told = ("by_length", "gradients", "reason", "flops")
    line = {name: v for name, v in json.loads(file.read_text()).items() if name not in told}
    file.write_text(json.dumps(line))
    (found,) = curves.curves(tmp_path)
    assert [found[name] for name in told] == [[], [], None, None]
    assert found["accuracy"] == 0.5


def test_a_loss_that_is_no_number_is_none(tmp_path: Path) -> None:
    kept(tmp_path, run(0, outcome="diverged", losses=((1000, float("nan")),)))
    (found,) = curves.curves(tmp_path)
    assert found["losses"] == [[1000, None]]
    assert json.dumps(found, allow_nan=False)


def test_a_task_that_is_no_longer_there_has_no_floor(tmp_path: Path) -> None:
    file = kept(tmp_path, run(0))
    file.write_text(file.read_text().replace(TASK, "gone-T1"))
    (found,) = curves.curves(tmp_path)
    assert (found["task"], found["floor"]) == ("gone-T1", None)


def test_a_curve_says_which_way_its_score_is_better(tmp_path: Path) -> None:
    file = kept(tmp_path, run(0))
    file.write_text(file.read_text().replace(TASK, "language_modelling-T64"))
    (found,) = curves.curves(tmp_path)
    assert (found["metric"], found["higher_is_better"]) == ("perplexity", False)


@pytest.mark.parametrize(
    "line",
    [
        '{"group": ["smoke", "mqar-T32"], "mix',
        "[]",
        '{"group": "smoke", "mixer": "x"}',
        '{"group": ["smoke", "mqar-T32"], "mixer": "x"}',
    ],
)
def test_a_broken_line_is_named_and_the_others_count(tmp_path: Path, line: str) -> None:
    file = kept(tmp_path, run(0))
    file.write_text(f"{line}\n{file.read_text()}")
    with pytest.warns(CorruptResults, match="not read"):
        (found,) = curves.curves(tmp_path)
    assert found["seed"] == 0


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "0"), ("mixer", 3), ("losses", [[1]]), ("accuracy", "high")]
)
def test_a_line_with_a_wrong_value_is_named(tmp_path: Path, name: str, value: object) -> None:
    file = kept(tmp_path, run(0))
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.warns(CorruptResults, match="a learning curve not read"):
        assert curves.curves(tmp_path) == []
