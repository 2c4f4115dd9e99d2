"""asv's side: the ``overlay`` environment, samples always kept; all we know of asv's internals.

An overlay is a virtual environment of a few megabytes that sees the packages of the Python running
asv through one ``.pth`` line, so torch is neither downloaded nor copied for a commit, and ranges,
``asv continuous`` and interleaved rounds work. Named in ``asv.conf.json`` as a plugin; imports no
torch.
"""

import functools
import importlib.metadata
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from asv import util
from asv.console import log
from asv.plugins.virtualenv import Virtualenv
from asv.results import Results

STACK = ("torch", "triton", "numpy", "cupy-cuda13x", "cuda-bench", "fla-core", "mamba-ssm")
"""Packages whose versions are recorded with every result and become axes of the site."""


def stack() -> Mapping[str, str]:
    """Installed versions of the packages that a figure may depend on."""
    found: dict[str, str] = {}
    for package in STACK:
        try:
            found[package] = importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Overlay(Virtualenv):
    """A virtual environment for the commit's wheel on top of the packages that are running asv."""

    tool_name = "overlay"

    @property
    def requirements(self) -> dict[str, str]:
        """The software stack, recorded with each result without naming the environment."""
        return dict(stack())

    def _setup(self) -> None:
        log.info(f"Creating overlay for {self.name}")
        command = [sys.executable, "-m", "virtualenv", "--quiet", "-p", sys.executable, self._path]
        util.check_call(command, timeout=self._install_timeout)
        for packages in Path(self._path).glob("lib/python*/site-packages"):
            below = sysconfig.get_paths()["purelib"]
            (packages / "_madbench_overlay.pth").write_text(f"{below}\n")


# asv keeps samples only under --record-samples, and an interval alone cannot be paired by round
Results.add_result = functools.partialmethod(Results.add_result, record_samples=True)
