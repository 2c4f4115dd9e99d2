"""What asv finds under bench/: only what is meant for it, without importing torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engine import suite
from bench.engine.metrics import KERNEL
from bench.record import benchmark_name

BENCH = Path(__file__).parents[1]
SEEN_BY_ASV = {"kernels.py", "tasks.py", "static.py", "ceilings.py"}
MODULES = sorted(
    file.relative_to(BENCH.parent).with_suffix("").as_posix().replace("/", ".")
    for file in BENCH.rglob("*.py")
    if "tests" not in file.parts and not file.name.startswith(("__", "test_"))
)
PREFIXES = ("time_", "track_", "mem_", "peakmem_", "timeraw_", "setup", "teardown")


def test_importing_bench_imports_no_torch() -> None:
    heavy = "{'torch', 'triton', 'pandas', 'scipy'}"
    code = (
        f"import importlib, sys\nfor name in {MODULES}:\n    importlib.import_module(name)\n"
        f"    found = {heavy} & set(sys.modules)\n"
        "    if found: sys.exit(f'{name} imports {found}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("file", sorted(BENCH.rglob("*.py")), ids=lambda file: file.name)
def test_nothing_else_is_named_like_a_benchmark(file: Path) -> None:
    if file.name in SEEN_BY_ASV or "tests" in file.parts:
        return
    top = ast.parse(file.read_text()).body
    named = [node.name for node in top if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not [name for name in named if name.lower().startswith(PREFIXES)]


def test_every_op_has_a_class_with_every_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MADBENCH_SUITE", "smoke,core")
    classes = _classes()
    for name in ("smoke", "core"):
        for contest in suite.load(name).contests:
            held = classes[benchmark_name.class_name(name, contest.op)]
            assert held.params == (contest.everyone, contest.all_sizes, contest.dtypes)
            assert {f"track_{metric}" for metric in KERNEL} <= set(vars(held))


def test_no_two_classes_share_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from asv_runner.benchmarks._base import get_setup_cache_key

    monkeypatch.setenv("MADBENCH_SUITE", "smoke,core")
    keys = [get_setup_cache_key(held.setup_cache) for held in _classes().values()]
    assert len(set(keys)) == len(keys) > 10


def test_a_missing_figure_is_not_a_number_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MADBENCH_SUITE", "smoke")
    held = _classes()["SmokeLinearRecurrence"]()
    place = ("scans.sequential", "B2-T512-D64", "float32")
    assert held.track_time({}, *place) != held.track_time({}, *place)
    told = held.track_time({(*place, "time"): ((1.0, 2.0), 7)}, *place)
    assert told == {"samples": [1.0, 2.0], "number": 7}


def test_a_version_changes_with_the_problem_and_not_with_the_contestants() -> None:
    contest = suite.load("smoke").contests[0]
    fields = vars(contest)
    assert suite.Contest(**{**fields, "plugins": ("new",)}).version == contest.version
    assert suite.Contest(**{**fields, "sizes": ("B1-T2-D3",)}).version != contest.version


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[ops.ssd", "suites/bad.toml"),
        ("[ops.ssd]\nsizes = []\nbaseline = 'x'", "no dtypes"),
        ("[ops.ssd]\nsize = []", "unknown size"),
        ("[ops.ssd]\nsizes = ['T']\ndtypes = []\nbaseline = ''", "sizes 'T', want"),
        ("[ops.sdd]\nsizes = []\ndtypes = []\nbaseline = ''", "no op is called 'sdd'"),
    ],
)
def test_a_bad_suite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "bad.toml").write_text(text)
    (tmp_path / "correctness" / "ops").mkdir(parents=True)
    (tmp_path / "correctness" / "ops" / "ssd.py").touch()
    monkeypatch.setattr(suite, "TREE", tmp_path)
    with pytest.raises(ValueError, match=complaint):
        suite.load("bad")


def _classes() -> dict[str, type]:
    import importlib

    import bench.kernels

    module = importlib.reload(bench.kernels)
    return {name: each for name, each in vars(module).items() if isinstance(each, type)}
