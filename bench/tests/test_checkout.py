"""Any commit can be measured: its files are unpacked, and its plugins are found before those here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engine import checkout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two commits: in the second ``impl/idea.py`` says something else."""
    place = tmp_path / "repository"
    (place / "impl").mkdir(parents=True)
    monkeypatch.setattr(checkout, "TREE", place)
    monkeypatch.setattr(checkout, "TREES", place / ".asv" / "trees")
    checkout.here.cache_clear()
    checkout.git("init", "-q", "-b", "main")
    for number in (1, 2):
        (place / "impl" / "idea.py").write_text(f"SAYS = {number}\n")
        for name in ("__init__", "registry"):
            (place / "impl" / f"{name}.py").write_text("")
        checkout.git("add", "impl")
        checkout.git("-c", "user.name=m", "-c", "user.email=m@e", "commit", "-qm", f"{number}")
    yield place
    checkout.here.cache_clear()


def test_the_head_of_a_clean_tree_is_measured_where_it_lies(repository: Path) -> None:
    assert checkout.find("HEAD").tree == repository
    (repository / "impl" / "idea.py").write_text("SAYS = 3\n")
    checkout.here.cache_clear()
    assert not checkout.here().clean
    assert (checkout.find("HEAD").tree / "impl" / "idea.py").read_text() == "SAYS = 2\n"


def test_an_older_commit_is_unpacked_once(repository: Path) -> None:
    found = checkout.find("HEAD~1")
    assert found.clean and (found.tree / "impl" / "idea.py").read_text() == "SAYS = 1\n"
    before = found.tree.stat().st_ctime_ns
    assert checkout.find(found.hash[:10]) == found
    assert found.tree.stat().st_ctime_ns == before
    assert not list(checkout.TREES.glob(".half-*"))
    assert not checkout.git("status", "--porcelain", "--", "impl")


@pytest.mark.parametrize("name", ["no-such-branch", "--all", "", "HEAD~9"])
def test_what_git_does_not_know_is_refused(repository: Path, name: str) -> None:
    with pytest.raises(ValueError, match="want a hash, branch or tag"):
        checkout.find(name)


def test_a_commit_without_the_project_is_refused_and_nothing_moves(repository: Path) -> None:
    tree = checkout.git("hash-object", "-w", "-t", "tree", "/dev/null")
    bare = checkout.git(
        "-c", "user.name=m", "-c", "user.email=m@e", "commit-tree", tree, "-m", "bare"
    )
    before = checkout.git("rev-parse", "--abbrev-ref", "HEAD")
    with pytest.raises(ValueError, match="holds none of impl"):
        checkout.find(bare)
    assert checkout.git("rev-parse", "--abbrev-ref", "HEAD") == before == "main"


def test_commits_between_two_are_named_oldest_first(repository: Path) -> None:
    newest = checkout.find("HEAD").hash
    assert checkout.between("HEAD~1", "HEAD") == [newest]
    assert checkout.between("HEAD", "HEAD") == []


def test_a_process_finds_the_plugins_of_the_commit(repository: Path) -> None:
    found = checkout.find("HEAD~1")
    said = "import impl.idea; print(impl.idea.SAYS)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", said],
        env=found.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"
