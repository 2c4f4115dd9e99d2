"""The workflows are well formed, ask for no more than they need, and name commands that exist."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import cli

ROOT = Path(__file__).parents[2]
WORKFLOWS = {file.name: file for file in (ROOT / ".github" / "workflows").iterdir()}
MAY_WRITE = {
    ("comment.yml", "comment"): {"pull-requests"},
    ("nightly.yml", "keep"): {"contents"},
    ("nightly.yml", "deploy"): {"pages", "id-token"},
}
RUNS_NO_CODE = {"actions/download-artifact", "actions/github-script"}
ACTION = re.compile(r"(actions/[a-z-]+)@v[0-9]+")


def tool(name: str) -> str:
    """The program, beside this Python or on PATH; skips the test where it is not installed."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: it comes with the project's extra 'dev', or Node")
    return found


def complaints(name: str, text: str) -> list[str]:
    """What a workflow may not do."""
    workflow = yaml.safe_load(text)
    # YAML takes the key `on` for true
    triggers = workflow[True]
    found = []
    if "pull_request_target" in triggers:
        found.append("code of a pull request beside a token that may write")
    if set(workflow.get("permissions", {"all": "write"}).items()) - {("contents", "read")}:
        found.append("a workflow gives its jobs no more than contents: read")
    for job_name, job in workflow["jobs"].items():
        found += (f"{job_name}: {one}" for one in _of_job(name, job_name, job, triggers))
    return found


def _of_job(name: str, job_name: str, job: Mapping[str, Any], triggers: Any) -> Iterator[str]:
    scopes = job.get("permissions", {})
    writes = {scope for scope, level in scopes.items() if level == "write"}
    if writes - MAY_WRITE.get((name, job_name), set()):
        yield f"may write {', '.join(sorted(writes))}"
    if "timeout-minutes" not in job:
        yield "has no end"
    if "self-hosted" in job["runs-on"]:
        if job.get("concurrency") != {"group": "gpu"}:
            yield "another may run on the same GPU"
        if "pull_request" in triggers and "github.event.label.name == 'bench'" not in job["if"]:
            yield "runs code of a pull request on our runner, and nobody said that it may"
    for step in job["steps"]:
        yield from _of_step(step, can_push="contents" in writes)
        if "workflow_run" in triggers and step.get("uses", "").split("@")[0] not in RUNS_NO_CODE:
            yield f"beside a token that may write: {step}"


def _of_step(step: Mapping[str, Any], *, can_push: bool) -> Iterator[str]:
    script = step.get("run", "") + step.get("with", {}).get("script", "")
    if "${{" in script:
        yield "text from elsewhere in a script, want it in env"
    if "uses" not in step:
        return
    action = ACTION.fullmatch(step["uses"])
    if action is None:
        yield f"{step['uses']}, want an action of GitHub's own at a major version"
    elif action[1] == "actions/checkout":
        keeps = step.get("with", {}).get("persist-credentials", True)
        if keeps and not can_push:
            yield "keeps a token that it does not need"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_does_nothing_that_it_may_not(name: str) -> None:
    assert complaints(name, WORKFLOWS[name].read_text()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        (
            "comment.yml",
            "    steps:\n",
            "    steps:\n      - uses: actions/checkout@v6\n",
            "beside a token",
        ),
        ("comment.yml", "    steps:\n", "    steps:\n      - run: make\n", "beside a token"),
        (
            "gate.yml",
            "run: make setup",
            "run: echo ${{ github.event.pull_request.title }}",
            "in a script",
        ),
        (
            "comment.yml",
            'const fs = require("fs");',
            "const title = `${{ github.event.workflow_run.display_title }}`;",
            "in a script",
        ),
        ("gate.yml", "contents: read", "contents: write", "no more than contents: read"),
        ("gate.yml", "permissions:\n  contents: read\n", "", "no more than contents: read"),
        ("nightly.yml", "pages: write", "contents: write", "may write contents"),
        ("gate.yml", "on: pull_request", "on: pull_request_target", "token that may write"),
        ("gate.yml", "          persist-credentials: false\n", "", "keeps a token"),
        ("gate-gpu.yml", "github.event.label.name == 'bench' && ", "", "nobody said"),
        ("gate-gpu.yml", "group: gpu", "group: another", "same GPU"),
        ("gate.yml", "actions/setup-python@v6", "someone/setup-python@v6", "GitHub's own"),
        ("ci.yml", "    timeout-minutes: 60\n", "", "has no end"),
    ],
)
def test_a_planted_fault_in_a_workflow_is_found(
    name: str, old: str, new: str, complaint: str
) -> None:
    text = WORKFLOWS[name].read_text()
    assert old in text
    told = complaints(name, text.replace(old, new))
    assert [one for one in told if complaint in one], told


