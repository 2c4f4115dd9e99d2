"""What is measured by comes from this tree, also when another version of it is installed."""

import subprocess
import sys
from pathlib import Path

from bench.engine.checkout import TREE

ANOTHER = """
import sys
sys.path[:0] = [{another!r}, {tree!r}]
import suites.tasks
assert suites.tasks.WHO == "another"
from bench.engine.ruler import from_tree
ours = from_tree("suites.tasks")
assert ours.find("mqar-T32").name == "mqar-T32"
assert from_tree("suites.tasks") is ours
import suites.tasks
assert suites.tasks is ours
"""


def test_an_installed_version_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "suites" / "tasks").mkdir(parents=True)
    (tmp_path / "suites" / "__init__.py").touch()
    (tmp_path / "suites" / "tasks" / "__init__.py").write_text("WHO = 'another'")
    program = ANOTHER.format(another=str(tmp_path), tree=str(TREE))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
