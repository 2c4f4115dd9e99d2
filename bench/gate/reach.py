"""Which plugins a change can touch: by what their files import, on both sides of it.

Code is compared as syntax trees from which comments, layout and docstrings are gone, so a change of
those reaches nothing. A plugin is reached when a file differs that it imports, directly or not, that
the reference of its op imports, or that the exam imports. Imports inside functions count; a module
named by a string at run time is not seen, and a file that is no Python counts for its whole folder.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from impl.registry import Plugin, read

CODE = ("impl", "correctness")
RULER = ("bench", "suites")
EXAM = tuple(
    f"correctness/{name}.py" for name in ("contract", "mixer_laws", "interpreter", "case", "op")
)
"""What every plugin is examined by; what these import belongs to them."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The code of one side: its files below ``root``, and the plugins that they declare."""

    root: Path
    files: Mapping[str, str]
    """Path below the root to what the file says."""
    plugins: Mapping[str, Plugin]
    unreadable: Mapping[str, str]
    """File of ``impl`` to the reason why no plugin can be read from it."""

    def depends(self, plugin_id: str) -> frozenset[str]:
        """The files that decide what a plugin does and how it is examined."""
        plugin = self.plugins[plugin_id]
        file = plugin.file.relative_to(self.root).as_posix()
        starts = [file, *self._references(plugin.op)]
        folder = file.rpartition("/")[0]
        beside = {
            each
            for each in self.files
            if not each.endswith(".py") and each.rpartition("/")[0] == folder
        }
        return self._closure(starts) | beside

    def _references(self, op: str | None) -> list[str]:
        name = f"/{op}.py"
        return [f for f in self.files if f.startswith("correctness/ops/") and f.endswith(name)]

    @functools.cached_property
    def exam(self) -> frozenset[str]:
        """The files that every plugin is examined by."""
        return self._closure(EXAM)

    def _closure(self, starts: Sequence[str]) -> frozenset[str]:
        files = imported([self.root / each for each in starts], self.root)
        return frozenset(each.relative_to(self.root).as_posix() for each in files)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a change touches."""

    base: Side
    head: Side
    changed: tuple[str, ...]
    """Files of ``impl`` and ``correctness`` whose code differs."""
    plugins: tuple[str, ...]
    """Ids on both sides that the change can touch."""
    new: tuple[str, ...]
    removed: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    """What else differs, and what that means for this gate."""

    @property
    def exam(self) -> frozenset[str]:
        """Files that differ of those that every plugin is examined by."""
        return (self.base.exam | self.head.exam) & set(self.changed)

    def changes(self, plugin_id: str) -> bool:
        """Whether code differs that decides what the plugin, or the reference of its op, does."""
        sides = [side for side in (self.base, self.head) if plugin_id in side.plugins]
        files = {each for side in sides for each in side.depends(plugin_id)}
        return not files.isdisjoint(self.changed)

    def same_host(self, plugin_id: str) -> bool:
        """Whether nothing but jitted functions differs in what a plugin depends on."""
        files = self.base.depends(plugin_id) | self.head.depends(plugin_id)
        return all(
            host_code(self.base.files.get(each, "")) == host_code(self.head.files.get(each, ""))
            for each in files & set(self.changed)
            if each.endswith(".py")
        ) and not any(each in self.changed for each in files if not each.endswith(".py"))


def reach(base: Path, head: Path, *, everything: bool = False) -> Reach:
    """What differs between the trees ``base`` and ``head``; ``everything`` reaches all plugins."""
    sides = [side(base), side(head)]
    before, after = sides
    differing = {
        each
        for each in {*before.files, *after.files}
        if code(before.files.get(each)) != code(after.files.get(each))
    }
    common = [each for each in before.plugins if each in after.plugins]
    found = Reach(
        base=before,
        head=after,
        changed=tuple(sorted(differing)),
        plugins=(),
        new=tuple(each for each in after.plugins if each not in before.plugins),
        removed=tuple(each for each in before.plugins if each not in after.plugins),
    )
    everything = everything or bool(found.exam)
    return replace(
        found,
        plugins=tuple(each for each in common if everything or found.changes(each)),
        notes=tuple(_notes(found)),
    )


def side(root: Path) -> Side:
    """The code below ``root``, whichever of it can be read."""
    files = {
        each.relative_to(root).as_posix(): each.read_text(errors="replace")
        for package in CODE
        for each in sorted((root / package).rglob("*"))
        if each.is_file() and each.suffix not in (".md", ".pyc") and not _is_test(each)
    }
    plugins: dict[str, Plugin] = {}
    unreadable = {}
    for path in files:
        if path.startswith("impl/") and path.endswith(".py"):
            module = path.removeprefix("impl/").removesuffix(".py").replace("/", ".")
            try:
                found = {plugin.id: plugin for plugin in read(root / path, module)}
            except ValueError as error:
                unreadable[path] = str(error).removeprefix(f"{root}/")
                continue
            for twice in found.keys() & plugins.keys():
                unreadable[path] = f"{twice} stands in {plugins[twice].file.name} too"
            plugins |= found
    return Side(
        root=root, files=files, plugins=dict(sorted(plugins.items())), unreadable=unreadable
    )


def imported(files: Sequence[Path], root: Path) -> set[Path]:
    """The files, and every file of ``impl`` or ``correctness`` below ``root`` that they import."""
    waiting = [each for each in files if each.is_file()]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        package = _package(file, root)
        for level, module, names in _imports(file.read_text(errors="replace")):
            # one dot is the package itself, each further one the package around it
            above = package[: len(package) - level + 1] if level else ()
            for found in _files(root, (*above, *filter(None, module.split("."))), names):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
    return seen


@functools.cache
def code(text: str | None) -> str | None:
    """What a file's code is, but for comments, layout and docstrings; another text is its digest."""
    if text is None:
        return None
    try:
        return ast.dump(_bare(ast.parse(text)))
    except (SyntaxError, ValueError):
        return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def host_code(text: str) -> str:
    """``code`` without the bodies of functions that Triton compiles."""
    try:
        tree = _bare(ast.parse(text))
    except (SyntaxError, ValueError):
        return hashlib.sha256(text.encode()).hexdigest()
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(map(_jits, node.decorator_list)):
            node.decorator_list = [each for each in node.decorator_list if not _jits(each)]
            if not node.decorator_list:
                continue
            # a tuner or a heuristic above it is host code
            node.body = []
        kept.append(node)
    tree.body = kept
    return ast.dump(tree)


