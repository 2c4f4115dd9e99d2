"""Plugins: ``@implements`` marks a function, ``index`` lists them unread, ``load`` imports one.

The decorator's arguments are literals, so ``index`` reads them from the syntax tree and a listing of
the whole suite imports no torch. The path below ``impl/`` is the id; a function that does not repeat
its file's name adds its own.
"""

import ast
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parent
ENTRY_POINTS = "madbench.impl"
"""Entry-point group by which another package contributes a folder of plugins."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One contestant, as its decorator describes it; ``run`` is filled in by ``load``."""

    id: str
    kind: str
    """``impl``: a function that computes an op. ``mixer``: a trainable ``nn.Module``."""
    op: str | None
    """The op it computes: a file name in ``correctness/ops/``. A mixer may have none."""
    source: str
    """Where the idea was published: authors, venue, year, DOI or arXiv id."""
    trick: str | None = None
    """Slug in ``suites/catalogue/tricks.toml``."""
    needs: tuple[str, ...] = ()
    """Packages, or ``cuda>=9.0``, without which the plugin is absent."""
    accepts: Mapping[str, Any] = field(default_factory=dict)
    """Axis, ``dtype`` or ``device`` to the values it takes; what is left out takes any value.

    ``dtype@cuda`` limits the dtype on that device only.
    """
    knobs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keyword-only parameter to its admissible values."""
    excuses: Mapping[str, str] = field(default_factory=dict)
    """Contract check to the reason it is expected to fail; a check that then passes is an error.

    ``backward@cpu`` excuses the check on that device only.
    """
    file: Path
    line: int
    doc: str
    name: str
    run: Callable[..., Any] | None = None

    @property
    def backend(self) -> str:
        """What computes it: ``triton``, ``cupy``, a peer package, or plain ``torch``."""
        packages = [need for need in self.needs if not need.startswith("cuda")]
        return packages[0] if packages else "torch"

    def missing(self) -> str | None:
        """Why the plugin is absent on this machine, or None. Imports nothing but, for cuda, torch."""
        for need in self.needs:
            package, _, version = need.partition(">=")
            if package == "cuda":
                if reason := _cuda_missing(version):
                    return reason
            elif importlib.util.find_spec(package) is None:
                return f"needs the package {package}"
        return None

    def excuse(self, check: str, device: str) -> str | None:
        """Why this check may fail on this device (``cpu`` or ``cuda``), or None."""
        return self.excuses.get(check) or self.excuses.get(f"{check}@{device}")

    def accepts_value(self, name: str, value: Any) -> bool:
        """Whether this axis (or ``dtype``, ``device``) may have this value."""
        return name not in self.accepts or allows(self.accepts[name], value)


def allows(wish: Any, value: Any) -> bool:
    """Whether ``wish``, a list of values or a table of limits, allows ``value``."""
    if not isinstance(wish, Mapping):
        return value in wish
    return (
        wish.get("at_least", value) <= value <= wish.get("at_most", value)
        and value % wish.get("multiple_of", 1) == 0
        and (not wish.get("power_of_two") or value & (value - 1) == 0)
    )


def spoken(wish: Any) -> str:
    """``wish`` in words, for an error: ``at most 128``, ``float32 or bfloat16``."""
    if not isinstance(wish, Mapping):
        return " or ".join(map(str, wish))
    return ", ".join(
        limit.replace("_", " ") if size is True else f"{limit.replace('_', ' ')} {size}"
        for limit, size in wish.items()
    )


def implements(
    op: str,
    *,
    source: str,
    trick: str | None = None,
    needs: Sequence[str] = (),
    accepts: Mapping[str, Any] | None = None,
    knobs: Mapping[str, Sequence[Any]] | None = None,
    excuses: Mapping[str, str] | None = None,
) -> Callable[[Thing], Thing]:
    """Mark the decorated function as one way to compute ``op`` and return it unchanged."""
    return _unchanged


def mixer(
    op: str | None = None,
    *,
    source: str,
    trick: str | None = None,
    needs: Sequence[str] = (),
    knobs: Mapping[str, Sequence[Any]] | None = None,
    excuses: Mapping[str, str] | None = None,
) -> Callable[[Thing], Thing]:
    """Mark the decorated ``nn.Module`` factory as a trainable sequence mixer; return it unchanged."""
    return _unchanged


def _unchanged(thing: Thing) -> Thing:
    return thing


@functools.cache
def index() -> Mapping[str, Plugin]:
    """Every plugin of this tree and of installed plugin packages by id, without importing any."""
    found: dict[str, Plugin] = {}
    for folder, package in _folders():
        for file in sorted(folder.rglob("*.py")):
            module = ".".join(file.relative_to(folder).with_suffix("").parts)
            for plugin in read(file, module):
                if plugin.id in found:
                    raise ValueError(f"{plugin.id} stands in {found[plugin.id].file} and in {file}")
                found[plugin.id] = replace(plugin, name=f"{package}.{module}:{plugin.name}")
    return dict(sorted(found.items()))


def read(file: Path, module: str) -> Iterator[Plugin]:
    """The plugins that one file declares; ``module`` is its dotted path below the family folder."""
    try:
        tree = ast.parse(file.read_text())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as Python: {error}") from error
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                continue
            if call.func.id not in ("implements", "mixer"):
                continue
            name = _snake(node.name)
            repeats = module.rpartition(".")[2] == name
            yield Plugin(
                id=module if repeats else f"{module}.{name}",
                kind="impl" if call.func.id == "implements" else "mixer",
                file=file,
                line=node.lineno,
                doc=ast.get_docstring(node) or "",
                name=node.name,
                **_arguments(call, file),
            )


def load(plugin_id: str) -> Plugin:
    """Import the plugin called ``plugin_id``; the id may also be ``path/to/file.py:function``."""
    plugin = from_file(plugin_id) if ".py:" in plugin_id else lookup(plugin_id)
    if plugin.run is not None:
        return plugin
    module, _, name = plugin.name.partition(":")
    return replace(plugin, run=getattr(importlib.import_module(module), name))


def lookup(plugin_id: str) -> Plugin:
    """The entry of ``plugin_id`` in the index. ValueError, with near names, when there is none."""
    plugins = index()
    if plugin_id not in plugins:
        near = difflib.get_close_matches(plugin_id, plugins, n=3, cutoff=0.5)
        near += [
            known for known in plugins if known.endswith(f".{plugin_id}") and known not in near
        ]
        hint = f"; near names: {', '.join(near)}" if near else "; `madbench list` shows all"
        raise ValueError(f"no plugin is called {plugin_id!r}{hint}")
    return plugins[plugin_id]


def from_file(spec: str) -> Plugin:
    """The plugin ``function`` of a file anywhere on disk, named ``path/to/file.py:function``."""
    path, _, name = spec.rpartition(":")
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"no file {path!r}")
    for plugin in read(file, file.stem):
        if plugin.name == name:
            module_spec = importlib.util.spec_from_file_location(f"outside.{file.stem}", file)
            assert module_spec is not None and module_spec.loader is not None
            module = importlib.util.module_from_spec(module_spec)
            sys.modules[module.__name__] = module
            module_spec.loader.exec_module(module)
            return replace(plugin, run=getattr(module, name))
    raise ValueError(f"{path} has no plugin {name!r}: no function of that name under @implements")


def _folders() -> Iterator[tuple[Path, str]]:
    yield ROOT, "impl"
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        spec = importlib.util.find_spec(point.value)
        for place in spec.submodule_search_locations or () if spec else ():
            yield Path(place), point.value


def _arguments(call: ast.Call, file: Path) -> dict[str, Any]:
    allowed = inspect.signature(implements if _name(call) == "implements" else mixer).parameters
    try:
        given: dict[str, Any] = {"op": ast.literal_eval(call.args[0]) if call.args else None}
        given |= {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except ValueError as error:
        raise ValueError(f"{file}:{call.lineno}: plugin arguments must be literals") from error
    for name in given:
        if name not in allowed:
            raise ValueError(f"{file}:{call.lineno}: unknown plugin argument {name!r}")
    if "source" not in given:
        raise ValueError(f"{file}:{call.lineno}: a plugin names its source")
    given["needs"] = tuple(given.get("needs", ()))
    return given


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _cuda_missing(version: str) -> str | None:
    """Asks the driver, not torch: a listing of the suite imports no torch on a GPU box either."""
    import pynvml

    try:
        pynvml.nvmlInit()
        found = pynvml.nvmlDeviceGetCudaComputeCapability(pynvml.nvmlDeviceGetHandleByIndex(0))
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return "needs a CUDA GPU"
    if version and tuple(found) < tuple(map(int, version.split("."))):
        return f"needs compute capability {version}, found {'.'.join(map(str, found))}"
    return None
