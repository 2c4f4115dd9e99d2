"""The command line: JSON alone on standard output, one line and exit 2 for whatever is bad."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.commands import figures
from bench.engine.contest import Outcome
from bench.hardware import nvml
from bench.hardware.roofline import Calibration
from bench.record import results_folder
from bench.verdict import claims
from impl import registry
from suites import catalogue

RIGHT = '''
import torch
from impl.registry import implements

@implements("linear_recurrence", source="test")
def mine(a, b, h0=None):
    """Loop."""
    {body}
'''
ZEROS = RIGHT.format(body="return torch.zeros_like(b)")


MINIATURE = Path(__file__).parent / "miniature" / "results"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        status = main(words)
    except SystemExit as stop:  # argparse's own way out
        status = int(str(stop.code))
    out, err = capsys.readouterr()
    return status, out, err


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    status, out, err = run(capsys, *words)
    assert status == 0, err
    return json.loads(out)


def test_list_shows_every_plugin_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list", "--json")
    assert [row["id"] for row in rows] == list(registry.index())
    wanted = {"id", "op", "kind", "trick", "proposals", "backend", "needs", "available", "file"}
    assert all(wanted <= set(row) for row in rows)
    assert all(row["available"] == (row["reason"] is None) for row in rows)
    (row,) = [row for row in rows if row["id"] == "scans.cyclic_reduction.matrix"]
    assert row["proposals"] == ["026"]
    assert row["file"] == "impl/scans/cyclic_reduction.py"


def test_list_of_a_family_is_that_family(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list", "scans", "--json")
    assert rows
    assert all(row["id"].startswith("scans.") for row in rows)


def test_coverage_counts_the_whole_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list", "--coverage", "--json")
    totals = {
        kind: sum(row["total"] for row in rows if row["kind"] == kind)
        for kind in ("proposals", "tricks")
    }
    assert totals == {"proposals": 62, "tricks": 187}
    claimed = catalogue.names("proposals").keys() & claims.load_all().keys()
    assert sum(row["with_claims"] or 0 for row in rows) == len(claimed)


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("026", "proposal", "contradictions"),
        ("046", "proposal", "title"),
        ("cyclic-reduction", "trick", "plugins"),
        ("scans.sequential", "impl", "source"),
        ("mixers.cosformer", "mixer", "knobs"),
    ],
)
def test_show_finds_each_kind(
    capsys: pytest.CaptureFixture[str], name: str, kind: str, key: str
) -> None:
    found = answer(capsys, "show", name, "--json")
    assert found["kind"] == kind
    assert key in found
    assert run(capsys, "show", name)[0] == 0


def test_every_claims_file_names_plugins_that_exist() -> None:
    assert claims.load_all(plugins=registry.index())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lisst"], "invalid choice: 'lisst'"),
        (["list", "scanz"], "no family is called 'scanz'; near names: scans"),
        (["show", "cyclic-reductio"], "near names: cyclic-reduction"),
        (["show", "063"], "no proposal, plugin or trick is called '063'"),
        (["check", "scans.sequentia"], "near names: scans.sequential"),
        (
            ["measure", "scans.sequential", "--sizes", "B1-T8-D4", "--metric", "spills"],
            "spills is not taken of one call, but by: MADBENCH_SUITE=SUITE asv run",
        ),
        (["check", "nowhere.py:mine"], "no file 'nowhere.py'"),
        (["judge", "099"], "no proposal or goal is called '099'"),
        (["judge", "--results", "nowhere"], "no folder 'nowhere'"),
        (["run", "--suite", "smoke", "--budget", "soon"], "'soon', want seconds above 0"),
        (["run", "--suite", "smoke", "--budget", "-1"], "'-1', want seconds above 0"),
        (["run", "--suite", "smke", "--budget", "1"], "no suite is called 'smke'"),
        (["run", "--suite", "smoke", "--commit", "no-such"], "no commit is called 'no-such'"),
        (["history", "scans.sequentia"], "near names: scans.sequential"),
        (["history", "--metric", "tme"], "no metric is called 'tme'"),
        (["bisect", "nope", "HEAD~1", "HEAD"], "0 claims are called 'nope', want one like 0"),
        (["bisect", "026/beats-the-loop", "HEAD", "no-such"], "no commit is called 'no-such'"),
        (["bisect", "026/beats-the-loop", "HEAD", "HEAD"], "HEAD and HEAD are the same commit"),
        (["measure", "scans.sequential", "--sizes", "B1-T8-D4", "--metric", "tme"], "'tme'"),
        (
            ["measure", "scans.sequential", "--sizes", "8x4", "--metric", "time"],
            "sizes '8x4', want",
        ),
        (
            ["measure", "scans.sequential", "--sizes=B1-T8-D4", "--metric=time", "--dtype=fp32"],
            "no dtype is called 'fp32'",
        ),
        (
            [
                "measure",
                "scans.sequential",
                "--sizes=B1-T8-D4",
                "--metric=time",
                "--machine=abacus",
            ],
            "machine 'abacus' is not here, want cpu",
        ),
        (["export", "--out", "x.xlsx"], "want a name that ends in .csv or .parquet"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("madbench: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(nvml.gpu()[0] is not None, reason="there is a GPU here")
def test_absent_gpu_is_refused_and_not_blamed_on_the_plugin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, "check", "scans.sequential", "--machine", "cuda")
    assert (status, out) == (2, "")
    assert "device 'cuda', want cpu here" in err


def test_sizes_of_the_wrong_axes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", "scans.sequential", "--sizes", "B1-T8-N4", "--metric", "error", "--json"]
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert "want B..-T..-D.." in err.splitlines()[-1]


def test_measure_answers_with_the_figure_and_its_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["measure", "scans.sequential", "--sizes", "B1-T8-D4", "--metric", "error", "--json"]
    found = answer(capsys, *words)
    wanted = "id sizes dtype knobs machine metric unit value interval modelled"
    assert list(found) == wanted.split()
    assert found["knobs"] == ""
    assert found["interval"] == [found["value"], found["value"]]
    assert 0 <= found["value"] < 1e-6


def test_check_tells_a_wrong_function_outside_the_project(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(ZEROS)
    status, out, _ = run(capsys, "check", f"{file}:mine", "--json")
    found = json.loads(out)
    assert status == 1
    assert found["outcome"] == "wrong"
    assert {"name", "outcome", "error", "bound", "sizes", "dtype"} <= set(found["checks"][0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            ZEROS.replace("import torch", "raise RuntimeError('no luck')", 1),
            "RuntimeError: no luck",
        ),
        (ZEROS + "\ndef broken(:\n", "cannot be read as Python"),
        (ZEROS.replace('source="test"', ""), "a plugin names its source"),
    ],
)
def test_plugin_that_cannot_be_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    status, out, err = run(capsys, "check", f"{file}:mine")
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_history_of_the_miniature_names_changes_and_turns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["history", "009", "--results", str(MINIATURE), "--json"]
    found = answer(capsys, *words)
    loss = next(row for row in found["changes"] if row["worse"])
    assert (loss["plugin"], loss["metric"], loss["recovered"]) == (
        "mixers.cosformer",
        "accuracy",
        None,
    )
    assert loss["change"] == "-0.4 fraction (0.901 to 0.501 fraction)"
    assert {row["proposal"] for row in found["turns"]} == {"009"}
    status, out, _ = run(capsys, *words[:-1])
    assert status == 0 and f"{loss['commit'][:8]}  {loss['committed'][:10]}" in out
    for metric in ("accuracy", "time"):
        rows = answer(capsys, *words, "--metric", metric)["changes"]
        assert {row["metric"] for row in rows} <= {metric}
    assert answer(capsys, *words, "--metric", "time")["changes"] == []


def test_history_of_nothing_is_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = answer(capsys, "history", "--results", str(tmp_path), "--json")
    assert found == {"changes": [], "turns": [], "series": 0, "commits": 0}


def test_judge_of_nothing_is_untested_and_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = answer(capsys, "judge", "--results", str(tmp_path), "--json")
    assert set(found) == set(catalogue.judged())
    assert {one["verdict"] for one in found.values()} == {"UNTESTED"}
    (lack,) = [one for one in found["026"]["missing"] if one["claim"] == "beats-kogge-stone"]
    assert lack["suite"] == "smoke"
    assert lack["seconds"] > 0
    assert "cpu" in lack["machine"]
    wanted = {"id", "says", "role", "state", "metric", "value", "interval", "machine", "commit"}
    assert wanted | {"reported"} <= set(found["026"]["claims"][0])
    assert run(capsys, "judge", "026", "--results", str(tmp_path))[0] == 0


def test_corrupt_results_are_named_skipped_and_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "a-cpu" / "0123abcd-overlay.json"
    file.parent.mkdir()
    file.write_text('{"half": ')
    status, out, err = run(capsys, "judge", "026", "--results", str(tmp_path), "--json")
    assert status == 0
    assert json.loads(out)["026"]["verdict"] == "UNTESTED"
    assert "warning: " in err
    assert str(file) in err
    assert file.read_text() == '{"half": '


def test_bad_claims_file_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "026.toml"
    file.write_text("proposal = ")
    monkeypatch.setattr(claims.load_all, "__defaults__", (tmp_path,))
    for words in (["judge"], ["list"], ["show", "026"]):
        status, out, err = run(capsys, *words)
        assert (status, out) == (2, "")
        assert str(file) in err
        assert err.count("\n") == 1


def test_interrupt_exits_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.hardware.machine.doctor", interrupted)
    assert run(capsys, "doctor")[0] == 130


def test_interrupted_run_keeps_what_it_has_and_exits_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    reached = Calibration(copies={2**20: [1.0]}, products={"fp32": [1.0]})
    monkeypatch.setattr("bench.engine.ceilings.measure", lambda *_: reached)
    monkeypatch.setattr("bench.engine.runner.hold_apart", interrupted)
    words = ["run", "--suite", "smoke", "--budget", "9", "--out", str(tmp_path), "--json"]
    status, out, _ = run(capsys, *words)
    assert status == 130
    assert json.loads(out)["measured"] == 1
    (kept,) = results_folder.read_all(tmp_path, aside=True)[:1]
    assert kept.samples == (1.0,)


@pytest.mark.parametrize("words", [["list"], ["show", "026"], ["list", "--coverage"]])
def test_listing_imports_no_torch_and_is_quick(words: list[str]) -> None:
    program = (
        "import sys, time; from bench.cli import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'triton', 'pandas', 'numpy', 'asv'} & set(sys.modules);"
        "print(time.process_time(), *heavy, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--json"],
        check=False,
        capture_output=True,
        text=True,
    )
    seconds, *heavy = done.stderr.split()
    assert done.returncode == 0
    assert heavy == []
    # Of the processor, start of Python included. A quiet core takes 0.3 s and one whose twin is
    # busy half as much again; torch alone takes longer than the limit.
    assert float(seconds) < 1.0


def test_closed_pipe_is_no_error() -> None:
    reader = subprocess.Popen(["head", "-c", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    listing = subprocess.Popen(
        [sys.executable, "-m", "bench", "list", "--json"],
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
    )
    assert reader.stdin is not None
    reader.stdin.close()
    reader.wait()
    _, err = listing.communicate()
    assert err == b""


def test_doctor_says_what_an_absence_costs(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    rows = answer(capsys, "doctor", "--json")
    assert time.monotonic() - began < 30
    assert all(row["consequence"] for row in rows if row["state"] == "missing")


def test_missing_figures_are_told_once_a_reason_and_wrong_ones_first() -> None:
    def outcome(plugin: str, **more: Any) -> Outcome:
        return Outcome(plugin=plugin, **{"outcome": "not run", "reason": "needs a GPU", **more})

    busy = [outcome("a", reason=f"busy: {n} samples", metric="time", again=True) for n in (3, 40)]
    wrong = outcome("b", outcome="wrong", reason="forward: output 0")
    rows = figures.by_reason([outcome("b"), outcome("a"), *busy, wrong])
    assert [row["reason"] for row in rows] == [
        "forward: output 0",
        "needs a GPU",
        "busy: n samples",
    ]
    assert [(row["figures"], row["of"]) for row in rows] == [(1, "b"), (2, "a, b"), (2, "a")]
