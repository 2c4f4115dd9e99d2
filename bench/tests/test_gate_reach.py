"""Reach: what a change can touch follows from what the files import."""

from pathlib import Path

import pytest

from bench.gate import reach
from bench.gate.reach import Reach

PLUGIN = '''"""An idea."""
from impl.registry import implements
{imports}

@implements("{op}", source="textbook")
def {name}(a):
    """What it promises."""
    return a
'''
FILES = {
    "impl/__init__.py": "",
    "impl/registry.py": "def implements(*a, **k): ...\n",
    "impl/common/__init__.py": "",
    "impl/common/far.py": "FAR = 1\n",
    "impl/common/near.py": "from .far import FAR\nNEAR = FAR\n",
    "impl/common/late.py": "LATE = 1\n",
    "impl/scans/deep.py": PLUGIN.format(
        name="deep", op="recurrence", imports="from impl.common import (\n    near,  # why\n)\n"
    ),
    "impl/scans/inside.py": PLUGIN.format(
        name="inside",
        op="recurrence",
        imports="def later():\n    import impl.common.late\n",
    ),
    "impl/matrices/alone.py": PLUGIN.format(name="alone", op="product", imports=""),
    "impl/matrices/table.json": "[1]",
    "correctness/__init__.py": "",
    "correctness/contract.py": "from correctness.promises import KEPT\n",
    "correctness/promises.py": "KEPT = 1\n",
    "correctness/ops/recurrence.py": "recurrence = 1\n",
    "correctness/ops/product.py": "product = 1\n",
    "correctness/test_contract.py": "",
    "bench/clock.py": "TICK = 1\n",
    "suites/smoke.toml": "",
}
ALL = {"scans.deep", "scans.inside", "matrices.alone"}


def tree(root: Path, **changed: str | None) -> Path:
    """The files, some of them changed or, with None, left out; ``__`` in a name is ``/``."""
    edits = {name.replace("__", "/"): text for name, text in changed.items()}
    for name, text in {**FILES, **edits}.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def touched(folder: Path, edits: dict[str, str | None]) -> Reach:
    base, head = tree(folder / "base"), folder / "head"
    tree(head)
    for name, text in edits.items():
        (head / name).unlink(missing_ok=True)
        if text is not None:
            (head / name).write_text(text)
    return reach.reach(base, head)


def test_comments_layout_and_docstrings_reach_nothing(tmp_path: Path) -> None:
    text = (
        FILES["impl/scans/deep.py"]
        .replace("What it promises.", "More.")
        .replace("return a", "# why\n    return (\n        a\n    )")
    )
    found = touched(
        tmp_path,
        {
            "impl/scans/deep.py": text,
            "impl/common/far.py": "'''Far.'''\nFAR = 1  # far\n",
            "correctness/test_contract.py": "changed = 1\n",
            "bench/clock.py": "TICK = 1  # of the clock\n",
        },
    )
    assert found.changed == found.plugins == found.notes == ()


@pytest.mark.parametrize(
    ("file", "reached"),
    [
        ("impl/scans/deep.py", {"scans.deep"}),
        ("impl/common/near.py", {"scans.deep"}),
        ("impl/common/far.py", {"scans.deep"}),
        ("impl/common/late.py", {"scans.inside"}),
        ("impl/common/__init__.py", {"scans.deep", "scans.inside"}),
        ("impl/matrices/table.json", {"matrices.alone"}),
        ("correctness/ops/recurrence.py", {"scans.deep", "scans.inside"}),
        ("impl/registry.py", ALL),
        ("correctness/promises.py", ALL),
        ("bench/clock.py", set()),
    ],
)
def test_what_imports_a_changed_file_is_reached(
    tmp_path: Path, file: str, reached: set[str]
) -> None:
    assert set(touched(tmp_path, {file: FILES[file] + "\nMORE = 2\n"}).plugins) == reached


def test_an_import_that_the_head_dropped_still_reaches(tmp_path: Path) -> None:
    alone = FILES["impl/scans/deep.py"].replace(
        "from impl.common import (\n    near,  # why\n)", ""
    )
    found = touched(tmp_path, {"impl/scans/deep.py": alone, "impl/common/far.py": "FAR = 2\n"})
    assert found.plugins == ("scans.deep",)


def test_a_changed_exam_or_ruler_is_told(tmp_path: Path) -> None:
    found = touched(
        tmp_path,
        {"correctness/promises.py": "KEPT = 2\n", "bench/clock.py": "TICK = 2\n"},
    )
    exam, ruler = found.notes
    assert "promises.py" in exam and "each side is held to its own" in exam
    assert ruler.startswith("bench/ differs")


def test_new_and_removed_plugins_are_neither_reached(tmp_path: Path) -> None:
    new = PLUGIN.format(name="fresh", op="product", imports="")
    found = touched(tmp_path, {"impl/matrices/fresh.py": new, "impl/matrices/alone.py": None})
    assert (found.new, found.removed, found.plugins) == (
        ("matrices.fresh",),
        ("matrices.alone",),
        (),
    )


def test_everything_is_reached_when_asked_for(tmp_path: Path) -> None:
    base = tree(tmp_path / "base")
    assert set(reach.reach(base, base, everything=True).plugins) == ALL


@pytest.mark.parametrize("text", ["def broken(:\n", FILES["impl/scans/deep.py"] * 2])
def test_a_file_that_declares_no_plugin_any_more_is_named(tmp_path: Path, text: str) -> None:
    name = "impl/scans/zeta.py" if "broken" not in text else "impl/scans/deep.py"
    if name.endswith("zeta.py"):
        text = "from impl.registry import implements\n@implements('x')\ndef zeta(): ...\n"
    assert list(touched(tmp_path, {name: text}).head.unreadable) == [name]


KERNEL = """
import triton
@triton.jit
def _add(x, y):
    {body}
{tuner}
@triton.jit
def _tuned(x):
    return x
def add(x):
    return _add[({grid},)](x)
"""


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"body": "return y + x"}, 0),
        ({"grid": "2"}, 1),
        ({"tuner": "@triton.autotune(configs=[2])"}, 1),
    ],
)
def test_host_code_is_all_but_what_triton_compiles(change: dict[str, str], differing: int) -> None:
    before = {"body": "return x + y", "grid": "1", "tuner": "@triton.autotune(configs=[1])"}
    texts = [KERNEL.format(**each) for each in (before, before | change)]
    assert len({reach.host_code(each) for each in texts}) == 1 + differing
    assert reach.code(texts[0]) != reach.code(texts[1])
