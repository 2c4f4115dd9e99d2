"""The README's example, dropped into a copy of the project, is found everywhere with no other edit."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("impl", "correctness", "bench", "suites")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that differs by one new file."""
    place = tmp_path_factory.mktemp("project")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (place / "results").mkdir()
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example is not None
    (place / "impl" / "scans" / "halving.py").write_text(example[1])
    return place


def python(project: Path, *arguments: str) -> str:
    """Standard output of Python in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(project), "MADBENCH_SUITE": "smoke"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_is_listed(project: Path) -> None:
    listed = json.loads(python(project, "-m", "bench", "list", "scans", "--json"))
    assert "scans.halving" in [plugin["id"] for plugin in listed]


def test_passes_the_contract(project: Path) -> None:
    report = json.loads(python(project, "-m", "bench", "check", "scans.halving", "--json"))
    assert report["outcome"] == "ok"


def test_is_a_contestant_for_asv(project: Path) -> None:
    code = "import bench.kernels as k; print(*k.SmokeLinearRecurrence.params[0])"
    assert "scans.halving" in python(project, "-c", code).split()


def test_is_on_the_site(project: Path) -> None:
    code = (
        "from pathlib import Path; from bench.verdict import contents, current, page\n"
        "results = Path('results')\n"
        "found = contents.contents(results, [], current.judgements(results))\n"
        "Path('html').mkdir(); page.write(Path('html'), {**found, 'commit_url': None})"
    )
    python(project, "-c", code)
    assert "scans.halving" in (project / "html" / "verdicts.js").read_text()
