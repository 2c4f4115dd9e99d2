"""asv's side of madbench: the ``overlay`` environment, machines by name, samples always kept.

An overlay is a virtual environment of a few megabytes that sees the packages of the Python running
asv through one ``.pth`` line. So torch is neither downloaded nor copied for a commit, and ranges,
``asv continuous`` and interleaved rounds work. Named in ``asv.conf.json`` as a plugin; this module is
all we know of asv's internals, and imports no torch.
"""

import functools
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asv import util
from asv.console import log
from asv.machine import Machine, MachineCollection
from asv.plugins.virtualenv import Virtualenv
from asv.results import Results

from ..hardware import machine
from . import runner


class Overlay(Virtualenv):
    """A virtual environment for the commit's wheel on top of the packages that are running asv."""

    tool_name = "overlay"

    @property
    def requirements(self) -> dict[str, str]:
        """The software stack, recorded with each result without naming the environment."""
        return requirements()

    def _setup(self) -> None:
        log.info(f"Creating overlay for {self.name}")
        command = [sys.executable, "-m", "virtualenv", "--quiet", "-p", sys.executable, self._path]
        util.check_call(command, timeout=self._install_timeout)
        for packages in Path(self._path).glob("lib/python*/site-packages"):
            below = sysconfig.get_paths()["purelib"]
            (packages / "_madbench_overlay.pth").write_text(f"{below}\n")


def requirements() -> dict[str, str]:
    """Versions of what a figure may depend on; asv records the Python itself.

    Threads are left out: a process that writes knows of none unless it has imported torch, and the
    same figures would then belong to two series.
    """
    return {
        name: version
        for name, version in machine.stack().items()
        if name not in ("python", "threads")
    }


def facts(device: str) -> dict[str, str]:
    """This machine as asv stores it; every value is an axis of the site."""
    found = machine.record(device)
    return {**found.asv(), "kind": found.kind}


def _load(cls: type[Machine], machine_name: str | None = None, **options: Any) -> Machine:
    """Load a machine that is always known: asv has no question to ask."""
    here = facts(runner.default_device())
    name = machine_name or here["machine"]
    MachineCollection.save(name, {**here, "machine": name}, _path=options.get("_path"))
    return _asv_load(cls, machine_name=name, **options)


def _keep_samples(add_result: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(add_result)
    def kept(self: Results, *positional: Any, **options: Any) -> None:
        add_result(self, *positional, **{**options, "record_samples": True})

    return kept


_REPLACED: Mapping[str, Callable[..., Any]] = {
    "load": _load,
    "get_unique_machine_name": lambda cls: facts(runner.default_device())["machine"],
}
_asv_load = Machine.load.__func__
for _name, _method in _REPLACED.items():
    setattr(Machine, _name, classmethod(_method))
# asv keeps samples only under --record-samples, and an interval alone cannot be paired by round
Results.add_result = _keep_samples(Results.add_result)
