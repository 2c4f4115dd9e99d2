"""Who may be measured: the contract's outcome of a plugin, the laws' outcome of a mixer.

Broken beats fast: no figure is taken of a plugin whose contract fails. The contract is slow and its
answer depends on nothing but files and the software stack, so it is kept under their hash in the user's cache
folder and asked for again only when the plugin, what it imports, the contract or the stack changed.
"""

import hashlib
import json
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..gate.reach import imported
from ..hardware.machine import stack
from ..lab.contestant import contestant

if TYPE_CHECKING:
    from correctness.contract import Result


@dataclass(frozen=True)
class Admission:
    """The contract's outcome on one device, the number of failing checks and the first reason."""

    outcome: str
    failing: int
    reason: str = ""

    @property
    def admitted(self) -> bool:
        """Whether figures may be shown."""
        return self.outcome == "ok"


def admission(plugin_id: str, device: str) -> Admission:
    """The contract's outcome for a plugin, from the cache when nothing it depends on changed."""
    from impl.registry import load

    try:
        plugin = load(plugin_id)
    except ImportError as error:
        return Admission("not run", 0, str(error))
    except Exception as error:  # whatever an import raises is an answer about the plugin
        return Admission("wrong", 1, f"its import raises {type(error).__name__}: {error}")
    place = _cache() / f"{_key(plugin.file, plugin_id, device)}.json"
    try:
        return Admission(**json.loads(place.read_text()))
    except (OSError, ValueError, TypeError):
        found = _ask(plugin_id, device)
    if found.outcome in ("ok", "wrong"):
        write_atomically(place, json.dumps(vars(found)))
    return found


def laws(mixer: str) -> Admission:
    """Whether ``mixer``, with its knobs, is part of this commit and obeys the mixer laws."""
    from correctness.mixer_laws import Subject, check
    from impl.registry import load, lookup

    try:
        plugin_id, knobs = contestant(mixer)
    except ValueError:
        return Admission("not run", 0, "not part of this commit")
    if absent := lookup(plugin_id).missing():
        return Admission("not run", 0, absent)
    try:
        factory = load(plugin_id).run
        assert factory is not None
        broken = check(Subject(mixer, factory, tuple(knobs.items())))
    except Exception as error:  # whatever a mixer raises is an answer about the mixer
        return Admission("wrong", 1, f"{type(error).__name__}: {error}")
    reason = "; ".join(f"{law}: {found}" for law, found in broken.items())
    return Admission("wrong" if broken else "ok", len(broken), reason)


def _ask(plugin_id: str, device: str) -> Admission:
    from correctness.contract import Outcome, check

    report = check(plugin_id, device=device)
    failing = [each for each in report.checks if each.outcome is Outcome.WRONG]
    telling = failing or [each for each in report.checks if each.outcome is report.outcome]
    first = _told(telling[0]) if telling and report.outcome != "ok" else ""
    return Admission(str(report.outcome), len(failing), first)


def _told(check: "Result") -> str:
    """``forward: output 0 errs 0.3, bound 1e-06 (B2-T7-D3 float32)``."""
    amount = "" if check.error is None else f" errs {check.error:.3g}, bound {check.bound:.3g}"
    where = f" ({check.sizes} {check.dtype})" if check.sizes else ""
    return f"{check.name}: {check.reason}{amount}{where}"


def _key(file: Path, plugin_id: str, device: str) -> str:
    import correctness
    import impl

    exam = sorted(Path(correctness.__path__[0]).rglob("*.py"))
    exam = [each for each in exam if not each.name.startswith("test_")]
    code = sorted({*imported([file], Path(impl.__path__[0]).parent), *exam})
    digest = hashlib.sha256(repr((plugin_id, device, _hardware(device), stack())).encode())
    digest.update(platform.python_version().encode())
    for each in code:
        digest.update(each.read_bytes())
    return digest.hexdigest()[:32]


def _hardware(device: str) -> str:
    if device == "cpu":
        return platform.machine()
    import torch

    return torch.cuda.get_device_name(device)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "madbench" / "contract"


def write_atomically(place: Path, text: str) -> None:
    """Write a file so that a reader, or a run that is cut off, sees the old one or the new one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".half-")
    with os.fdopen(handle, "w") as half:
        half.write(text)
    Path(name).replace(place)