def _bare(tree: ast.Module) -> ast.Module:
    """Strings that stand alone are documentation: they do nothing."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [each for each in block if not _says(each)])
    return tree


def _says(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _jits(decorator: ast.expr) -> bool:
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(call) in ("triton.jit", "jit")


Import = tuple[int, str, tuple[str, ...]]
"""Dots before it, the module, and the names taken from it."""


@functools.cache
def _imports(text: str) -> tuple[Import, ...]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, each.name, ()) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(each.name for each in node.names)
            found.append((node.level, node.module or "", names))
    return tuple(found)


def _files(root: Path, parts: Sequence[str], names: Sequence[str]) -> Iterator[Path]:
    """Files that importing ``names`` from the module ``parts`` runs, packages included."""
    if not parts or parts[0] not in CODE:
        return
    modules = [parts[:depth] for depth in range(1, len(parts) + 1)]
    for each in (*modules, *((*parts, name) for name in names)):
        place = root.joinpath(*each)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file


def _package(file: Path, root: Path) -> tuple[str, ...]:
    """The package that a file's relative imports begin at."""
    return file.relative_to(root).parent.parts if file.is_relative_to(root) else ()


def _is_test(file: Path) -> bool:
    return file.name.startswith("test_") or file.name == "conftest.py"


def _notes(found: Reach) -> Iterator[str]:
    if found.exam:
        yield (
            f"the exam differs ({', '.join(sorted(found.exam))}): "
            "it reaches every plugin, and each side is held to its own"
        )
    ops = [each for each in found.changed if each.startswith("correctness/ops/")]
    if ops:
        yield f"references differ ({', '.join(ops)}): each side is held to its own"
    for package in RULER:
        if _contents(found.base.root / package) != _contents(found.head.root / package):
            yield f"{package}/ differs: both sides are measured with that of this checkout"


def _contents(folder: Path) -> Mapping[str, str | None]:
    """Code and data of a package by path, tests left out."""
    return {
        each.relative_to(folder).as_posix(): code(each.read_text(errors="replace"))
        for each in folder.rglob("*")
        if each.suffix in (".py", ".toml")
        and "tests" not in each.relative_to(folder).parts
        and not _is_test(each)
    }
