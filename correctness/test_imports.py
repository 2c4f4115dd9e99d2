"""Imports flow one way: impl <- correctness <- bench; a listing of the suite imports no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "impl": {"impl"},
    "suites": {"suites"},
    "correctness": {"correctness", "impl", "suites"},
    "bench": {"impl", "correctness", "suites"},  # its own modules by relative import only
}
FILES = [file for package in MAY_IMPORT for file in sorted((ROOT / package).rglob("*.py"))]


def packages(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])
def test_imports_only_what_lies_before_it(file):
    package = file.relative_to(ROOT).parts[0]
    ours = set(packages(file)) & set(MAY_IMPORT)
    # tests and programs of the bench are its users, and take it by name
    uses = package == "bench" and ("tests" in file.parts or "__main__" in file.read_text())
    allowed = MAY_IMPORT[package] | ({"bench"} if uses else set())
    assert ours <= allowed


def test_listing_imports_no_torch():
    code = "import sys, impl.registry as r; r.index(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
