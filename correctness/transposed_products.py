"""Transposed products: finds a ``tl.dot`` that reads the transpose of what another one made.

    scores = tl.dot(d, tl.trans(v))                     # an accumulator of the tensor cores
    dk = tl.dot(tl.trans(scores.to(q.dtype)), q)        # found

Triton 3.4 to 3.7.0 compiles the second product wrongly for Hopper, so that on such a card a kernel
gives gradients that no other check of this project, which interprets kernels, can see. The source is
followed from name to name: through arithmetic, casts and masks, loops and branches, and into the
functions that a kernel calls, of its own file or imported from ``impl``. A value that was reduced, or
that went through global memory, is no accumulator any more. Branches are joined, so a kernel that takes
the bad one under no setting is found as well.
"""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

PRODUCT, TRANSPOSED = 1, 2
"""What a value may be, as bits: made by a dot, or the transpose of such."""

Env = dict[str, Any]
"""Names to bits, or to a tuple of such."""

FRESH = {"load", "store", "atomic_add", "atomic_cas", "atomic_xchg", "sum", "max", "min", "argmax"}
FRESH |= {"argmin", "xor_sum", "reduce", "arange", "zeros", "zeros_like", "full", "cdiv"}
FRESH |= {"program_id", "num_programs"}
"""Calls whose result is laid out anew, whatever they are given."""


def transposed_products(file: Path) -> list[str]:
    """A line for every such product that a kernel of ``file`` reaches."""
    found: dict[str, None] = {}
    for function in _functions(file).values():
        _Walk(file, function, found).result([0] * len(function.args.args))
    return list(found)


@functools.cache
def _functions(file: Path) -> Mapping[str, ast.FunctionDef]:
    """The functions of a file under ``@triton.jit``, by name."""
    return {
        node.name: node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and any("triton.jit" in ast.unparse(each) for each in node.decorator_list)
    }


@functools.cache
def _reachable(file: Path) -> Mapping[str, tuple[Path, ast.FunctionDef]]:
    """What a file may call: its own functions under ``@triton.jit`` and those it imports."""
    found = {name: (file, node) for name, node in _functions(file).items()}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("impl."):
            source = ROOT / f"{(node.module or '').replace('.', '/')}.py"
            theirs = _reachable(source) if source.is_file() else {}
            for alias in node.names:
                if alias.name in theirs:
                    found[alias.asname or alias.name] = theirs[alias.name]
    return found


class _Walk:
    """One function of a kernel, followed with what its arguments are."""

    def __init__(self, file: Path, function: ast.FunctionDef, found: dict[str, None]) -> None:
        self.file, self.function, self.found = file, function, found
        self.returned: Any = 0

    def result(self, arguments: list[Any]) -> Any:
        """What the function returns."""
        names = [each.arg for each in self.function.args.args]
        self._run(self.function.body, dict(zip(names, arguments, strict=False)))
        return self.returned

    def _run(self, body: list[ast.stmt], env: Env) -> None:
        for statement in body:
            self._step(statement, env)

    def _step(self, node: ast.stmt, env: Env) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _assign(target, self._value(node.value, env), env)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            _assign(node.target, self._value(node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            value = _joined(self._value(node.target, env), self._value(node.value, env))
            _assign(node.target, value, env)
        elif isinstance(node, ast.Return) and node.value is not None:
            self.returned = _joined(self.returned, self._value(node.value, env))
        elif isinstance(node, ast.Expr):
            self._value(node.value, env)
        elif isinstance(node, ast.If):
            self._branch(node, env)
        elif isinstance(node, ast.For | ast.While):
            self._loop(node, env)

    def _branch(self, node: ast.If, env: Env) -> None:
        self._value(node.test, env)
        other = dict(env)
        self._run(node.body, env)
        self._run(node.orelse, other)
        _join(env, other)

    def _loop(self, node: ast.For | ast.While, env: Env) -> None:
        before: Env = {}
        # bits are only ever added, so that this ends
        while before != env:
            before = dict(env)
            self._run(node.body, env)
            _join(env, before)

    def _value(self, node: ast.expr, env: Env) -> Any:
        """The bits of an expression; every product in it is looked at."""
        if isinstance(node, ast.Name):
            return env.get(node.id, 0)
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self._value(each, env) for each in node.elts)
        if isinstance(node, ast.Attribute):
            value = self._value(node.value, env)
            return _turned(value) if node.attr == "T" else 0
        if isinstance(node, ast.Call):
            return self._call(node, env)
        parts = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
        if isinstance(node, ast.Subscript):
            return _bits(self._value(node.value, env))
        return functools.reduce(_joined, (self._value(each, env) for each in parts), 0)

    def _call(self, node: ast.Call, env: Env) -> Any:
        given = [self._value(each, env) for each in node.args]
        named = {each.arg: self._value(each.value, env) for each in node.keywords}
        name = ast.unparse(node.func).rpartition(".")[2]
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) != "tl":
            given.insert(0, self._value(node.func.value, env))
        if name in ("dot", "dot_scaled"):
            if any(_bits(each) & TRANSPOSED for each in (*given[:2], *named.values())):
                self.found[f"{self._place(node)}: a product of a transposed product"] = None
            return PRODUCT
        if name in ("trans", "permute"):
            return _turned(given[0])
        if name in FRESH:
            return 0
        if isinstance(node.func, ast.Name) and name in _reachable(self.file):
            return self._inside(name, given, named)
        return functools.reduce(_joined, map(_bits, (*given, *named.values())), 0)

    def _inside(self, name: str, given: list[Any], named: Mapping[str | None, Any]) -> Any:
        file, function = _reachable(self.file)[name]
        names = [each.arg for each in function.args.args]
        rest = [named.get(each, 0) for each in names[len(given) :]]
        return _Walk(file, function, self.found).result([*given, *rest])

    def _place(self, node: ast.expr) -> str:
        file = self.file.relative_to(ROOT) if self.file.is_relative_to(ROOT) else self.file.name
        return f"{file}:{node.lineno}: {self.function.name}"


def _assign(target: ast.expr, value: Any, env: Env) -> None:
    if isinstance(target, ast.Name):
        env[target.id] = value
    elif isinstance(target, ast.Tuple):
        each = value if isinstance(value, tuple) else (value,) * len(target.elts)
        for one, bits in zip(target.elts, each, strict=True):
            _assign(one, bits, env)


def _join(env: Env, other: Env) -> None:
    for name, value in other.items():
        env[name] = _joined(env.get(name, 0), value)


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return tuple(map(_joined, one, other))
    if isinstance(one, tuple) and other == 0:
        return one
    if isinstance(other, tuple) and one == 0:
        return other
    return _bits(one) | _bits(other)


def _bits(value: Any) -> int:
    if isinstance(value, tuple):
        return functools.reduce(int.__or__, map(_bits, value), 0)
    return value


def _turned(value: Any) -> int:
    bits = _bits(value)
    return (TRANSPOSED if bits & PRODUCT else 0) | (PRODUCT if bits & TRANSPOSED else 0)


def kernel_files() -> Iterator[Path]:
    """The files of ``impl`` that hold a function under ``@triton.jit``."""
    return (file for file in sorted((ROOT / "impl").rglob("*.py")) if _functions(file))
