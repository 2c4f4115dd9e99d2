"""The suites that grow with T: what they hold, and that no slow loop takes the time of the others."""

import tomllib

import pytest

from bench.engine import runner, suite
from bench.engine.checkout import TREE
from bench.record import measurement

GROWING = ("lengths", "long")


def lengths(contest: suite.Contest) -> list[int]:
    return [measurement.dims(sizes)["T"] for sizes in contest.sizes]


@pytest.mark.parametrize("name", GROWING)
def test_only_the_length_grows(name: str) -> None:
    for contest in suite.load(name).contests:
        others = {tuple((measurement.dims(sizes) | {"T": 0}).items()) for sizes in contest.sizes}
        assert len(others) == 1, contest.op
        assert lengths(contest) == sorted(set(lengths(contest)))
        assert len(lengths(contest)) >= 3


@pytest.mark.parametrize("name", GROWING)
def test_the_baseline_takes_part_and_nobody_takes_all_the_time(name: str) -> None:
    for contest in suite.load(name).contests:
        assert contest.baseline in contest.plugins
        assert contest.seconds is not None
        for problem in runner.problems(contest, "cpu"):
            assert problem.seconds == contest.seconds


def test_error_is_taken_by_dtype_at_every_length_of_a_cpu() -> None:
    for contest in suite.load("lengths").contests:
        assert contest.dtypes == ("float32", "bfloat16")
        taken = {
            (problem.dtype, problem.sizes["T"])
            for problem in runner.problems(contest, "cpu")
            if {"error", "time", "traffic"} <= set(problem.metrics)
        }
        assert len(taken) == 2 * len(contest.sizes)


def test_the_middle_of_the_lengths_is_the_problem_of_the_smoke_suite() -> None:
    smoke = {contest.op: contest.sizes for contest in suite.load("smoke").contests}
    for contest in suite.load("lengths").contests:
        # its own problem there is longer, and is what 026 claims something about
        if contest.op != "matrix_recurrence":
            assert set(smoke[contest.op]) <= set(contest.sizes)


@pytest.mark.parametrize("seconds", ["0", "-1", "'20'"])
def test_seconds_that_are_none_are_refused(
    seconds: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suites").mkdir()
    text = (TREE / "suites" / "canary.toml").read_text() + f"seconds = {seconds}\n"
    assert tomllib.loads(text)
    (tmp_path / "suites" / "bad.toml").write_text(text)
    (tmp_path / "correctness").symlink_to(TREE / "correctness")
    monkeypatch.setattr(suite, "TREE", tmp_path)
    with pytest.raises(ValueError, match="want a number above 0"):
        suite.load("bad")
