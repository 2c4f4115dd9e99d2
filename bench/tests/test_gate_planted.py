"""The gate end to end, without a clock: faults planted in small trees are found, and nothing else."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench import cli
from bench.engine import checkout
from bench.engine.checkout import Commit
from bench.gate import binaries, command, report
from bench.gate.binaries import Subject
from bench.gate.finding import Answer, Finding

ROOT = Path(__file__).parents[2]
PLUGIN = '''"""The loop."""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.registry import implements


@implements("linear_recurrence", source="textbook")
def {name}(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """One step after another."""
    if min(b.shape) < 1:
        raise ValueError(f"shape {{tuple(b.shape)}}, want at least 1 of everything")
    if a.shape != b.shape or (h0 is not None and h0.shape != b[:, 0].shape):
        raise ValueError("unequal shapes, want equal ones")
    h, states = torch.zeros_like(b[:, 0]) if h0 is None else h0, []
    for t in range(b.shape[1]):
        h = {step}
        states.append(h)
    return torch.stack(states, dim=1)
'''
STEP = "torch.addcmul(b[:, t], a[:, t], h)"
COPIED, SIGNED, COARSE = f"{STEP}.clone()", "b[:, t] - a[:, t] * h", f"{STEP} * 3 / 3"
BASE = {
    "commented": STEP,
    "copied": STEP,
    "signed": STEP,
    "coarse": STEP,
    "unimportable": STEP,
    "removed": STEP,
    "absent": STEP,
    "better": COPIED,
    "mended": SIGNED,
}


def tree(root: Path, steps: Mapping[str, str]) -> Path:
    """A tree of ``correctness`` and of plugins that differ by what they do in a step."""
    skip = shutil.ignore_patterns("__pycache__", "test_*.py")
    shutil.copytree(ROOT / "correctness", root / "correctness", ignore=skip)
    (root / "impl" / "scans").mkdir(parents=True)
    for name in ("__init__.py", "registry.py"):
        shutil.copy(ROOT / "impl" / name, root / "impl" / name)
    for name, step in steps.items():
        edit(root, name, PLUGIN.format(name=name, step=step))
    absent = PLUGIN.format(name="absent", step=steps["absent"])
    edit(root, "absent", absent.replace('"textbook"', '"textbook", needs=("no_such_package",)'))
    return root


def edit(root: Path, name: str, text: str) -> None:
    (root / "impl" / "scans" / f"{name}.py").write_text(text)


def commit(root: Path, name: str) -> Commit:
    return Commit(name * 40, 0, clean=True, tree=root)


def held(base: Path, head: Path) -> report.Report:
    asked = command.Asked(suite="canary", clock=False)
    return command.gate(commit(base, "a"), commit(head, "b"), asked, lambda _: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base tree; contracts are kept beside it."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("gate")
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("MADBENCH_DEVICE", "cpu")
        tree(place / "base", BASE)
        yield place


@pytest.fixture(scope="module")
def good(folder: Path) -> report.Report:
    """A change with nothing worse in it."""
    kept = {name: step for name, step in BASE.items() if name != "removed"}
    head = tree(folder / "good", kept | {"better": STEP, "mended": STEP, "fresh": STEP})
    absent = PLUGIN.format(name="absent", step=COPIED)
    edit(head, "absent", absent.replace('"textbook"', '"textbook", needs=("no_such_package",)'))
    edit(head, "commented", "# why\n" + PLUGIN.format(name="commented", step=STEP))
    return held(folder / "base", head)


@pytest.fixture(scope="module")
def bad(folder: Path) -> report.Report:
    """A change in which most is worse."""
    worse = {"copied": COPIED, "signed": SIGNED, "coarse": COARSE}
    head = tree(folder / "bad", BASE | worse)
    broken = PLUGIN.format(name="unimportable", step=STEP)
    edit(head, "unimportable", broken.replace("import torch", "import torch\nimport impl.gone", 1))
    return held(folder / "base", head)


def lines(found: report.Report, plugin: str) -> dict[str, Finding]:
    return {each.metric: each for each in found.findings if each.plugin == f"scans.{plugin}"}


def test_a_change_with_nothing_worse_is_kept(good: report.Report) -> None:
    assert good.answer is Answer.KEEP
    assert set(good.reach.plugins) == {"scans.better", "scans.mended", "scans.absent"}


def test_less_traffic_is_kept_and_shown(good: report.Report) -> None:
    found = lines(good, "better")["traffic"]
    assert found.why == "better" and found.change is not None and found.change < 1
    assert "Changed and kept" in report.text(good)


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ("fresh", "new, no base, its contract holds"),
        ("removed", "removed: the head has no such plugin"),
        ("absent", "absent here: needs the package no_such_package"),
        ("mended", "mended: the base is wrong"),
    ],
)
def test_what_has_no_two_sides_has_a_line(good: report.Report, plugin: str, says: str) -> None:
    (found,) = lines(good, plugin).values()
    assert found.why.startswith(says)
    assert says in report.text(good)


def test_a_comment_is_not_measured(good: report.Report) -> None:
    assert not lines(good, "commented")


def test_a_change_for_the_worse_is_a_regression(bad: report.Report) -> None:
    assert bad.answer is Answer.REGRESSION
    worse = {each.plugin for each in bad.findings if each.answer is Answer.REGRESSION}
    assert worse == {f"scans.{name}" for name in ("copied", "signed", "coarse", "unimportable")}


def test_an_extra_copy_is_found_in_traffic_and_launches(bad: report.Report) -> None:
    found = lines(bad, "copied")
    assert found["launches"].head == found["launches"].base + 64  # type: ignore[operator]
    assert found["traffic"].answer is found["launches"].answer is Answer.REGRESSION
    assert found["error"].answer is Answer.KEEP


def test_a_wrong_sign_breaks_the_contract_and_shows_no_figure(bad: report.Report) -> None:
    (found,) = lines(bad, "signed").values()
    assert found.metric == "contract" and "ok at the base, now wrong: forward" in found.why


def test_a_step_that_rounds_more_often_errs_more(bad: report.Report) -> None:
    found = lines(bad, "coarse")["error"]
    assert found.answer is Answer.REGRESSION and found.change is not None and found.change > 1.15


def test_a_plugin_that_cannot_be_imported_any_more_is_a_regression(bad: report.Report) -> None:
    (found,) = lines(bad, "unimportable").values()
    assert "No module named 'impl.gone'" in found.why


def test_the_same_commits_give_the_same_bytes(folder: Path, bad: report.Report) -> None:
    again = held(folder / "base", folder / "bad")
    assert json.dumps(again.facts()) == json.dumps(bad.facts())
    assert report.markdown(again) == report.markdown(bad)


def test_a_file_that_is_no_python_is_named_and_nothing_else_is_tried(folder: Path) -> None:
    head = tree(folder / "torn", BASE)
    edit(head, "copied", "def copied(:\n")
    found = held(folder / "base", head)
    (line,) = found.findings
    assert found.answer is Answer.REGRESSION and line.plugin == "impl/scans/copied.py"
    back = held(head, folder / "base")
    assert back.answer is Answer.KEEP and "mended" in back.findings[0].why


KERNEL = """
import torch, triton
import triton.language as tl
from impl.registry import implements