def lint(*files: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [tool("actionlint"), "-no-color", "-oneline", "-shellcheck", tool("shellcheck")]
    return subprocess.run(
        [*command, *files], cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )


def test_actionlint_finds_nothing() -> None:
    done = lint(*(str(file) for file in WORKFLOWS.values()))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("run: make setup", "run: echo ${{ github.event.pull_request.title }}", "[expression]"),
        ('.ci/gate gate "$BASE"', ".ci/gate gate $BASE", "[shellcheck]"),
        ("fetch-depth: 0", "fetch-depths: 0", "[action]"),
        ("github.base_ref", "github.base_reff", "[expression]"),
        ("ubuntu-latest", "ubuntu-lattest", "[runner-label]"),
    ],
)
def test_actionlint_finds_what_is_planted(old: str, new: str, kind: str) -> None:
    text = WORKFLOWS["gate.yml"].read_text()
    assert old in text
    done = lint("-", text=text.replace(old, new))
    assert done.returncode == 1 and kind in done.stdout


def test_scripts_of_ci_are_clean() -> None:
    files = [file for file in (ROOT / ".ci").iterdir() if file.read_bytes()[:2] == b"#!"]
    assert len(files) == 4
    done = subprocess.run(
        [tool("shellcheck"), *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


INLINE = r"`madbench ([^`]+)`"


def commands(text: str) -> Iterator[list[str]]:
    """The words of every madbench command on a line of its own or in backticks."""
    # a bare name in a sentence stands for the command, whatever it must be given
    told = [f"{one} --help" if one.isalpha() else one for one in re.findall(INLINE, text)]
    told += re.findall(r'(?m)^[ \-]*(?:run: )?(?:\.venv/bin/)?"?\$?madbench"? (.+)$', text)
    for line in told:
        if re.match(r"[a-z]+(?= |$)", line):
            words = shlex.split(re.split(r" \|| >| &&|;", line)[0], comments=True)
            # any value does where a variable stands
            yield [re.sub(r"\$\{?\w+\}?", "1", word) for word in words if word != "$@"]


def misfit(words: list[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """Why our own command line refuses the words."""
    try:
        cli._parser().parse_args(words)
    except SystemExit as gone:
        if gone.code == 0:
            return None
        return f"madbench {' '.join(words)}: {capsys.readouterr().err}"
    return None


PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "gate", *WORKFLOWS.values()]


def test_every_command_that_is_written_down_exists(capsys: pytest.CaptureFixture[str]) -> None:
    found = [words for file in PROSE for words in commands(file.read_text())]
    assert {words[0] for words in found} >= {"gate", "run", "calibrate", "doctor", "history"}
    assert [told for words in found if (told := misfit(words, capsys))] == []


@pytest.mark.parametrize(
    "line",
    [
        "    madbench gate main HEAD --formats markdown   # a comment",
        "      - run: .venv/bin/madbench run --sweet core",
        '"$madbench" gates "$start" HEAD || status=$?',
        "then `madbench calibrates` tells",
    ],
)
def test_a_command_that_does_not_exist_is_found(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (words,) = commands(line)
    assert misfit(words, capsys)


PRELUDE = """
const told = [];
const calls = JSON.parse(process.argv[1]);
const core = {
  setFailed: (text) => told.push(["failed", text]),
  warning: (text) => told.push(["warning", text]),
};
const note = (name) => (what) => told.push([name, what]);
const github = {
  rest: {
    pulls: { get: async () => ({ data: calls.pull }) },
    issues: {
      listComments: "list", createComment: note("create"), updateComment: note("update"),
    },
  },
  paginate: async () => calls.comments,
};
const context = {
  repo: { owner: "o", repo: "r" },
  payload: { workflow_run: { name: "gate", head_sha: "abc", html_url: "address" } },
};
(async () => {
"""
FINALE = "\n})().then(() => process.stdout.write(JSON.stringify(told)));"
MARKER = "<!-- madbench: gate -->"
OPEN = {"state": "open", "head": {"sha": "abc"}}


def commented(
    folder: Path, number: str, report: str | None, *, pull: Any = OPEN, comments: Any = ()
) -> Any:
    """What the script of the comment workflow does with an artifact."""
    workflow = yaml.safe_load(WORKFLOWS["comment.yml"].read_text())
    script = workflow["jobs"]["comment"]["steps"][-1]["with"]["script"]
    (folder / "gate").mkdir()
    (folder / "gate" / "number").write_text(number)
    if report is not None:
        (folder / "gate" / "gate.md").write_text(report)
    calls = json.dumps({"pull": pull, "comments": list(comments)})
    command = [tool("node"), "-e", PRELUDE + script + FINALE, calls]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (told,) = json.loads(done.stdout)
    return told


def test_a_report_becomes_a_comment(tmp_path: Path) -> None:
    kind, what = commented(tmp_path, "12\n", "### KEEP\n")
    assert kind == "create" and what["issue_number"] == 12
    assert what["body"].startswith(f"{MARKER}\n\n### KEEP")


def test_a_second_report_replaces_our_comment_and_nobody_elses(tmp_path: Path) -> None:
    bot, human = {"login": "github-actions[bot]"}, {"login": "someone"}
    comments = [
        {"id": 1, "user": human, "body": MARKER},
        {"id": 2, "user": bot, "body": "another bot's"},
        {"id": 3, "user": bot, "body": f"{MARKER}\n\nold"},
    ]
    kind, what = commented(tmp_path, "12", "new", comments=comments)
    assert (kind, what["comment_id"]) == ("update", 3) and "new" in what["body"]


@pytest.mark.parametrize("number", ["12; rm", "../12", "", "-1", "1\n2"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    assert commented(tmp_path, number, "report")[0] == "failed"


@pytest.mark.parametrize(
    "pull", [{"state": "open", "head": {"sha": "other"}}, {"state": "closed", **OPEN["head"]}]
)
def test_another_pull_request_gets_no_comment(tmp_path: Path, pull: Any) -> None:
    assert commented(tmp_path, "13", "report", pull={"head": OPEN["head"], **pull})[0] == "warning"


def test_a_report_calls_nobody_and_is_cut(tmp_path: Path) -> None:
    _, what = commented(tmp_path, "12", f"@someone {MARKER} " + "x" * 100_000)
    body = what["body"]
    assert "@someone" not in body and body.count("<!--") == 1
    assert len(body) < 65536 and "the rest is in the artifact" in body


def test_a_gate_that_gave_no_report_says_so(tmp_path: Path) -> None:
    assert "no answer" in commented(tmp_path, "12", None)[1]["body"]


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "m", "GIT_AUTHOR_EMAIL": "m@example.org"}
    env = {**os.environ, **who, "GIT_COMMITTER_NAME": "m", "GIT_COMMITTER_EMAIL": "m@example.org"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of a repository with two commits and a folder of results."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    for which in ("one", "two"):
        (origin / "results" / "laptop").mkdir(parents=True, exist_ok=True)
        (origin / "results" / "laptop" / f"{which}.json").write_text(which)
        git(origin, "add", "-A")
        git(origin, "commit", "-q", "-m", which)
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    return clone


def gated(checkout: Path, exits: int, *, reports: bool = True) -> subprocess.CompletedProcess[str]:
    """``.ci/gate`` in the checkout, with a madbench that exits so."""
    fake = checkout.parent / "madbench"
    writes = 'mkdir -p "$5" && echo report | tee "$5/gate.md" >"$5/gate.json"' if reports else ""
    fake.write_text(f'#!/bin/sh\necho "$@"\n{writes}\nexit {exits}\n')
    fake.chmod(0o755)
    summary = str(checkout.parent / "summary")
    env = {**os.environ, "MADBENCH": str(fake), "GITHUB_STEP_SUMMARY": summary}
    command = [str(ROOT / ".ci" / "gate"), "out", "HEAD~1", "--no-clock"]
    return subprocess.run(
        command, cwd=checkout, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("exits", "status", "says"), [(0, 0, ""), (1, 1, "error"), (2, 0, "warn")])
def test_the_gate_of_a_pull_request_is_red_for_a_regression_alone(
    checkout: Path, exits: int, status: int, says: str
) -> None:
    done = gated(checkout, exits)
    assert done.returncode == status and f"::{says}" in f"::{done.stdout}"
    assert ("::" in done.stdout) == bool(says)
    start = git(checkout, "rev-parse", "HEAD~1")
    assert f"gate {start} HEAD --report out --no-clock" in done.stdout
    assert (checkout.parent / "summary").read_text() == "report\n"


@pytest.mark.parametrize(("exits", "reports"), [(2, False), (1, False), (0, False), (137, True)])
def test_a_gate_without_an_answer_is_an_error(checkout: Path, exits: int, reports: bool) -> None:  # noqa: FBT001
    done = gated(checkout, exits, reports=reports)
    assert done.returncode == 3 and "gave no answer" in done.stdout


def results(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / ".ci" / "results"), *words],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


def measured(checkout: Path, night: str) -> None:
    """One night: take, measure, pack, and keep in another checkout."""
    assert results(checkout, "take").returncode == 0
    (checkout / "results" / "gpu").mkdir(exist_ok=True)
    (checkout / "results" / "gpu" / f"{night}.json").write_text(night)
    packed = checkout.parent / "packed.tar.gz"
    assert results(checkout, "pack", str(packed)).returncode == 0
    other = checkout.parent / night
    git(checkout.parent, "clone", "-q", "-b", "main", str(checkout.parent / "origin"), str(other))
    assert results(other, "keep", str(packed)).returncode == 0


def test_results_of_every_night_are_kept_beside_those_of_main(checkout: Path) -> None:
    measured(checkout, "monday")
    fresh = checkout.parent / "fresh"
    git(checkout.parent, "clone", "-q", "-b", "main", str(checkout.parent / "origin"), str(fresh))
    measured(fresh, "tuesday")
    origin = checkout.parent / "origin"
    listed = git(origin, "ls-tree", "-r", "--name-only", "refs/heads/results").split()
    assert listed == ["results/gpu/monday.json", "results/gpu/tuesday.json"]
    assert git(origin, "rev-list", "--count", "refs/heads/results") == "2"
    again = results(fresh, "keep", str(checkout.parent / "packed.tar.gz"))
    assert again.returncode == 0 and "nothing new" in again.stdout
    assert git(origin, "rev-list", "--count", "refs/heads/results") == "2"
    assert results(checkout, "take").returncode == 0
    kept = sorted(file.name for file in (checkout / "results").rglob("*.json"))
    assert kept == ["monday.json", "one.json", "tuesday.json", "two.json"]


def test_where_origin_is_out_of_reach_nothing_is_taken_for_empty(checkout: Path) -> None:
    git(checkout, "remote", "set-url", "origin", str(checkout / "nowhere"))
    assert results(checkout, "take").returncode not in (0, 2)


def test_no_verb_is_no_command(checkout: Path) -> None:
    for words in ((), ("take", "more"), ("pack",), ("drop", "x")):
        done = results(checkout, *words)
        assert done.returncode == 2 and "want take" in done.stderr
