"""The suites that grow with T: what they hold, and that no slow loop takes the time of the others."""

import tomllib
from pathlib import Path

import pytest

from bench.engine import figures, runner, suite
from bench.engine.checkout import TREE
from bench.engine.contest import case_of
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


def test_decoding_takes_one_step_from_a_state_and_meets_no_rival_without_one() -> None:
    steps = {each for each in suite.plugins() if each.startswith("inference.recurrent_step.")}
    contests = suite.load("decode").contests
    assert steps <= {plugin for contest in contests for plugin in contest.plugins}
    for contest in contests:
        assert {measurement.dims(sizes)["T"] for sizes in contest.all_sizes} == {1}
        assert contest.baseline in contest.plugins
        assert not contest.rivals
        assert all(not problem.rivals for problem in runner.problems(contest, "cpu"))


def test_a_single_step_moves_what_it_must_and_its_state_is_most_of_it() -> None:
    contest = next(each for each in suite.load("decode").contests if each.op == "delta_rule")
    (traced,) = (each for each in runner.problems(contest, "cpu") if "traffic" in each.metrics)
    for plugin in contest.plugins:
        case = case_of(traced, plugin)
        found = figures.trace(case, ["traffic", "traffic_ratio", "launches"])
        state = 2 * 2 * traced.sizes["B"] * traced.sizes["H"] * 64 * 64
        assert found["traffic_ratio"] == 1 and found["launches"] == 1, plugin
        assert state < float(found["traffic"]) < 1.1 * state, plugin


@pytest.mark.parametrize("given", ["true", "false", "'no'"])
def test_a_suite_may_do_without_rivals(
    given: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (TREE / "suites" / "decode.toml").read_text()
    planted(tmp_path, text.replace("rivals         = false", f"rivals = {given}"), monkeypatch)
    if given == "'no'":
        with pytest.raises(ValueError, match="rivals = 'no', want true or false"):
            suite.load("bad")
    else:
        assert {bool(each.rivals) for each in suite.load("bad").contests} == {given == "true"}


def planted(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``text`` the suite ``bad`` of a tree that is otherwise this one."""
    (folder / "suites").mkdir()
    (folder / "suites" / "bad.toml").write_text(text)
    for name in ("correctness", "impl"):
        (folder / name).symlink_to(TREE / name)
    monkeypatch.setattr(suite, "TREE", folder)


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
