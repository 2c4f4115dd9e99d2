"""Mutation: edits a sign, an index or a mask of a plugin and asks whether its contract notices.

    python -m correctness.mutation scans.tiled_scan --sample 40

Each edit is made in a copy of ``impl/``, in the plugin's file or in the part of ``impl/common/`` it
imports, and the contract of every plugin of that file, or the laws of a mixer, run in a child process
until the first broken promise. A survivor is either an equivalent program, which a reader has to judge,
or a hole in the contract. The file as it stands has to survive, or a score would mean nothing.
"""

import argparse
import ast
import copy
import functools
import multiprocessing
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

SIGNS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.BitAnd: ast.BitOr,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True)
class Edit:
    """One edit of one file: where, what, and the whole text that results."""

    file: Path
    line: int
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.what}"


def edits(file: Path, wanted: set[str] | None = None) -> Iterator[Edit]:
    """Every single edit of the functions of ``file``, or of those ``wanted`` and what they call.

    Decorators, annotations and messages are left alone.
    """
    tree = ast.parse(file.read_text())
    names = _reached(tree, wanted)
    for number, node in enumerate(_places(tree, names)):
        for what, change in _changes(node):
            twin = copy.deepcopy(tree)
            change(list(_places(twin, names))[number])
            text = ast.unparse(ast.fix_missing_locations(twin))
            yield Edit(file, getattr(node, "lineno", 0), what, text)


def _reached(tree: ast.Module, wanted: set[str] | None) -> set[str]:
    """Names of the top-level statements that ``wanted`` ones lead to; all when None."""
    bodies = {name: node for node in tree.body for name in _defines(node)}
    found: set[str] = set()
    queue = list(bodies if wanted is None else wanted & set(bodies))
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            used = {node.id for node in ast.walk(bodies[name]) if isinstance(node, ast.Name)}
            queue += used & set(bodies)
    return found


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _places(tree: ast.Module, names: set[str]) -> Iterator[ast.AST]:
    """The nodes of the bodies of the functions of these names, methods included, in a fixed order."""
    tops = [node for node in tree.body if set(_defines(node)) & names]
    for top in tops:
        methods = top.body if isinstance(top, ast.ClassDef) else [top]
        for function in methods:
            if isinstance(function, ast.FunctionDef):
                for statement in function.body:
                    if not isinstance(getattr(statement, "value", None), ast.Constant):
                        yield from _inside(statement)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.arg | ast.arguments):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _inside(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    before = ast.unparse(node) if isinstance(node, ast.expr) else ""
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        after = SIGNS[type(node.op)]
        yield f"{before}: {after.__name__}", lambda twin: setattr(twin, "op", after())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SIGNS:
        other = SIGNS[type(node.ops[0])]
        yield f"{before}: {other.__name__}", lambda twin: setattr(twin, "ops", [other()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        # negated once more: a kernel's tensors know no unary plus, and a crash would prove nothing
        yield (
            f"{before}: sign dropped",
            lambda twin: setattr(twin, "operand", ast.UnaryOp(ast.USub(), twin.operand)),
        )
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{before}: plus one", lambda twin: setattr(twin, "value", twin.value + 1)
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name.endswith("where") and len(node.args) == 3:
            yield f"{before}: mask dropped", lambda twin: twin.args.__setitem__(2, twin.args[1])
        for i, word in enumerate(node.keywords):
            if word.arg == "mask":
                yield (
                    f"{before}: mask dropped",
                    lambda twin, i=i: setattr(twin.keywords[i], "value", ast.Constant(None)),
                )


def sources(plugin_id: str) -> dict[Path, set[str] | None]:
    """The plugin's file, and what it uses of each file of ``impl/common/``, directly or not."""
    from impl.registry import lookup

    found: dict[Path, set[str] | None] = {lookup(plugin_id).file: None}
    queue = list(found)
    while queue:
        tree = ast.parse(queue.pop().read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("impl.common."):
                file = ROOT / f"{(node.module or '').replace('.', '/')}.py"
                names = {alias.name for alias in node.names}
                known = found.get(file) or set()
                if not names <= known:
                    found[file] = known | names
                    queue.append(file)
    return found


def unedited(plugin_id: str) -> Edit:
    """The plugin's file as it stands."""
    from impl.registry import lookup

    file = lookup(plugin_id).file
    return Edit(file, 0, "nothing", file.read_text())


def survives(edit: Edit, plugin_id: str, seconds: float) -> str | None:
    """Why the contract noticed the edit, or None; a hang and a crash count as noticed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "impl", Path(folder) / "impl")
        (Path(folder) / edit.file.relative_to(ROOT)).write_text(edit.text)
        context = multiprocessing.get_context("fork")
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_judge, args=(folder, plugin_id, send))
        child.start()
        send.close()
        try:
            noticed = receive.recv() if receive.poll(seconds) else f"no answer in {seconds:.0f} s"
        except EOFError:
            noticed = "crashed"
        child.kill()
        child.join()
        return noticed


def _judge(folder: str, plugin_id: str, send: Any) -> None:
    sys.path.insert(0, folder)
    warnings.simplefilter("ignore")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("impl", "correctness")]:
        del sys.modules[name]
    try:
        from impl.registry import index, lookup

        # the plugins of one file share its code, so any of them may notice
        family = [each for each in index() if index()[each].file == lookup(plugin_id).file]
        send.send(next((why for each in family for why in _broken(each)), None))
    except Exception as error:
        send.send(f"{type(error).__name__}: {error}")


def _broken(plugin_id: str) -> Iterator[str]:
    """The first promise of an implementation that is broken, or every law of a mixer."""
    from correctness import contract, mixer_laws
    from impl.registry import load, lookup

    if lookup(plugin_id).kind == "mixer" and not lookup(plugin_id).missing():
        for subject in mixer_laws.subjects(load(plugin_id)):
            found = ((name, law(subject)) for name, law in mixer_laws.LAWS.items())
            yield from (f"{subject.name} {name}: {why}" for name, why in found if why)
        return
    last = contract.check(plugin_id, until_wrong=True).checks[-1]
    if last.outcome is contract.Outcome.WRONG:
        yield f"{last.name}: {last.reason}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the score of each plugin and every survivor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plugin", nargs="+", help="plugin ids")
    parser.add_argument("--sample", type=int, help="edits a plugin, drawn at random; default all")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit an edit")
    parser.add_argument("--jobs", type=int, default=2, help="edits tried at once")
    given = parser.parse_args(arguments)
    import torch
    import triton  # noqa: F401  # children inherit the imports

    torch.set_num_threads(1)
    for plugin_id in given.plugin:
        tried = [edit for file, names in sources(plugin_id).items() for edit in edits(file, names)]
        if given.sample and given.sample < len(tried):
            tried = random.Random(0).sample(tried, given.sample)
        judge = functools.partial(survives, plugin_id=plugin_id, seconds=given.seconds)
        if why := judge(unedited(plugin_id)):
            raise ValueError(f"{plugin_id} is noticed as it stands: {why}")
        with ThreadPoolExecutor(given.jobs) as pool:
            noticed = list(pool.map(judge, tried))
        survivors = [edit for edit, why in zip(tried, noticed, strict=True) if why is None]
        lines = [f"{plugin_id}: {len(tried) - len(survivors)} of {len(tried)} edits noticed"]
        sys.stdout.write("\n".join([*lines, *(f"  survived {edit}" for edit in survivors)]) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