@triton.jit
def _copy(x_ptr, y_ptr, N, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    {line}
    tl.store(y_ptr + here, x, mask=here < N)

@implements("linear_recurrence", source="none", needs=("triton",), excuses={{"backward": "none"}})
def {name}(a, b, h0=None):
    y = torch.empty_like(b)
    _copy[(triton.cdiv(b.numel(), 256),)](b, y, b.numel(), 256)
    return y
"""


def test_a_renamed_variable_leaves_the_binary_as_it_was(folder: Path) -> None:
    load = "x = tl.load(x_ptr + here, mask=here < N)"
    heads = {"renamed": load.replace("x =", "z =") + "; x = z", "doubled": f"{load} * 2"}
    sides = [tree(folder / name, {"absent": STEP}) for name in ("before", "after")]
    for name, line in heads.items():
        for root, said in zip(sides, (load, line), strict=True):
            edit(root, name, KERNEL.format(name=name, line=said))
    subjects = [
        Subject(plugin=f"scans.{name}", op="linear_recurrence", sizes="B1-T64-D8") for name in heads
    ]
    base, head = (commit(root, name) for root, name in zip(sides, "ab", strict=True))
    found = binaries.both(subjects, base, head, lambda _: None)
    renamed, doubled = (found[each] for each in subjects)
    assert set(renamed[0]) == {"sm_80", "sm_90", "sm_100"}
    assert binaries.identical(*renamed) and not binaries.identical(*doubled)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two commits of a small tree, the second with a comment more."""
    place = tree(tmp_path / "repository", BASE)
    monkeypatch.setattr(checkout, "TREE", place)
    monkeypatch.setattr(checkout, "TREES", tmp_path / "trees")
    checkout.here.cache_clear()
    checkout.git("init", "-q", "-b", "main")
    for comment in ("# first\n", "# second\n"):
        edit(place, "copied", comment + PLUGIN.format(name="copied", step=STEP))
        checkout.git("add", ".")
        checkout.git("-c", "user.name=m", "-c", "user.email=m@e", "commit", "-qm", comment)
    checkout.here.cache_clear()
    yield place
    checkout.here.cache_clear()


def test_a_comment_only_change_is_kept_in_seconds(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["gate", "HEAD~1", "HEAD", "--suite", "canary", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["answer"] == "keep" and facts["findings"] == facts["reach"]["plugins"] == []
    assert cli.main(["gate", "HEAD~1", "--suite", "canary"]) == 0
    assert "no plugin is reached" in capsys.readouterr().out


def test_a_changed_stack_is_told(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "constraints.txt").write_text("torch==1\n")
    checkout.git("add", ".")
    checkout.git("-c", "user.name=m", "-c", "user.email=m@e", "commit", "-qm", "another torch")
    checkout.here.cache_clear()
    assert cli.main(["gate", "HEAD~1", "--suite", "canary", "--format", "markdown"]) == 0
    assert "constraints.txt differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-branch"],
        ["HEAD", "no-such-branch"],
        ["HEAD", "--suite", "none"],
        ["HEAD", "--budget", "-1"],
        ["HEAD", "--format", "html"],
        [],
    ],
)
def test_bad_input_is_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    try:
        status = cli.main(["gate", *words])
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    complaint = [line for line in said.err.splitlines() if line.startswith("madbench: ")]
    assert len(complaint) == 1


def test_ctrl_c_ends_with_130(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> report.Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "gate", interrupted)
    assert cli.main(["gate", "HEAD"]) == 130
    assert capsys.readouterr().out == ""
